//! What a batch of messages does to reservations and stock. Pure: the store is read before and written after.

use crate::{
    hold::Terms,
    ledger::Posting,
    store::{Origin, Told},
};
use events::{
    Message, Payload,
    message::{About, OrderedItem},
};
use jiff::Timestamp;
use sale::{
    OrderId, ProductId,
    ledger::Cause,
    order::{FailureReason, InventoryOutcome, OrderStatus, ReservationState},
    stock::Stock,
};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

/// A reservation as the plan looks at it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// What is held.
    pub items: Vec<OrderedItem>,
    /// Where it stands.
    pub state: ReservationState,
    /// What its order was told of the hold's end.
    pub told: Option<Told>,
    /// When the hold runs out.
    pub expires_at: Option<Timestamp>,
    /// Why there was nothing to hold.
    pub reason: Option<FailureReason>,
    /// Who asked for it.
    pub origin: Origin,
}

impl Facts {
    /// Of an order's hold that was made with these items, and has not ended.
    pub(crate) fn of_a_hold(items: Vec<OrderedItem>) -> Self {
        Self {
            items,
            state: ReservationState::Held,
            told: None,
            expires_at: None,
            reason: None,
            origin: Origin::Order,
        }
    }

    /// What its order is told when it asks again: the same as the last time, in case it has not heard.
    pub(crate) fn answer(&self) -> InventoryOutcome {
        match (self.origin, self.state, self.told) {
            // Somebody has taken the order's id for a hold by hand: there is nothing for the order itself.
            (Origin::Direct, ..) => InventoryOutcome::Rejected {
                reason: FailureReason::Unprocessable,
            },
            (_, ReservationState::Held, None) => InventoryOutcome::Reserved {
                expires_at: self.expires_at,
            },
            (_, ReservationState::Held, Some(Told::Ended)) => InventoryOutcome::Released,
            (_, ReservationState::Held, Some(Told::Paid)) | (_, ReservationState::Confirmed, _) => {
                InventoryOutcome::Paid
            }
            (_, ReservationState::Released, _) => InventoryOutcome::Released,
            (_, ReservationState::Rejected, _) => InventoryOutcome::Rejected {
                reason: self.reason.unwrap_or(FailureReason::Unprocessable),
            },
        }
    }
}

/// What is in the store: the reservations of the orders and the accounts of the products that a batch names.
#[derive(Debug, Default)]
pub struct Known {
    /// Reservations by order.
    pub reservations: HashMap<OrderId, Facts>,
    /// Those of them that are remembered, and were not read.
    pub remembered: HashSet<OrderId>,
    /// Accounts by product.
    pub stock: BTreeMap<ProductId, Stock>,
    /// The number of each product's last entry in the ledger.
    pub last_entries: HashMap<ProductId, i64>,
    /// Products whose accounts are broken. Nothing of theirs moves until they are set right: what is asked about them is left without
    /// an answer, and asked again.
    pub broken: BTreeSet<ProductId>,
    /// Orders whose reservations are there and cannot be read: the same.
    pub unreadable: HashSet<OrderId>,
}

/// A reservation to create.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewReservation {
    /// The order it is for.
    pub order: OrderId,
    /// What it holds.
    pub items: Vec<OrderedItem>,
    /// Where it stands after the batch.
    pub state: ReservationState,
    /// When the hold runs out.
    pub expires_at: Option<Timestamp>,
    /// Why there was nothing to hold.
    pub reason: Option<FailureReason>,
}

/// An answer to an order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The order.
    pub order: OrderId,
    /// What became of its units.
    pub outcome: InventoryOutcome,
    /// What the message that it answers says of the order.
    pub about: Option<About>,
    /// Trace of the message it answers.
    pub traceparent: Option<String>,
}

/// What the news of an accepted order says of it, for whoever is told the answer.
fn about(message: &Message) -> Option<About> {
    let Payload::OrderCreated(created) = &message.payload else {
        return None;
    };
    Some(About {
        user_id: created.user_id.clone(),
        accepted_at: message
            .about
            .as_ref()
            .map_or(message.at, |about| about.accepted_at),
    })
}

/// Where an existing reservation goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Move {
    /// Where it stood before.
    pub from: ReservationState,
    /// Where it stands after the batch.
    pub to: ReservationState,
}

/// What is to be written.
#[derive(Debug, Default)]
pub struct Plan {
    /// Reservations to insert.
    pub created: Vec<NewReservation>,
    /// Existing reservations to move, by order.
    pub moved: BTreeMap<OrderId, Move>,
    /// Accounts that changed, as they shall be.
    pub stock: BTreeMap<ProductId, Stock>,
    /// The number of each product's last entry in the ledger, where that was read with the accounts.
    pub last_entries: Option<HashMap<ProductId, i64>>,
    /// How they came about.
    pub postings: Vec<Posting>,
    /// Answers for the outbox.
    pub answers: Vec<Answer>,
    /// Units that are for sale again, by product.
    pub freed: BTreeMap<ProductId, u64>,
    /// Whether an order was left alone by what was not looked for: a new one may have a reservation already, and one that is remembered may
    /// stand elsewhere by now.
    pub leaves_orders_alone: bool,
}

/// Plans a batch, message by message in order.
pub fn plan(messages: &[Message], mut known: Known, terms: Terms, now: Timestamp) -> Plan {
    let plan = Plan {
        last_entries: Some(std::mem::take(&mut known.last_entries)),
        ..Plan::default()
    };
    let mut planner = Planner {
        known,
        terms,
        now,
        plan,
        created: HashMap::new(),
    };
    for message in messages {
        if planner.known.unreadable.contains(&message.order_id) {
            continue;
        }
        match &message.payload {
            Payload::OrderCreated(order) => planner.reserve(message, &order.items),
            Payload::OrderStatus(change) => {
                let exists = !change.user_id.as_str().is_empty();
                planner.follow(&message.order_id, change.status, exists);
            }
            Payload::InventoryResult(_) => {}
        }
    }
    planner.plan
}

struct Planner {
    known: Known,
    terms: Terms,
    now: Timestamp,
    plan: Plan,
    /// Where in `plan.created` the reservations of this batch stand.
    created: HashMap<OrderId, usize>,
}

impl Planner {
    /// Reserves an order whole or not at all. An order that has a reservation already gets its answer again: it asks because it
    /// has not heard. What this batch has created is answered in it.
    fn reserve(&mut self, message: &Message, items: &[OrderedItem]) {
        let order = &message.order_id;
        if self.created.contains_key(order) {
            return;
        }
        if let Some(held) = self.known.reservations.get(order) {
            self.plan.answers.push(Answer {
                order: order.clone(),
                outcome: held.answer(),
                about: about(message),
                traceparent: message.traceparent.clone(),
            });
            return;
        }
        if self.is_broken(order, items) {
            self.plan.leaves_orders_alone = true;
            return;
        }
        let until = self.terms.expiry(self.now);
        let (state, expires_at, outcome) = match self.take(order, items) {
            Ok(()) => (
                ReservationState::Held,
                until,
                InventoryOutcome::Reserved { expires_at: until },
            ),
            Err(reason) => (
                ReservationState::Rejected,
                None,
                InventoryOutcome::Rejected { reason },
            ),
        };
        self.create(NewReservation {
            order: order.clone(),
            items: items.to_vec(),
            state,
            expires_at,
            reason: outcome.reason(),
        });
        self.plan.answers.push(Answer {
            order: order.clone(),
            outcome,
            about: about(message),
            traceparent: message.traceparent.clone(),
        });
    }

    fn take(&mut self, order: &OrderId, items: &[OrderedItem]) -> Result<(), FailureReason> {
        let mut after: BTreeMap<ProductId, Stock> = BTreeMap::new();
        for item in items {
            let account = match after.get(&item.product_id) {
                Some(account) => Some(*account),
                None => self.account(&item.product_id),
            };
            let mut account = account.ok_or(FailureReason::UnknownProduct)?;
            account
                .reserve(u64::from(item.quantity.get()))
                .map_err(|_| FailureReason::SoldOut)?;
            after.insert(item.product_id.clone(), account);
        }
        self.plan.stock.extend(after);
        self.plan
            .postings
            .extend(items.iter().map(|item| Posting::of(item, order, Cause::Reserved)));
        Ok(())
    }

    /// Follows an order to its end: units of a confirmed order are sold, units of any other go back; also sold ones where there is
    /// no such order any more, as after the database was put back to a moment before it.
    fn follow(&mut self, order: &OrderId, status: OrderStatus, exists: bool) {
        let target = match status {
            OrderStatus::Pending => return,
            OrderStatus::Confirmed => ReservationState::Confirmed,
            OrderStatus::Failed | OrderStatus::Cancelled | OrderStatus::Expired => ReservationState::Released,
        };
        let held = match self.created.get(order).and_then(|at| self.plan.created.get(*at)) {
            Some(new) => Some(Facts {
                items: new.items.clone(),
                state: new.state,
                told: None,
                expires_at: new.expires_at,
                reason: new.reason,
                origin: Origin::Order,
            }),
            None => self.known.reservations.get(order).cloned(),
        };
        match held {
            // What was held by hand is for whoever did that to settle, also where the id is an order's.
            Some(held) if held.state == ReservationState::Held && held.origin == Origin::Order => {
                self.settle(order, &held, target);
            }
            Some(held)
                if !exists && held.state == ReservationState::Confirmed && held.origin == Origin::Order =>
            {
                self.settle(order, &held, ReservationState::Released);
            }
            Some(_) => {}
            // The end of an order overtook its beginning: leave a mark, so that nothing is held when that arrives.
            None if target == ReservationState::Released => self.create(NewReservation {
                order: order.clone(),
                items: Vec::new(),
                state: ReservationState::Released,
                expires_at: None,
                reason: None,
            }),
            None => {}
        }
    }

    /// Whole or not at all: where an account does not allow it, the reservation stays as it is, and its order is asked about it again.
    fn settle(&mut self, order: &OrderId, held: &Facts, target: ReservationState) {
        if self.is_broken(order, &held.items) {
            return;
        }
        let (mut accounts, mut postings, mut freed) = (BTreeMap::new(), Vec::new(), Vec::new());
        for item in &held.items {
            let known = accounts.get(&item.product_id).copied();
            let Some(mut account) = known.or_else(|| self.account(&item.product_id)) else {
                continue;
            };
            let units = u64::from(item.quantity.get());
            let (cause, moved) = match (held.state, target) {
                (_, ReservationState::Confirmed) => (Cause::Sold, account.confirm(units)),
                (ReservationState::Confirmed, _) => (Cause::Returned, account.take_back(units)),
                _ => (Cause::Released, account.release(units)),
            };
            if let Err(error) = moved {
                if self.known.remembered.contains(order) {
                    self.plan.leaves_orders_alone = true;
                } else {
                    tracing::error!(%order, product = %item.product_id, %error, "stock account is out of step; moving nothing");
                }
                return;
            }
            postings.push(Posting::of(item, order, cause));
            accounts.insert(item.product_id.clone(), account);
            if target == ReservationState::Released {
                freed.push((item.product_id.clone(), units));
            }
        }
        self.plan.postings.extend(postings);
        self.plan.stock.extend(accounts);
        for (product, units) in freed {
            *self.plan.freed.entry(product).or_default() += units;
        }
        match self
            .created
            .get(order)
            .and_then(|at| self.plan.created.get_mut(*at))
        {
            Some(new) => {
                new.state = target;
                new.expires_at = None;
            }
            None => {
                let from = held.state;
                let moved = self.plan.moved.entry(order.clone());
                moved.or_insert(Move { from, to: target }).to = target;
                if let Some(held) = self.known.reservations.get_mut(order) {
                    held.state = target;
                }
            }
        }
    }

    fn is_broken(&self, order: &OrderId, items: &[OrderedItem]) -> bool {
        let broken = items
            .iter()
            .find(|item| self.known.broken.contains(&item.product_id));
        if let Some(item) = broken {
            tracing::error!(%order, product = %item.product_id, "the stock account of a product is broken; leaving its order alone");
        }
        broken.is_some()
    }

    fn account(&self, product: &ProductId) -> Option<Stock> {
        self.plan
            .stock
            .get(product)
            .or_else(|| self.known.stock.get(product))
            .copied()
    }

    fn create(&mut self, reservation: NewReservation) {
        self.created
            .insert(reservation.order.clone(), self.plan.created.len());
        self.plan.created.push(reservation);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use events::message::{OrderCreated, OrderStatusChanged};
    use sale::{
        Quantity, UserId,
        order::{Confirmation, InventoryStatus},
    };
    use std::time::Duration;

    const AUTOMATIC: Terms = Terms {
        confirmation: Confirmation::Automatic,
        ttl: Duration::from_secs(600),
    };

    fn message(order: &str, payload: Payload) -> Message {
        Message::new(OrderId::new(order), Timestamp::UNIX_EPOCH, None, payload)
    }

    fn created(order: &str, items: &[(&str, i64)]) -> Message {
        let items = items
            .iter()
            .map(|(product, n)| OrderedItem {
                product_id: ProductId::new(*product),
                quantity: Quantity::new(*n).unwrap(),
            })
            .collect();
        message(
            order,
            Payload::OrderCreated(OrderCreated {
                user_id: UserId::new("u"),
                items,
            }),
        )
    }

    fn ended(order: &str, status: OrderStatus) -> Message {
        message(
            order,
            Payload::OrderStatus(OrderStatusChanged {
                user_id: UserId::new("u"),
                status,
                inventory_status: InventoryStatus::Reserved,
                message: String::new(),
                reason: None,
                hold_expires_at: None,
                again: false,
            }),
        )
    }

    fn stocked(stock: &[(&str, u64)]) -> Known {
        Known {
            stock: stock
                .iter()
                .map(|(p, n)| (ProductId::new(*p), Stock::new(*n)))
                .collect(),
            ..Known::default()
        }
    }

    /// An order that holds one unit of each of some products, of which `accounts` know.
    fn holding(order: &str, products: &[&str], accounts: &[&str]) -> Known {
        let items = products.iter().map(|product| OrderedItem {
            product_id: ProductId::new(*product),
            quantity: Quantity::new(1).unwrap(),
        });
        let held = Facts {
            items: items.collect(),
            state: ReservationState::Held,
            told: None,
            expires_at: None,
            reason: None,
            origin: Origin::Order,
        };
        let account = |product: &&str| (ProductId::new(*product), Stock::from_parts(5, 1, 0).unwrap());
        Known {
            reservations: [(OrderId::new(order), held)].into(),
            stock: accounts.iter().map(account).collect(),
            ..Known::default()
        }
    }

    fn run(messages: &[Message], known: Known) -> Plan {
        plan(messages, known, AUTOMATIC, Timestamp::UNIX_EPOCH)
    }

    fn counts(plan: &Plan, product: &str) -> (u64, u64, u64) {
        let stock = plan.stock[&ProductId::new(product)];
        (stock.available(), stock.reserved(), stock.sold())
    }

    #[test]
    fn the_last_unit_goes_to_the_first_order() {
        let plan = run(
            &[created("a", &[("p", 1)]), created("b", &[("p", 1)])],
            stocked(&[("p", 1)]),
        );
        assert_eq!(
            plan.answers[0].outcome,
            InventoryOutcome::Reserved { expires_at: None }
        );
        assert_eq!(
            plan.answers[1].outcome,
            InventoryOutcome::Rejected {
                reason: FailureReason::SoldOut
            }
        );
        assert_eq!(counts(&plan, "p"), (0, 1, 0));
    }

    #[test]
    fn an_order_is_reserved_whole_or_not_at_all() {
        let plan = run(
            &[created("a", &[("p", 1), ("q", 2)])],
            stocked(&[("p", 5), ("q", 1)]),
        );
        assert_eq!(plan.created[0].state, ReservationState::Rejected);
        assert!(plan.stock.is_empty());
        let plan = run(&[created("a", &[("p", 1), ("ghost", 1)])], stocked(&[("p", 5)]));
        assert_eq!(
            plan.answers[0].outcome,
            InventoryOutcome::Rejected {
                reason: FailureReason::UnknownProduct
            }
        );
        assert!(plan.stock.is_empty());
    }

    #[test]
    fn the_same_product_twice_in_an_order_counts_twice() {
        let plan = run(&[created("a", &[("p", 2), ("p", 2)])], stocked(&[("p", 3)]));
        assert_eq!(plan.created[0].state, ReservationState::Rejected);
    }

    #[test]
    fn a_broken_account_keeps_its_own_orders_waiting_and_no_others() {
        let broken = |of: Known| Known {
            broken: [ProductId::new("bad")].into(),
            ..of
        };
        let plan = run(
            &[
                created("a", &[("good", 1)]),
                created("b", &[("good", 1), ("bad", 1)]),
                created("c", &[("good", 1)]),
            ],
            broken(stocked(&[("good", 5)])),
        );
        let answered: Vec<_> = plan.answers.iter().map(|answer| answer.order.as_str()).collect();
        assert_eq!(answered, ["a", "c"]);
        assert_eq!(plan.created.len(), 2);
        let held = broken(holding("b", &["bad"], &[]));
        let plan = run(&[ended("b", OrderStatus::Confirmed)], held);
        assert!(plan.moved.is_empty() && plan.postings.is_empty());
    }

    /// One unit of each is held by the order, and the account of the second product knows nothing of it.
    #[test]
    fn units_move_for_all_items_of_an_order_or_for_none() {
        for end in [OrderStatus::Confirmed, OrderStatus::Cancelled] {
            let mut known = holding("a", &["p", "q"], &["p"]);
            known.stock.insert(ProductId::new("q"), Stock::new(5));
            let plan = run(&[ended("a", end)], known);
            assert!(
                plan.moved.is_empty()
                    && plan.stock.is_empty()
                    && plan.postings.is_empty()
                    && plan.freed.is_empty()
            );
        }
    }

    #[test]
    fn a_repeat_is_answered_from_what_is_stored() {
        use ReservationState as S;
        let reason = FailureReason::UnknownProduct;
        for (state, told, of_rejected, origin, outcome) in [
            (
                S::Held,
                None,
                None,
                Origin::Order,
                InventoryOutcome::Reserved { expires_at: None },
            ),
            (
                S::Held,
                Some(Told::Paid),
                None,
                Origin::Order,
                InventoryOutcome::Paid,
            ),
            (
                S::Held,
                Some(Told::Ended),
                None,
                Origin::Order,
                InventoryOutcome::Released,
            ),
            (S::Confirmed, None, None, Origin::Order, InventoryOutcome::Paid),
            (S::Released, None, None, Origin::Order, InventoryOutcome::Released),
            (
                S::Rejected,
                None,
                Some(reason),
                Origin::Order,
                InventoryOutcome::Rejected { reason },
            ),
            (
                S::Rejected,
                None,
                None,
                Origin::Order,
                InventoryOutcome::Rejected {
                    reason: FailureReason::Unprocessable,
                },
            ),
            (
                S::Held,
                None,
                None,
                Origin::Direct,
                InventoryOutcome::Rejected {
                    reason: FailureReason::Unprocessable,
                },
            ),
        ] {
            let mut known = stocked(&[("p", 5)]);
            let held = Facts {
                items: vec![],
                state,
                told,
                expires_at: None,
                reason: of_rejected,
                origin,
            };
            known.reservations.insert(OrderId::new("a"), held);
            let plan = run(&[created("a", &[("p", 1)])], known);
            assert_eq!(plan.answers.len(), 1, "{state:?}");
            assert_eq!(plan.answers[0].outcome, outcome, "{state:?} {told:?} {origin:?}");
            assert!(plan.created.is_empty() && plan.moved.is_empty() && plan.stock.is_empty());
        }
    }

    #[test]
    fn repeats_change_nothing() {
        let plan = run(
            &[created("a", &[("p", 1)]), created("a", &[("p", 1)])],
            stocked(&[("p", 5)]),
        );
        assert_eq!((plan.created.len(), plan.answers.len()), (1, 1));
        let mut known = stocked(&[("p", 5)]);
        known.reservations.insert(
            OrderId::new("a"),
            Facts {
                items: vec![],
                state: ReservationState::Confirmed,
                told: None,
                expires_at: None,
                reason: None,
                origin: Origin::Order,
            },
        );
        let plan = run(
            &[created("a", &[("p", 1)]), ended("a", OrderStatus::Cancelled)],
            known,
        );
        assert!(plan.created.is_empty() && plan.stock.is_empty() && plan.moved.is_empty());
    }

    /// An order that fails because somebody has taken its id for a hold by hand takes nothing from them.
    #[test]
    fn what_is_held_by_hand_does_not_follow_the_order_of_the_same_id() {
        let mut known = stocked(&[("p", 5)]);
        known.reservations.insert(
            OrderId::new("a"),
            Facts {
                items: vec![OrderedItem {
                    product_id: ProductId::new("p"),
                    quantity: Quantity::new(2).unwrap(),
                }],
                state: ReservationState::Held,
                told: None,
                expires_at: None,
                reason: None,
                origin: Origin::Direct,
            },
        );
        let plan = run(&[ended("a", OrderStatus::Failed)], known);
        assert!(plan.stock.is_empty() && plan.moved.is_empty());
    }

    #[test]
    fn what_is_remembered_and_does_not_fit_is_looked_at() {
        let batch = [ended("a", OrderStatus::Confirmed)];
        for remembered in [true, false] {
            let mut known = stocked(&[("p", 5)]);
            let item = OrderedItem {
                product_id: ProductId::new("p"),
                quantity: Quantity::new(2).unwrap(),
            };
            known
                .reservations
                .insert(OrderId::new("a"), Facts::of_a_hold(vec![item]));
            known.remembered.extend(remembered.then(|| OrderId::new("a")));
            let plan = run(&batch, known);
            assert_eq!(plan.leaves_orders_alone, remembered, "nothing of it is reserved");
            assert!(plan.moved.is_empty() && plan.stock.is_empty());
        }
    }

    #[test]
    fn units_follow_their_order() {
        let batch = [
            created("a", &[("p", 2)]),
            ended("a", OrderStatus::Confirmed),
            ended("a", OrderStatus::Confirmed),
        ];
        let plan = run(&batch, stocked(&[("p", 5)]));
        assert_eq!(counts(&plan, "p"), (3, 0, 2));
        assert_eq!(plan.created[0].state, ReservationState::Confirmed);
        let plan = run(
            &[created("a", &[("p", 2)]), ended("a", OrderStatus::Expired)],
            stocked(&[("p", 5)]),
        );
        assert_eq!(counts(&plan, "p"), (5, 0, 0));
        assert_eq!(plan.freed, [(ProductId::new("p"), 2)].into());
    }

    #[test]
    fn a_cancellation_that_comes_first_wins() {
        let plan = run(
            &[ended("a", OrderStatus::Cancelled), created("a", &[("p", 2)])],
            stocked(&[("p", 5)]),
        );
        assert!(plan.stock.is_empty() && plan.answers.is_empty());
        assert_eq!(plan.created[0].state, ReservationState::Released);
    }
}
