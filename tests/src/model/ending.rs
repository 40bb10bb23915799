//! The way from an accepted order to its end. Two orders want one unit. Messages go from the outbox to topics, and lanes take them from
//! there: inventory reads new orders and their ends, orders read inventory's answers, the notifier reads the ends. Each lane may be
//! taken over by a second worker while the first one stands still with a message in its hands; a relay may write a message twice; a
//! worker may not hear that its commit went through; a broker may lose a topic with all that is in it, read or not. One order may be
//! paid, cancelled, and its hold may run out.
//!
//! Where nothing moves any more the reminders speak up, and where they have nothing to say everything must have come to its end.

use super::explore::{Model, explore};
use sale::{
    order::{
        Confirmation, Decision, FailureReason, InventoryOutcome, InventoryStatus, OrderState, OrderStatus,
        ReservationState, Verdict,
    },
    stock::Stock,
};
use std::collections::BTreeSet;

/// Where messages go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Topic {
    Created = 0,
    Result = 1,
    Status = 2,
}

/// Who reads what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Lane {
    /// Inventory holds units for new orders.
    Reserve = 0,
    /// Orders follow inventory's answers.
    Follow = 1,
    /// Inventory settles units of orders that have ended.
    Settle = 2,
    /// The notifier tells buyers.
    Tell = 3,
}

impl Lane {
    const ALL: [Self; 4] = [Self::Reserve, Self::Follow, Self::Settle, Self::Tell];

    fn topic(self) -> Topic {
        match self {
            Self::Reserve => Topic::Created,
            Self::Follow => Topic::Result,
            Self::Settle | Self::Tell => Topic::Status,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Said {
    Created,
    Result(Answer),
    Status { status: OrderStatus, again: bool },
}

/// An answer of inventory, without its times.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Answer {
    Reserved,
    Rejected,
    Paid,
    Released,
}

impl Answer {
    fn outcome(self) -> InventoryOutcome {
        match self {
            Self::Reserved => InventoryOutcome::Reserved { expires_at: None },
            Self::Rejected => InventoryOutcome::Rejected {
                reason: FailureReason::SoldOut,
            },
            Self::Paid => InventoryOutcome::Paid,
            Self::Released => InventoryOutcome::Released,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Message {
    /// Tells repeats of a message from others.
    id: u8,
    order: usize,
    said: Said,
}

impl Message {
    fn topic(self) -> Topic {
        match self.said {
            Said::Created => Topic::Created,
            Said::Result(_) => Topic::Result,
            Said::Status { .. } => Topic::Status,
        }
    }
}

/// The safety that is taken out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Without {
    Nothing,
    /// A commit does not ask who owns the lane.
    Epoch,
    /// A commit does not ask how far the lane is, and moves it on by one.
    OffsetCheck,
    /// It asks neither.
    Ownership,
    /// A lane goes by its offset alone, whatever log that is of.
    Generation,
    /// A payment is answered by inventory, and the order is told later.
    Decider,
    /// Inventory forgets whom it has refused or given units back, and what it holds for whom it holds again.
    StoredAnswers,
}

/// A log: another one after it was lost.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
struct Log {
    generation: u8,
    records: Vec<Message>,
}

/// How far a lane is, in the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
struct Progress {
    epoch: u8,
    offset: usize,
    generation: u8,
}

/// What a worker has in its hands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Batch {
    epoch: u8,
    offset: usize,
    generation: u8,
    /// `None` for a gap.
    message: Option<Message>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Sale {
    without: Without,
    orders: Vec<OrderState>,
    reservations: Vec<Option<ReservationState>>,
    reserved: u64,
    sold: u64,
    outbox: Vec<Message>,
    logs: [Log; 3],
    lanes: [Progress; 4],
    /// The owner of each lane's lease, and one that has lost it without knowing.
    batches: [[Option<Batch>; 2]; 4],
    owners: [usize; 4],
    /// Whether a lane has met a gap that is not mended.
    losses: [bool; 4],
    /// What each buyer was told, by the message's id.
    told: Vec<Vec<(u8, OrderStatus)>>,
    /// How the first order ends, to whoever was answered so.
    promised: BTreeSet<Wish>,
    /// What may still be wished of it.
    wishes: BTreeSet<Wish>,
    next_id: u8,
    faults: Faults,
}

/// What may still go wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Faults {
    takeovers: u8,
    repeats: u8,
    unheard: u8,
    lost_topics: u8,
}

/// What somebody wants to become of the first order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Wish {
    Pay,
    Cancel,
    Expire,
}

impl Wish {
    fn decision(self) -> Decision {
        match self {
            Self::Pay => Decision::Pay,
            Self::Cancel => Decision::Cancel,
            Self::Expire => Decision::Expire,
        }
    }

    fn status(self) -> OrderStatus {
        match self {
            Self::Pay => OrderStatus::Confirmed,
            Self::Cancel => OrderStatus::Cancelled,
            Self::Expire => OrderStatus::Expired,
        }
    }
}

#[derive(Debug, Clone)]
enum Step {
    /// The relay takes the oldest message to its topic, and removes it from the outbox or dies before that.
    Relay { removes: bool },
    /// A worker reads the next record of its lane, or meets a gap.
    Read(Lane, usize),
    /// A worker commits what it has read; it may not hear that it did.
    Commit { lane: Lane, worker: usize, heard: bool },
    /// The other worker takes the lane.
    TakeOver(Lane),
    /// A topic is lost and made anew.
    Lose(Topic),
    /// What a gap may have held is said again.
    Mend(Lane),
    /// Somebody decides about the first order.
    Decide(Wish),
    /// Inventory is asked again about an order that waits for its answer.
    Remind(usize),
    /// Inventory asks what has become of an order that it holds units for.
    AskBack(usize),
}

impl Sale {
    fn new(without: Without, orders: usize, faults: Faults, wishes: &[Wish]) -> Self {
        let mut sale = Self {
            without,
            orders: vec![OrderState::ACCEPTED; orders],
            reservations: vec![None; orders],
            reserved: 0,
            sold: 0,
            outbox: Vec::new(),
            logs: Default::default(),
            lanes: [Progress::default(); 4],
            batches: [[None; 2]; 4],
            owners: [0; 4],
            losses: [false; 4],
            told: vec![Vec::new(); orders],
            promised: BTreeSet::new(),
            wishes: wishes.iter().copied().collect(),
            next_id: 0,
            faults,
        };
        for order in 0..orders {
            sale.say(order, Said::Created);
        }
        sale
    }

    fn say(&mut self, order: usize, said: Said) {
        self.outbox.push(Message {
            id: self.next_id,
            order,
            said,
        });
        self.next_id += 1;
    }

    fn log(&self, lane: Lane) -> &Log {
        &self.logs[lane.topic() as usize]
    }

    /// What a worker that owns the lane would read next.
    fn next(&self, lane: Lane) -> Option<Batch> {
        let (at, log) = (self.lanes[lane as usize], self.log(lane));
        let batch = |message| Batch {
            epoch: at.epoch,
            offset: at.offset,
            generation: log.generation,
            message,
        };
        if self.without != Without::Generation && at.generation != log.generation {
            return Some(batch(None));
        }
        log.records.get(at.offset).map(|message| batch(Some(*message)))
    }

    fn commit(&mut self, lane: Lane, batch: Batch) -> bool {
        let at = self.lanes[lane as usize];
        let (asks_who, asks_where) = match self.without {
            Without::Epoch => (false, true),
            Without::OffsetCheck => (true, false),
            Without::Ownership => (false, false),
            _ => (true, true),
        };
        let owns = !asks_who || at.epoch == batch.epoch;
        let is_there = !asks_where || at.offset == batch.offset;
        if !owns || !is_there {
            return false;
        }
        let progress = &mut self.lanes[lane as usize];
        match batch.message {
            None => {
                progress.offset = 0;
                progress.generation = batch.generation;
                self.losses[lane as usize] = true;
            }
            Some(message) => {
                progress.offset = if asks_where { batch.offset } else { at.offset } + 1;
                self.handle(lane, message);
            }
        }
        true
    }

    fn handle(&mut self, lane: Lane, message: Message) {
        match (lane, message.said) {
            (Lane::Reserve, Said::Created) => self.reserve(message.order),
            (Lane::Follow, Said::Result(answer)) => self.follow(message.order, answer),
            (Lane::Settle, Said::Status { status, .. }) => self.settle(message.order, status),
            (Lane::Tell, Said::Status { status, again }) => self.tell(message, status, again),
            (lane, said) => unreachable!("{lane:?} reads {said:?}"),
        }
    }

    fn stock(&self) -> Stock {
        Stock::from_parts(1, self.reserved, self.sold).expect("the account adds up")
    }

    fn keep(&mut self, stock: Stock) {
        (self.reserved, self.sold) = (stock.reserved(), stock.sold());
    }

    fn reserve(&mut self, order: usize) {
        let known = self.reservations[order].filter(|_| self.without != Without::StoredAnswers);
        let answer = match known {
            Some(ReservationState::Held) => Answer::Reserved,
            Some(ReservationState::Confirmed) => Answer::Paid,
            Some(ReservationState::Released) => Answer::Released,
            Some(ReservationState::Rejected) => Answer::Rejected,
            None => {
                let mut stock = self.stock();
                let held = stock.reserve(1).is_ok();
                self.keep(stock);
                let (state, answer) = if held {
                    (ReservationState::Held, Answer::Reserved)
                } else {
                    (ReservationState::Rejected, Answer::Rejected)
                };
                self.reservations[order] = Some(state);
                answer
            }
        };
        self.say(order, Said::Result(answer));
    }

    fn follow(&mut self, order: usize, answer: Answer) {
        let state = self.orders[order];
        // Inventory holds units for an order that is over: it has not heard.
        if state.status.is_terminal() && answer != Answer::Rejected {
            let status = state.status;
            self.say(order, Said::Status { status, again: true });
        }
        if let Some(next) = state.after(answer.outcome(), Confirmation::Payment) {
            self.turn_into(order, next);
        }
    }

    fn turn_into(&mut self, order: usize, next: OrderState) {
        self.orders[order] = next;
        if next.status.is_terminal() {
            let status = next.status;
            self.say(order, Said::Status { status, again: false });
        }
    }

    fn settle(&mut self, order: usize, status: OrderStatus) {
        let mut stock = self.stock();
        match (self.reservations[order], status) {
            (Some(ReservationState::Held), OrderStatus::Confirmed) => {
                stock.confirm(1).expect("it is held");
                self.reservations[order] = Some(ReservationState::Confirmed);
            }
            (Some(ReservationState::Held), _) => {
                stock.release(1).expect("it is held");
                self.reservations[order] = Some(ReservationState::Released);
            }
            (None, OrderStatus::Confirmed) | (Some(_), _) => {}
            (None, _) => self.reservations[order] = Some(ReservationState::Released),
        }
        self.keep(stock);
    }

    fn tell(&mut self, message: Message, status: OrderStatus, again: bool) {
        let told = &mut self.told[message.order];
        let knows = |same: &(u8, OrderStatus)| same.0 == message.id || (again && same.1 == status);
        if !told.iter().any(knows) {
            told.push((message.id, status));
        }
    }

    fn decide(&mut self, wish: Wish) {
        if self.without == Without::Decider && wish == Wish::Pay {
            // Inventory says that it is paid, and the order hears of it later.
            if self.reservations[0] == Some(ReservationState::Held) {
                self.promised.insert(wish);
                self.say(0, Said::Result(Answer::Paid));
            }
            return;
        }
        match self.orders[0].decide(wish.decision()) {
            Verdict::Becomes(next) => {
                self.promised.insert(wish);
                self.turn_into(0, next);
            }
            Verdict::Already => {
                self.promised.insert(wish);
            }
            Verdict::Final | Verdict::NotHeld => {}
        }
    }

    /// Whether nothing is under way: only faults, wishes and reminders could move anything.
    fn is_quiet(&self) -> bool {
        self.outbox.is_empty()
            && Lane::ALL.into_iter().all(|lane| {
                let owner = self.owners[lane as usize];
                self.next(lane).is_none()
                    && self.batches[lane as usize][owner].is_none()
                    && !self.losses[lane as usize]
            })
    }

    /// What the reminders would say.
    fn reminders(&self) -> Vec<Step> {
        let mut steps = Vec::new();
        for order in 0..self.orders.len() {
            if self.orders[order] == OrderState::ACCEPTED {
                steps.push(Step::Remind(order));
            }
            let held = self.reservations[order] == Some(ReservationState::Held);
            if held && self.orders[order].status.is_terminal() {
                steps.push(Step::AskBack(order));
            }
        }
        steps
    }

    /// Whether everything has come to its end, where nothing moves any more.
    fn unsettled(&self) -> Option<String> {
        for order in 0..self.orders.len() {
            let (state, reservation) = (self.orders[order], self.reservations[order]);
            if !state.status.is_terminal() {
                // It waits for its payment, and may for as long as its hold lasts.
                if state.inventory == InventoryStatus::Reserved {
                    continue;
                }
                return Some(format!("order {order} has no end"));
            }
            let told: Vec<OrderStatus> = self.told[order].iter().map(|(_, status)| *status).collect();
            if told != [state.status] {
                return Some(format!(
                    "order {order} is {:?}, and its buyer was told {told:?}",
                    state.status
                ));
            }
            let fits = match state.status {
                OrderStatus::Confirmed => reservation == Some(ReservationState::Confirmed),
                _ => !matches!(
                    reservation,
                    Some(ReservationState::Held | ReservationState::Confirmed)
                ),
            };
            if !fits {
                return Some(format!(
                    "order {order} is {:?}, and its unit {reservation:?}",
                    state.status
                ));
            }
        }
        None
    }
}

impl Model for Sale {
    type Step = Step;

    fn steps(&self) -> Vec<Step> {
        let mut steps = Vec::new();
        if !self.outbox.is_empty() {
            steps.push(Step::Relay { removes: true });
            if self.faults.repeats > 0 {
                steps.push(Step::Relay { removes: false });
            }
        }
        for lane in Lane::ALL {
            let owner = self.owners[lane as usize];
            if self.batches[lane as usize][owner].is_none() && self.next(lane).is_some() {
                steps.push(Step::Read(lane, owner));
            }
            for worker in [0, 1] {
                if self.batches[lane as usize][worker].is_some() {
                    steps.push(Step::Commit {
                        lane,
                        worker,
                        heard: true,
                    });
                    if self.faults.unheard > 0 {
                        steps.push(Step::Commit {
                            lane,
                            worker,
                            heard: false,
                        });
                    }
                }
            }
            // While the first one has something in its hands: otherwise nothing comes of it.
            if self.faults.takeovers > 0 && self.batches[lane as usize][owner].is_some() {
                steps.push(Step::TakeOver(lane));
            }
            if self.losses[lane as usize] {
                steps.push(Step::Mend(lane));
            }
        }
        for topic in [Topic::Created, Topic::Result, Topic::Status] {
            if self.faults.lost_topics > 0 && !self.logs[topic as usize].records.is_empty() {
                steps.push(Step::Lose(topic));
            }
        }
        steps.extend(self.wishes.iter().map(|wish| Step::Decide(*wish)));
        if self.is_quiet() {
            steps.extend(self.reminders());
        }
        steps
    }

    fn after(&self, step: &Step) -> Self {
        let mut next = self.clone();
        match *step {
            Step::Relay { removes } => {
                let message = next.outbox[0];
                next.logs[message.topic() as usize].records.push(message);
                if removes {
                    next.outbox.remove(0);
                } else {
                    next.faults.repeats -= 1;
                }
            }
            Step::Read(lane, worker) => next.batches[lane as usize][worker] = self.next(lane),
            Step::Commit { lane, worker, heard } => {
                let batch = next.batches[lane as usize][worker].take();
                if let Some(batch) = batch {
                    let done = next.commit(lane, batch);
                    if done && !heard {
                        next.faults.unheard -= 1;
                        next.batches[lane as usize][worker] = Some(batch);
                    } else if !done && !heard {
                        next.faults.unheard -= 1;
                    }
                }
            }
            Step::TakeOver(lane) => {
                next.faults.takeovers -= 1;
                next.owners[lane as usize] = 1 - next.owners[lane as usize];
                next.lanes[lane as usize].epoch += 1;
                next.batches[lane as usize][next.owners[lane as usize]] = None;
            }
            Step::Lose(topic) => {
                next.faults.lost_topics -= 1;
                let log = &mut next.logs[topic as usize];
                log.generation += 1;
                log.records.clear();
            }
            Step::Mend(lane) => {
                next.losses[lane as usize] = false;
                for order in 0..next.orders.len() {
                    let state = next.orders[order];
                    if lane.topic() == Topic::Status && state.status.is_terminal() {
                        let status = state.status;
                        next.say(order, Said::Status { status, again: true });
                    } else if lane.topic() != Topic::Status && state == OrderState::ACCEPTED {
                        next.say(order, Said::Created);
                    }
                }
            }
            Step::Decide(wish) => {
                next.wishes.remove(&wish);
                next.decide(wish);
            }
            Step::Remind(order) => next.say(order, Said::Created),
            Step::AskBack(order) => next.say(order, Said::Result(Answer::Reserved)),
        }
        next
    }

    fn wrong(&self) -> Option<String> {
        let held = |state| {
            self.reservations
                .iter()
                .filter(|held| **held == Some(state))
                .count() as u64
        };
        let (reserved, sold) = (held(ReservationState::Held), held(ReservationState::Confirmed));
        if (reserved, sold) != (self.reserved, self.sold) || reserved + sold > 1 {
            return Some(format!(
                "{reserved} held and {sold} sold by reservations, {} and {} by the account",
                self.reserved, self.sold
            ));
        }
        let end = self.orders[0].status;
        if let Some(wish) = self
            .promised
            .iter()
            .find(|wish| end.is_terminal() && wish.status() != end)
        {
            return Some(format!("{wish:?} was answered as done, and the order is {end:?}"));
        }
        if self.is_quiet() && self.reminders().is_empty() {
            return self.unsettled();
        }
        None
    }
}

const CALM: Faults = Faults {
    takeovers: 0,
    repeats: 0,
    unheard: 0,
    lost_topics: 0,
};

/// How many orders there are, what may go wrong, and what is wished: each can be gone through in a few seconds.
fn weathers() -> Vec<(usize, Faults, Vec<Wish>)> {
    use Wish::{Cancel, Expire, Pay};
    let takeovers = Faults { takeovers: 1, ..CALM };
    let repeats = Faults { repeats: 1, ..CALM };
    let unheard = Faults { unheard: 1, ..CALM };
    let lost = Faults {
        lost_topics: 1,
        ..CALM
    };
    let lost_while_frozen = Faults {
        takeovers: 1,
        lost_topics: 1,
        ..CALM
    };
    vec![
        (2, CALM, vec![Pay, Cancel, Expire]),
        (2, takeovers, vec![Pay]),
        (2, unheard, vec![Pay]),
        (1, repeats, vec![Pay, Cancel]),
        (1, lost, vec![Pay, Cancel]),
        (1, lost_while_frozen, vec![Cancel]),
    ]
}

#[test]
fn every_order_comes_to_one_end_and_its_buyer_hears_of_it_once() {
    for (orders, faults, wishes) in weathers() {
        let states = explore(Sale::new(Without::Nothing, orders, faults, &wishes));
        let states = states.unwrap_or_else(|wrong| panic!("{faults:?} {wishes:?}: {wrong}"));
        println!("{states} states with {orders} orders, {faults:?} {wishes:?}");
        assert!(states > 100, "only {states} states with {faults:?}");
    }
}

/// The first thing that goes wrong in any weather.
fn goes_wrong(without: Without) -> Option<String> {
    weathers().into_iter().find_map(|(orders, faults, wishes)| {
        let told = explore(Sale::new(without, orders, faults, &wishes)).err()?;
        let first = told.lines().next().unwrap_or_default();
        Some(format!("with {faults:?}: {first}"))
    })
}

#[test]
fn each_safety_of_an_end_is_needed() {
    for (without, wrong) in [
        (Without::OffsetCheck, "its buyer was told []"),
        (Without::Ownership, "its buyer was told []"),
        (Without::Generation, "its buyer was told []"),
        (Without::Decider, "was answered as done, and the order is"),
        (Without::StoredAnswers, "by reservations"),
    ] {
        let told =
            goes_wrong(without).unwrap_or_else(|| panic!("{without:?} is taken out, and nothing goes wrong"));
        assert!(told.contains(wrong), "{without:?} {told}");
    }
    // A second lock: whoever has lost a lane finds its offset moved on, unless the log was another one meanwhile, and what was lost
    // with that is said again.
    assert_eq!(goes_wrong(Without::Epoch), None);
}
