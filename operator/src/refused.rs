//! How many orders a sale has refused, although each process counts from its own start.

use std::collections::HashMap;

/// The count of one sale.
#[derive(Debug, Default)]
pub struct Refused {
    total: u64,
    /// What each process said last, by its pod.
    last: Option<HashMap<String, u64>>,
}

impl Refused {
    /// Takes what the processes say now, and what was known before this operator began to count. A process that has begun anew says less
    /// than before: all of that is new. What was refused while no operator looked is counted as far as it exceeds what was known.
    pub fn count(&mut self, known: u64, said: &[(String, u64)]) -> u64 {
        let sum = said.iter().map(|(_, refused)| refused).sum::<u64>();
        match &mut self.last {
            None => {
                self.total = known.max(sum);
                self.last = Some(said.iter().cloned().collect());
            }
            Some(last) => {
                for (pod, now) in said {
                    let before = last.insert(pod.clone(), *now).unwrap_or(0);
                    self.total += if *now >= before { now - before } else { *now };
                }
            }
        }
        self.total = self.total.max(known);
        self.total
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(of: &[(&str, u64)]) -> Vec<(String, u64)> {
        of.iter().map(|(pod, n)| ((*pod).to_owned(), *n)).collect()
    }

    #[test]
    fn a_process_that_begins_anew_goes_on_with_the_count() {
        let mut refused = Refused::default();
        assert_eq!(refused.count(0, &said(&[("a", 10), ("b", 5)])), 15);
        assert_eq!(refused.count(15, &said(&[("a", 12), ("b", 5)])), 17);
        // Its container was started anew.
        assert_eq!(refused.count(15, &said(&[("a", 3), ("b", 5)])), 20);
        // One is gone, one does not answer, and a new one is there.
        assert_eq!(refused.count(20, &said(&[("c", 4)])), 24);
        assert_eq!(refused.count(24, &said(&[("b", 6), ("c", 4)])), 25);
    }

    #[test]
    fn another_operator_goes_on_with_what_was_known() {
        let mut refused = Refused::default();
        assert_eq!(refused.count(100, &said(&[("a", 30)])), 100);
        assert_eq!(refused.count(100, &said(&[("a", 31)])), 101);
        assert_eq!(Refused::default().count(100, &said(&[("a", 130)])), 130);
    }
}
