//! Holds that this process has made a moment ago. It hears how their orders end as well, since one process has all lanes of the group, and need
//! not read them again. What is remembered is only what never changes of a hold; where it stands the write asks for ([`crate::store::Store::write`]).

use crate::plan::{Facts, NewReservation, Plan};
use events::message::OrderedItem;
use sale::{OrderId, order::ReservationState};
use std::{
    collections::HashMap,
    mem,
    sync::{Mutex, PoisonError},
};

/// Lines of the holds of each of the two halves: some ten megabytes in all. An order is confirmed within a second; one that waits for its
/// payment is read again.
const HALF: usize = 32_768;

/// What orders hold.
type Holds = HashMap<OrderId, Vec<OrderedItem>>;

/// The last holds, the newest of them for sure.
#[derive(Debug, Default)]
pub(crate) struct Recent(Mutex<Halves>);

#[derive(Debug, Default)]
struct Halves {
    newer: Holds,
    older: Holds,
    /// That have come into the newer half.
    lines: usize,
}

/// What a committed batch has changed about holds.
#[derive(Debug, Default)]
pub(crate) struct Changed {
    made: Vec<(OrderId, Vec<OrderedItem>)>,
    ended: Vec<OrderId>,
}

impl Changed {
    /// What a plan changes, once it is committed.
    pub(crate) fn by(plan: &Plan) -> Self {
        let is_held = |new: &&NewReservation| new.state == ReservationState::Held;
        let made = plan.created.iter().filter(is_held);
        Self {
            made: made.map(|new| (new.order.clone(), new.items.clone())).collect(),
            ended: plan.moved.keys().cloned().collect(),
        }
    }
}

impl Recent {
    /// Takes note of a committed batch.
    pub(crate) fn note(&self, changed: Changed) {
        let mut halves = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for order in &changed.ended {
            halves.newer.remove(order);
            halves.older.remove(order);
        }
        let lines = changed.made.iter().map(|(_, items)| items.len()).sum::<usize>();
        if halves.lines + lines > HALF {
            halves.older = mem::take(&mut halves.newer);
            halves.lines = 0;
        }
        halves.lines += lines;
        halves.newer.extend(changed.made);
    }

    /// What is known of the holds of some orders, as they were made.
    pub(crate) fn among<'o>(&self, orders: impl Iterator<Item = &'o OrderId>) -> HashMap<OrderId, Facts> {
        let halves = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = |order: &'o OrderId| {
            let items = halves.newer.get(order).or_else(|| halves.older.get(order))?;
            Some((order.clone(), Facts::of_a_hold(items.clone())))
        };
        orders.filter_map(known).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sale::{ProductId, Quantity};

    fn hold(order: &str) -> (OrderId, Vec<OrderedItem>) {
        let item = OrderedItem {
            product_id: ProductId::new("p"),
            quantity: Quantity::new(2).unwrap(),
        };
        (OrderId::new(order), vec![item])
    }

    fn knows(recent: &Recent, order: &str) -> bool {
        !recent.among([&OrderId::new(order)].into_iter()).is_empty()
    }

    #[test]
    fn a_hold_is_known_until_its_order_has_ended() {
        let recent = Recent::default();
        recent.note(Changed {
            made: vec![hold("a"), hold("b")],
            ended: vec![],
        });
        let known = recent.among([&OrderId::new("a"), &OrderId::new("c")].into_iter());
        assert_eq!(known.len(), 1);
        assert_eq!(known[&OrderId::new("a")].items, hold("a").1);
        recent.note(Changed {
            made: vec![],
            ended: vec![OrderId::new("a")],
        });
        assert!(!knows(&recent, "a") && knows(&recent, "b"));
    }

    #[test]
    fn there_is_room_for_so_many_lines_and_the_newest_stay() {
        let recent = Recent::default();
        let basket = |order: usize| {
            let (order, lines) = hold(&order.to_string());
            (order, lines.into_iter().cycle().take(100).collect())
        };
        let last = 5 * HALF / 100;
        for order in 0..=last {
            recent.note(Changed {
                made: vec![basket(order)],
                ended: vec![],
            });
        }
        let halves = recent.0.lock().unwrap();
        let lines = halves.newer.values().chain(halves.older.values()).map(Vec::len);
        assert!(lines.sum::<usize>() <= 2 * HALF);
        drop(halves);
        assert!(knows(&recent, &last.to_string()));
        assert!(knows(&recent, &(last - HALF / 100 + 1).to_string()));
        assert!(!knows(&recent, "0"));
    }
}
