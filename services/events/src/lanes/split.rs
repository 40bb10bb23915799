//! Batches in parts, where a whole one meets conflicts.

use super::fetch::Fetched;
use std::{collections::HashSet, sync::Arc};

/// Records in a transaction: fewer while others write what these are about, since a smaller one is over before they come. Kept from one
/// batch to the next.
#[derive(Debug, Clone, Copy)]
pub(super) struct BatchSize(usize);

impl Default for BatchSize {
    fn default() -> Self {
        Self(usize::MAX)
    }
}

impl BatchSize {
    pub(super) fn most(self) -> usize {
        self.0
    }

    /// After so many at once have met conflicts again and again.
    pub(super) fn shrink(&mut self, records: usize) {
        self.0 = (records / 2).max(1);
    }

    /// After a commit.
    pub(super) fn grow(&mut self) {
        self.0 = self.0.saturating_mul(2);
    }
}

/// Records in a batch.
pub(super) fn count(batch: &[Fetched]) -> usize {
    batch.iter().map(|part| part.records.len()).sum()
}

/// The first records of a batch, `most` at the most, and what is left of it.
pub(super) fn first_records(batch: &Arc<Vec<Fetched>>, most: usize) -> (Arc<Vec<Fetched>>, Vec<Fetched>) {
    if count(batch) <= most {
        return (Arc::clone(batch), Vec::new());
    }
    let (mut first, mut left, mut room) = (Vec::new(), Vec::new(), most);
    for part in batch.iter() {
        if room == 0 {
            left.push(part.clone());
            continue;
        }
        let Some((border, _)) = part.records.get(room) else {
            room -= part.records.len();
            first.push(part.clone());
            continue;
        };
        let (these, those) = part.records.split_at(room);
        first.push(part.piece(part.from, *border, these));
        left.push(part.piece(*border, part.to, those));
        room = 0;
    }
    (Arc::new(first), left)
}

/// What a batch has of the lanes that another one has parts of, and of others, each in order.
pub(super) fn by_lane(batch: &[Fetched], of: &[Fetched]) -> (Vec<Fetched>, Vec<Fetched>) {
    let lanes: HashSet<&str> = of.iter().map(|part| &*part.lane.id).collect();
    batch
        .iter()
        .cloned()
        .partition(|part| lanes.contains(&*part.lane.id))
}

/// How many lanes a batch has parts of.
pub(super) fn lanes(batch: &[Fetched]) -> usize {
    batch
        .iter()
        .map(|part| &*part.lane.id)
        .collect::<HashSet<_>>()
        .len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topics::Topic;
    use rskafka::record::Record;
    use tokio_util::sync::CancellationToken;

    fn fetched(lane: &str, from: i64, offsets: &[i64]) -> Fetched {
        let record = Record {
            key: None,
            value: None,
            headers: std::collections::BTreeMap::new(),
            timestamp: rskafka::chrono::DateTime::UNIX_EPOCH,
        };
        Fetched {
            lane: crate::lanes::fetch::Lane {
                id: lane.into(),
                topic: Topic::OrderCreated,
                partition: 0,
                epoch: 1,
                lost: CancellationToken::new(),
            },
            from,
            to: offsets.last().map_or(from, |last| last + 1),
            records: offsets.iter().map(|offset| (*offset, record.clone())).collect(),
            gap: None,
            at: std::time::Instant::now(),
        }
    }

    #[test]
    fn lanes_that_are_held_up_are_told_from_others_and_stay_in_order() {
        let batch = [
            fetched("b", 0, &[0]),
            fetched("a", 5, &[5, 6]),
            fetched("c", 7, &[]),
            fetched("a", 7, &[7]),
        ];
        let order = |parts: Vec<Fetched>| {
            let names = parts
                .into_iter()
                .map(|part| (part.lane.id.to_string(), part.from));
            names.collect::<Vec<_>>()
        };
        let wanted = |parts: &[(&str, i64)]| {
            let names = parts.iter().map(|(lane, from)| ((*lane).to_owned(), *from));
            names.collect::<Vec<_>>()
        };
        let (its, others) = by_lane(&batch, &batch[1..2]);
        assert_eq!(order(its), wanted(&[("a", 5), ("a", 7)]));
        assert_eq!(order(others), wanted(&[("b", 0), ("c", 7)]));
        let (its, others) = by_lane(&batch, &[fetched("c", 7, &[]), fetched("a", 5, &[5])]);
        assert_eq!(order(its), wanted(&[("a", 5), ("c", 7), ("a", 7)]));
        assert_eq!(order(others), wanted(&[("b", 0)]));
        assert_eq!(lanes(&batch), 3);
    }

    /// Whatever it is split into, a lane's parts follow each other, and together they are the whole.
    #[test]
    fn the_parts_of_a_batch_follow_each_other() {
        let batch = Arc::new(vec![
            fetched("a", 5, &[5, 6, 9]),
            fetched("b", 0, &[0]),
            fetched("c", 7, &[]),
            fetched("a", 10, &[10, 11]),
        ]);
        for most in 1..8 {
            let (mut left, mut offsets, mut at) = (Arc::clone(&batch), Vec::new(), [5, 0, 7]);
            while !left.is_empty() {
                let (first, rest) = first_records(&left, most);
                assert!(count(&first) <= most && !first.is_empty(), "{most}: {first:?}");
                for part in first.iter() {
                    let lane = usize::from(part.lane.id.as_bytes()[0] - b'a');
                    assert_eq!(part.from, at[lane], "{most}: {}", part.lane.id);
                    at[lane] = part.to;
                    offsets.extend(part.records.iter().map(|(offset, _)| (lane, *offset)));
                }
                left = Arc::new(rest);
            }
            assert_eq!(at, [12, 1, 7], "{most}");
            let whole = [(0, 5), (0, 6), (0, 9), (1, 0), (0, 10), (0, 11)];
            assert_eq!(offsets, whole, "{most}");
        }
    }
}
