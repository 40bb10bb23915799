//! How many orders a sale has refused, although each process counts from its own start.

use std::collections::HashMap;

/// As many looks are waited for until every process has said something: one that is silent must not keep the count from going on.
const FIRST_LOOKS: u32 = 5;

/// The count of one sale.
#[derive(Debug, Default)]
pub struct Refused {
    total: u64,
    /// What each process said last, by its pod.
    last: HashMap<String, u64>,
    /// How often somebody looked, up to the first look that all have answered.
    looks: u32,
}

impl Refused {
    /// Takes what the processes say now, and what was known before this operator began to count. A process that has begun anew says less
    /// than before: all of that is new. What was refused while no operator looked is counted as far as it exceeds what was known.
    pub fn count(&mut self, known: u64, said: &[(String, u64)], all_answered: bool) -> u64 {
        if self.looks < FIRST_LOOKS {
            // What is known has in it what they said before; whoever has not answered yet is no new process.
            self.looks = if all_answered { FIRST_LOOKS } else { self.looks + 1 };
            self.last.extend(said.iter().cloned());
            self.total = known.max(self.last.values().sum());
            return self.total;
        }
        for (pod, now) in said {
            let before = self.last.insert(pod.clone(), *now).unwrap_or(0);
            self.total += if *now >= before { now - before } else { *now };
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
        assert_eq!(refused.count(0, &said(&[("a", 10), ("b", 5)]), true), 15);
        assert_eq!(refused.count(15, &said(&[("a", 12), ("b", 5)]), true), 17);
        // Its container was started anew.
        assert_eq!(refused.count(15, &said(&[("a", 3), ("b", 5)]), true), 20);
        // One is gone, one does not answer, and a new one is there.
        assert_eq!(refused.count(20, &said(&[("c", 4)]), true), 24);
        assert_eq!(refused.count(24, &said(&[("b", 6), ("c", 4)]), true), 25);
    }

    /// What a process that is slow to answer has refused is in what is known.
    #[test]
    fn who_answers_late_is_counted_once() {
        let mut refused = Refused::default();
        assert_eq!(refused.count(100, &said(&[("a", 60)]), false), 100);
        assert_eq!(refused.count(100, &said(&[("a", 60), ("b", 40)]), true), 100);
        assert_eq!(refused.count(100, &said(&[("a", 61), ("b", 41)]), true), 102);
    }

    #[test]
    fn another_operator_goes_on_with_what_was_known() {
        let mut refused = Refused::default();
        assert_eq!(refused.count(100, &said(&[("a", 30)]), true), 100);
        assert_eq!(refused.count(100, &said(&[("a", 31)]), true), 101);
        assert_eq!(Refused::default().count(100, &said(&[("a", 130)]), true), 130);
    }
}
