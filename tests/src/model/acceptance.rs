//! The way to an accepted order. Two processes accept orders of one customer, who may have one unit or any number, and who sends two
//! keys, each of them twice. An acceptance is a transaction: it reads, and later commits, unless what it has read was changed in between. A process
//! may stand still at any point in it, also while the operator closes the doors and counts what was accepted.

use super::explore::{Model, explore};
use std::collections::BTreeMap;

const KEYS: [u8; 2] = [1, 2];
const PROCESSES: [usize; 2] = [0, 1];

/// The safety that is taken out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Without {
    Nothing,
    /// Orders have random ids, so that the index on them does not tell repeats.
    IdempotencyIndex,
    /// Acceptances of one customer meet nowhere.
    Turns,
    /// An acceptance goes by the control document that its process has read.
    Fence,
}

/// An acceptance under way: what its transaction has read.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct UnderWay {
    key: u8,
    /// The order of this key.
    known: bool,
    /// Units of the customer.
    bought: u8,
    /// The number of the customer's last order.
    turn: u8,
    /// Whether the doors were closed in the database.
    closed: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Sale {
    without: Without,
    /// Whether the customer may have one unit only.
    limited: bool,
    /// Orders by key.
    orders: BTreeMap<u8, u8>,
    turn: u8,
    /// What the processes have read of the control document.
    told_closed: [bool; 2],
    /// Whether the doors are closed in the database.
    closed: bool,
    /// What was accepted when the sale was counted.
    counted: Option<u8>,
    /// How often each key may still be sent.
    requests: BTreeMap<u8, u8>,
    under_way: [Option<UnderWay>; 2],
    /// Answers 201 that were no repeats, by key.
    accepted: BTreeMap<u8, u8>,
}

#[derive(Debug, Clone)]
enum Step {
    /// A process begins a request.
    Begin(usize, u8),
    /// It commits, or runs again.
    Commit(usize),
    /// It dies, and the customer gets no answer.
    Die(usize),
    /// The operator closes the doors.
    Close,
    /// The control document reaches a process.
    Tell(usize),
    /// The sale is counted.
    Count,
}

impl Sale {
    fn new(without: Without, limited: bool) -> Self {
        Self {
            without,
            limited,
            orders: BTreeMap::new(),
            turn: 0,
            told_closed: [false; 2],
            closed: false,
            counted: None,
            requests: KEYS.map(|key| (key, 2)).into(),
            under_way: [None, None],
            accepted: BTreeMap::new(),
        }
    }

    fn all_orders(&self) -> u8 {
        self.orders.values().sum()
    }

    fn read(&self, key: u8) -> UnderWay {
        UnderWay {
            key,
            known: self.orders.contains_key(&key) && self.without != Without::IdempotencyIndex,
            bought: self.all_orders(),
            turn: self.turn,
            closed: self.closed,
        }
    }

    /// Whether somebody else has written what this transaction writes too.
    fn is_conflict(&self, read: &UnderWay) -> bool {
        let index = self.without != Without::IdempotencyIndex && self.orders.contains_key(&read.key);
        let turn = self.without != Without::Turns && self.turn != read.turn;
        let fence = self.without != Without::Fence && self.closed != read.closed;
        index || turn || fence
    }

    fn commit(&mut self, process: usize) {
        let Some(read) = self.under_way[process].take() else {
            return;
        };
        // It runs again, and reads what is so now. Without the fence it still goes by the document that it began with.
        let is_closed = |read: &UnderWay| read.closed && self.without != Without::Fence;
        if read.known || is_closed(&read) || (self.limited && read.bought >= 1) {
            return;
        }
        if self.is_conflict(&read) {
            self.under_way[process] = Some(self.read(read.key));
            return;
        }
        *self.orders.entry(read.key).or_default() += 1;
        *self.accepted.entry(read.key).or_default() += 1;
        self.turn += 1;
    }
}

impl Model for Sale {
    type Step = Step;

    fn steps(&self) -> Vec<Step> {
        let mut steps = Vec::new();
        for process in PROCESSES {
            if self.under_way[process].is_some() {
                steps.extend([Step::Commit(process), Step::Die(process)]);
            } else if !self.told_closed[process] {
                let left = self.requests.iter().filter(|(_, left)| **left > 0);
                steps.extend(left.map(|(key, _)| Step::Begin(process, *key)));
            }
            if self.closed && !self.told_closed[process] {
                steps.push(Step::Tell(process));
            }
        }
        if !self.closed {
            steps.push(Step::Close);
        } else if self.counted.is_none() {
            steps.push(Step::Count);
        }
        steps
    }

    fn after(&self, step: &Step) -> Self {
        let mut next = self.clone();
        match *step {
            Step::Begin(process, key) => {
                *next.requests.entry(key).or_default() -= 1;
                next.under_way[process] = Some(self.read(key));
            }
            Step::Commit(process) => next.commit(process),
            Step::Die(process) => next.under_way[process] = None,
            Step::Close => next.closed = true,
            Step::Tell(process) => next.told_closed[process] = true,
            Step::Count => next.counted = Some(self.all_orders()),
        }
        next
    }

    fn wrong(&self) -> Option<String> {
        if let Some((key, orders)) = self.orders.iter().find(|(_, orders)| **orders > 1) {
            return Some(format!("key {key} has made {orders} orders"));
        }
        if self.limited && self.all_orders() > 1 {
            return Some("the customer has more than one unit".to_owned());
        }
        let counted = self.counted?;
        (counted != self.all_orders()).then(|| {
            let orders = self.all_orders();
            format!("{counted} orders were counted, and there are {orders}")
        })
    }
}

#[test]
fn a_key_makes_one_order_a_limit_holds_and_nothing_is_accepted_after_the_count() {
    for limited in [true, false] {
        let states = explore(Sale::new(Without::Nothing, limited)).unwrap();
        assert!(states > 500, "only {states} states");
    }
}

#[test]
fn each_safety_of_acceptance_is_needed() {
    for (without, limited, wrong) in [
        (Without::IdempotencyIndex, false, "has made 2 orders"),
        (Without::Turns, true, "the customer has more than one unit"),
        (Without::Fence, true, "orders were counted, and there are"),
        (Without::Fence, false, "orders were counted, and there are"),
    ] {
        let found = explore(Sale::new(without, limited));
        let told = found.expect_err(&format!("{without:?} is taken out, and nothing goes wrong"));
        assert!(told.contains(wrong), "{without:?}: {told}");
    }
}
