//! The books of a small sale: orders and inventory tell each other what happened, in messages that come late, again and in any
//! order, while somebody decides. The books agree all the while, and nothing is left open at the end. Inventory is told here in its
//! simplest form, by the rules that it follows; its own planning is tested where it is.

use super::{Law, holds, ledger, order::DECISIONS};
use crate::{
    books::fits,
    ledger::{Cause, Sums},
    order::{
        Confirmation, Decision, FailureReason, InventoryOutcome, OrderState, OrderStatus, ReservationState,
        Verdict,
    },
    stock::Stock,
};
use proptest::{
    collection::vec,
    prelude::*,
    sample::{Index, select},
};

const ORDERS: usize = 3;

#[derive(Debug, Clone, Copy)]
enum News {
    Accepted,
    Ended(OrderStatus),
}

#[derive(Debug, Clone)]
enum Step {
    /// Inventory reads one of the messages to it, and another time if it is to come again.
    InventoryHears(Index, bool),
    /// So does the order.
    OrderHears(Index, bool),
    IsDecided(Decision),
}

/// One order, its reservation, and what is on its way between them.
#[derive(Debug)]
struct Story {
    units: u32,
    order: OrderState,
    reservation: Option<ReservationState>,
    to_inventory: Vec<News>,
    to_order: Vec<InventoryOutcome>,
}

#[derive(Debug)]
struct Shop {
    confirmation: Confirmation,
    account: Stock,
    ledger: Sums,
    stories: Vec<Story>,
}

/// One of the messages that are on their way.
fn one_of<T: Copy>(messages: &mut Vec<T>, which: Index, again: bool) -> Option<T> {
    let at = (!messages.is_empty()).then(|| which.index(messages.len()))?;
    Some(if again { messages[at] } else { messages.remove(at) })
}

impl Shop {
    fn new(confirmation: Confirmation, stock: u32, wanted: &[u32]) -> Self {
        let story = |units: &u32| Story {
            units: *units,
            order: OrderState::ACCEPTED,
            reservation: None,
            to_inventory: vec![News::Accepted],
            to_order: Vec::new(),
        };
        let mut ledger = Sums::default();
        ledger.add(Cause::Stocked, stock.into());
        Self {
            confirmation,
            account: Stock::new(stock.into()),
            ledger,
            stories: wanted.iter().map(story).collect(),
        }
    }

    fn step(&mut self, number: usize, step: &Step) {
        let story = &mut self.stories[number];
        match *step {
            Step::InventoryHears(which, again) => {
                if let Some(news) = one_of(&mut story.to_inventory, which, again) {
                    self.inventory_hears(number, news);
                }
            }
            Step::OrderHears(which, again) => {
                let outcome = one_of(&mut story.to_order, which, again);
                let next = outcome.and_then(|outcome| story.order.after(outcome, self.confirmation));
                next.into_iter().for_each(|next| story.becomes(next));
            }
            Step::IsDecided(decision) => {
                if let Verdict::Becomes(next) = story.order.decide(decision) {
                    story.becomes(next);
                }
            }
        }
    }

    fn inventory_hears(&mut self, number: usize, news: News) {
        use ReservationState as R;
        let story = &mut self.stories[number];
        let (next, cause) = match (news, story.reservation) {
            (News::Accepted, None) if u64::from(story.units) <= self.account.available() => {
                (R::Held, Some(Cause::Reserved))
            }
            (News::Accepted, None) => (R::Rejected, None),
            (News::Ended(OrderStatus::Confirmed), Some(R::Held)) => (R::Confirmed, Some(Cause::Sold)),
            (News::Ended(_), Some(R::Held)) => (R::Released, Some(Cause::Released)),
            (_, Some(same)) => (same, None),
            // The end came before the beginning: a mark, so that nothing will be held.
            (News::Ended(_), None) => (R::Released, None),
        };
        story.reservation = Some(next);
        if matches!(news, News::Accepted) {
            story.to_order.push(match next {
                R::Held | R::Confirmed => InventoryOutcome::Reserved { expires_at: None },
                R::Rejected => InventoryOutcome::Rejected {
                    reason: FailureReason::SoldOut,
                },
                R::Released => InventoryOutcome::Released,
            });
        }
        if let Some(cause) = cause {
            assert!(ledger::post(&mut self.account, cause, story.units), "{cause:?}");
            self.ledger.add(cause, story.units.into());
        }
    }

    /// The books of inventory with each other, and each order with its reservation.
    fn agree(&self, settled: bool) -> Law {
        let account = ledger::of_account(&self.account);
        prop_assert_eq!(self.ledger, account);
        let units = |state| {
            let those = self
                .stories
                .iter()
                .filter(|story| story.reservation == Some(state));
            those.map(|story| i64::from(story.units)).sum::<i64>()
        };
        prop_assert_eq!(units(ReservationState::Held), account.reserved);
        prop_assert_eq!(units(ReservationState::Confirmed), account.sold);
        for story in &self.stories {
            let fits = fits(Some(story.order.status), story.reservation, settled);
            prop_assert!(fits, "{:?}", story);
        }
        Ok(())
    }
}

impl Story {
    fn becomes(&mut self, next: OrderState) {
        self.order = next;
        if next.status.is_terminal() {
            self.to_inventory.push(News::Ended(next.status));
        }
    }

    fn is_told(&self) -> bool {
        self.to_inventory.is_empty() && self.to_order.is_empty()
    }
}

fn steps() -> impl Strategy<Value = Vec<(usize, Step)>> {
    let message = || (any::<Index>(), proptest::bool::weighted(0.2));
    let step = prop_oneof![
        2 => message().prop_map(|(which, again)| Step::InventoryHears(which, again)),
        2 => message().prop_map(|(which, again)| Step::OrderHears(which, again)),
        1 => select(&DECISIONS).prop_map(Step::IsDecided),
    ];
    vec((0..ORDERS, step), 0..60)
}

#[test]
fn the_books_agree_all_the_while_and_nothing_is_left_open() {
    let confirmation = select(vec![Confirmation::Automatic, Confirmation::Payment]);
    let wanted = proptest::array::uniform3(1..4_u32);
    let stories = (confirmation, 0..8_u32, wanted, steps(), any::<Index>());
    holds(stories, |(confirmation, stock, wanted, steps, which)| {
        let mut shop = Shop::new(confirmation, stock, &wanted);
        for (number, step) in &steps {
            shop.step(*number, step);
            shop.agree(false)?;
        }
        for number in 0..ORDERS {
            while !shop.stories[number].is_told() {
                shop.step(number, &Step::InventoryHears(which, false));
                shop.step(number, &Step::OrderHears(which, false));
                shop.agree(false)?;
            }
        }
        shop.agree(true)
    });
}

/// What is no difference once everything has been heard was none before either, so an audit never takes back what it has passed.
#[test]
fn what_fits_at_the_end_fits_on_the_way() {
    use {OrderStatus as O, ReservationState as R};
    let orders = [O::Pending, O::Confirmed, O::Failed, O::Cancelled, O::Expired].map(Some);
    let reservations = [R::Held, R::Confirmed, R::Released, R::Rejected].map(Some);
    for order in orders.into_iter().chain([None]) {
        for reservation in reservations.into_iter().chain([None]) {
            if !fits(order, reservation, true) {
                continue;
            }
            assert!(fits(order, reservation, false), "{order:?} {reservation:?}");
            // At the end what is sold was bought, what was bought is sold, and what is held is held for somebody who waits.
            let (sold, bought) = (reservation == Some(R::Confirmed), order == Some(O::Confirmed));
            let (held, waits) = (reservation == Some(R::Held), order == Some(O::Pending));
            assert!(sold == bought && (!held || waits), "{order:?} {reservation:?}");
        }
    }
}
