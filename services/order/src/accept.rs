//! Accepting orders: while one commit is under way the next batch gathers, then goes whole.
//!
//! The batch is one transaction: the fence, the orders with the turns of their customers, and the outbox.

use crate::{
    batcher::{self, Batcher, PATIENCE, Serving},
    document::Order,
    fence::Fence,
    reminder,
    steps::{self, time},
    store::{Found, Store},
    turns::{self, Customers, Taken, Turn},
};
use events::{
    Message, Payload,
    lanes::{Expectation, Repeats},
    message::{About, OrderCreated, OrderedItem},
};
use futures::FutureExt;
use jiff::Timestamp;
use mongodb::ClientSession;
use platform::{
    backends::mongo::{MongoError, TransactionError},
    control::Control,
    health::Work,
    metrics::{Metric, must},
    retry::Backoff,
    traces::{Span, SpanKind, Together},
};
use prometheus::{IntCounter, register_int_counter};
use sale::{
    Money, OrderId, UserId,
    catalogue::PricedItem,
    control::Admission,
    order::{InventoryStatus, OrderStatus},
};
use std::{
    collections::HashMap,
    future::Future,
    sync::{Arc, LazyLock},
    time::{Duration, Instant},
};
use tokio_util::sync::CancellationToken;

/// Orders in one transaction.
const BATCH: usize = 512;
/// Tries of a batch that runs into another replica's orders.
const CONFLICT_TRIES: u32 = 6;

static ACCEPTED: LazyLock<IntCounter> = LazyLock::new(|| {
    must(register_int_counter!(
        "quicksale_orders_accepted_total",
        "Orders accepted."
    ))
});

/// What is counted here.
pub(crate) fn metrics() -> Vec<Metric> {
    vec![&*ACCEPTED]
}

/// An order as it was asked for, checked and priced.
#[derive(Debug, Clone)]
pub struct Wish {
    /// Who orders.
    pub user: UserId,
    /// The key that makes repeats harmless.
    pub idempotency_key: String,
    /// What, with the limit for each customer.
    pub items: Vec<WishedItem>,
    /// Sum of the items.
    pub total: Money,
    /// Hash of what is ordered.
    pub body_hash: String,
    /// Trace of the request.
    pub traceparent: Option<String>,
    /// When it was asked for.
    pub asked_at: Instant,
}

/// One line of a wish.
#[derive(Debug, Clone)]
pub struct WishedItem {
    /// Product, units and price.
    pub priced: PricedItem,
    /// Units a customer may hold and buy.
    pub limit_per_customer: Option<u32>,
}

/// What became of a wish.
#[derive(Debug, Clone)]
pub enum Answer {
    /// A new order.
    Accepted(Order),
    /// The order that this key made before.
    Replayed(Order),
    /// The key made another order before.
    KeyReused,
    /// The customer holds or bought too many already.
    CustomerLimit {
        /// The product's SKU.
        sku: String,
        /// Its limit.
        limit: u32,
    },
    /// The sale does not take orders now.
    NotOpen(Admission),
    /// The database does not answer, or too many are waiting.
    Busy,
}

impl Answer {
    /// Has a span say what became of its wish.
    fn tell(&self, span: &mut Span) {
        let outcome = match self {
            Self::Accepted(_) => "accepted",
            Self::Replayed(_) => "replayed",
            Self::KeyReused => "key_reused",
            Self::CustomerLimit { .. } => "customer_limit",
            Self::NotOpen(_) => "not_open",
            Self::Busy => "busy",
        };
        span.set("quicksale.outcome", outcome);
        if let Self::Accepted(order) | Self::Replayed(order) = self {
            span.set("quicksale.order.id", order.id.to_string());
        }
    }
}

/// Hands wishes to the task that serves them.
#[derive(Debug, Clone)]
pub struct Acceptor(Batcher<Wish, Answer>);

impl Acceptor {
    /// Waits for the answer to a wish.
    pub async fn accept(&self, wish: Wish) -> Answer {
        // It may still be accepted for a moment; the same key will then find it.
        self.0.ask(wish).await.unwrap_or(Answer::Busy)
    }
}

/// The acceptor and the task that serves it until the process ends.
pub fn start(
    store: Store,
    fence: Fence,
    control: Control,
    signs: Work,
    stop: CancellationToken,
) -> (Acceptor, impl Future<Output = ()>) {
    let (batcher, requests) = batcher::queue(batcher::Kind::Accept);
    let serving = Serving {
        batch: BATCH,
        deadline: batcher::DEADLINE,
        signs,
        stop,
    };
    let expectation = Expectation::default();
    let serve = requests.serve(serving, move |wishes| {
        let (store, fence, control) = (store.clone(), fence.clone(), control.clone());
        let expectation = expectation.clone();
        async move {
            // What has no end yet may still accept by an older document: the guard goes when it has ended, and not before.
            let _under_way = control.begin().await;
            let now = control.clock().now();
            // The version first: whatever the admission follows from is no older.
            let by = By {
                version: control.current().version,
                admission: control.admission(),
            };
            commit(store, fence, &expectation, (by, now), wishes).await
        }
    });
    (Acceptor(batcher), serve)
}

async fn commit(
    store: Store,
    fence: Fence,
    expectation: &Expectation,
    (by, now): (By, Timestamp),
    wishes: Vec<Wish>,
) -> Vec<Answer> {
    let wishes = Arc::new(wishes);
    let each = wishes
        .iter()
        .map(|wish| ("accept order", wish.traceparent.as_deref()));
    let mut spans = Together::start("accept batch", &SpanKind::Internal, each);
    let mut backoff = Backoff::new(Duration::from_millis(3), Duration::from_millis(100));
    loop {
        let repeats = expectation.of_try(backoff.attempts());
        let written = store
            .transactions
            .run(|session| {
                let (store, fence, wishes) = (store.clone(), fence.clone(), Arc::clone(&wishes));
                async move { write(&store, &fence, session, (by, now, repeats), &wishes).await }.boxed()
            })
            .await;
        match written {
            Ok(answers) => {
                expectation.batch_is_done();
                let accepted = answers
                    .iter()
                    .filter(|a| matches!(a, Answer::Accepted(_)))
                    .count();
                ACCEPTED.inc_by(accepted as u64);
                for (span, answer) in spans.each().zip(&answers) {
                    answer.tell(span);
                }
                return answers;
            }
            // One of our orders is there already, or another replica has just written it, or taken one of our turns: now it can be seen.
            Err(Conflict(error)) if error.is_duplicate_key() && backoff.attempts() < CONFLICT_TRIES => {
                expectation.has_met_one();
                tokio::time::sleep(backoff.next_wait()).await;
            }
            Err(Conflict(error)) => {
                tracing::warn!(%error, orders = wishes.len(), "cannot accept orders");
                spans.fail(&error);
                return Vec::new();
            }
        }
    }
}

/// What a batch is accepted by.
#[derive(Debug, Clone, Copy)]
struct By {
    /// The version of the control document.
    version: u64,
    admission: Admission,
}

struct Conflict(MongoError);

impl From<MongoError> for Conflict {
    fn from(error: MongoError) -> Self {
        Self(error)
    }
}

impl From<mongodb::error::Error> for Conflict {
    fn from(error: mongodb::error::Error) -> Self {
        Self(MongoError::Driver(error))
    }
}

impl TransactionError for Conflict {
    fn of_database(&self) -> Option<&MongoError> {
        Some(&self.0)
    }
}

async fn write(
    store: &Store,
    fence: &Fence,
    session: &mut ClientSession,
    (by, now, repeats): (By, Timestamp, Repeats),
    wishes: &[Wish],
) -> Result<Vec<Answer>, Conflict> {
    let ids: Vec<OrderId> = wishes
        .iter()
        .map(|w| OrderId::derive(&w.user, &w.idempotency_key))
        .collect();
    let keys: Vec<&str> = ids.iter().map(OrderId::as_str).collect();
    let mut found = match repeats {
        Repeats::Unlikely => None,
        Repeats::Possible => Some(store.orders_in(session, &keys).await?),
    };
    let customers = turns::read(store, session, wishes).await?;
    let judge_by = |found: Option<&Found>, admission| {
        // Nobody waits any more for what was asked so long ago: whoever asked may have been told otherwise since, under the same key.
        let is_left = |(wish, id): (&Wish, &OrderId)| {
            wish.asked_at.elapsed() > PATIENCE
                || found.is_some_and(|found| found.unreadable.contains(id))
                || customers.unknown.contains(&wish.user)
        };
        let left: Vec<bool> = wishes.iter().zip(&ids).map(is_left).collect();
        let batch = Batch {
            wishes,
            ids: &ids,
            left: &left,
        };
        let known = found.map_or_else(HashMap::new, |found| found.orders.clone());
        judge(batch, known, &customers, admission, now)
    };
    let is_accepted = |answer: &&Answer| matches!(answer, Answer::Accepted(_));
    let mut answers = judge_by(found.as_ref(), by.admission);
    let mut accepted = answers.iter().filter(is_accepted).count();
    // Whoever is refused may have been accepted before, under the same key: that is their answer then.
    if accepted < wishes.len() && found.is_none() {
        found = Some(store.orders_in(session, &keys).await?);
        answers = judge_by(found.as_ref(), by.admission);
        accepted = answers.iter().filter(is_accepted).count();
    }
    if accepted > 0 && !fence.pass(session, accepted, by.version).await? {
        if found.is_none() {
            found = Some(store.orders_in(session, &keys).await?);
        }
        answers = judge_by(found.as_ref(), Admission::Closed);
    }
    let fresh: Vec<&Order> = answers
        .iter()
        .filter_map(|answer| {
            if let Answer::Accepted(order) = answer {
                Some(order)
            } else {
                None
            }
        })
        .collect();
    if fresh.is_empty() {
        return Ok(answers);
    }
    let messages: Vec<Message> = fresh.iter().map(|order| created(order, now)).collect();
    store.orders.insert_many(fresh).session(&mut *session).await?;
    store.outbox.append(session, &messages).await?;
    Ok(answers)
}

/// What inventory is told of an order.
pub(crate) fn created(order: &Order, now: Timestamp) -> Message {
    let item = |item: &PricedItem| OrderedItem {
        product_id: item.product_id.clone(),
        quantity: item.quantity,
    };
    let payload = Payload::OrderCreated(OrderCreated {
        user_id: order.user_id.clone(),
        items: order.items.iter().map(item).collect(),
    });
    let about = About {
        user_id: order.user_id.clone(),
        accepted_at: steps::timestamp(order.created_at),
    };
    // What is said when the order is accepted has that time itself.
    let about = Some(about).filter(|about| about.accepted_at.as_millisecond() != now.as_millisecond());
    Message::new(order.id.clone(), now, order.traceparent.clone(), payload).about(about)
}

/// What is decided about together.
#[derive(Debug, Clone, Copy)]
struct Batch<'a> {
    wishes: &'a [Wish],
    /// The orders' ids.
    ids: &'a [OrderId],
    /// Whether nothing is decided about one.
    left: &'a [bool],
}

/// Decides a batch in order: repeats first, so that they are answered also after the end of the sale.
fn judge(
    batch: Batch<'_>,
    mut known: HashMap<OrderId, Order>,
    customers: &Customers,
    admission: Admission,
    now: Timestamp,
) -> Vec<Answer> {
    let mut taken = Taken::of(customers);
    let mut answers = Vec::with_capacity(batch.wishes.len());
    for ((wish, id), left) in batch.wishes.iter().zip(batch.ids).zip(batch.left) {
        let answer = if *left {
            Answer::Busy
        } else if let Some(order) = known.get(id) {
            if order.body_hash == wish.body_hash {
                Answer::Replayed(order.clone())
            } else {
                Answer::KeyReused
            }
        } else if admission != Admission::Open {
            Answer::NotOpen(admission)
        } else {
            match taken.take(wish) {
                Err(over) => Answer::CustomerLimit {
                    sku: over.sku,
                    limit: over.limit,
                },
                Ok(turn) => {
                    let order = new_order(wish, id, turn, now);
                    known.insert(id.clone(), order.clone());
                    Answer::Accepted(order)
                }
            }
        };
        answers.push(answer);
    }
    answers
}

fn new_order(wish: &Wish, id: &OrderId, turn: Turn, now: Timestamp) -> Order {
    let at = time(now);
    Order {
        id: id.clone(),
        user_id: wish.user.clone(),
        turn: Some(turn),
        items: wish.items.iter().map(|item| item.priced.clone()).collect(),
        total_amount: wish.total,
        status: OrderStatus::Pending,
        inventory_status: InventoryStatus::Pending,
        reason: None,
        idempotency_key: wish.idempotency_key.clone(),
        body_hash: wish.body_hash.clone(),
        traceparent: wish.traceparent.clone(),
        created_at: at,
        updated_at: at,
        hold_expires_at: None,
        ask_at: Some(reminder::ask_at(now, 0)),
        asked: 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sale::{ProductId, Quantity, Sku};

    fn wish(user: &str, key: &str, units: i64, limit: Option<u32>) -> Wish {
        let priced = PricedItem {
            product_id: ProductId::new("p"),
            sku: Sku::parse("P").unwrap(),
            quantity: Quantity::new(units).unwrap(),
            price: Money::from_minor(100),
        };
        Wish {
            user: UserId::new(user),
            idempotency_key: key.into(),
            items: vec![WishedItem {
                priced,
                limit_per_customer: limit,
            }],
            total: Money::from_minor(100 * units),
            body_hash: format!("p:{units}"),
            traceparent: None,
            asked_at: Instant::now(),
        }
    }

    fn run(wishes: &[Wish], customers: &Customers, admission: Admission) -> Vec<Answer> {
        let ids: Vec<_> = wishes
            .iter()
            .map(|w| OrderId::derive(&w.user, &w.idempotency_key))
            .collect();
        let batch = Batch {
            wishes,
            ids: &ids,
            left: &vec![false; wishes.len()],
        };
        judge(batch, HashMap::new(), customers, admission, Timestamp::UNIX_EPOCH)
    }

    /// The numbers of the orders that were accepted, and no other answer.
    fn turns(answers: &[Answer]) -> Vec<Option<Turn>> {
        let turn = |answer: &Answer| match answer {
            Answer::Accepted(order) => order.turn,
            _ => None,
        };
        answers.iter().map(turn).collect()
    }

    #[test]
    fn a_key_makes_one_order_even_inside_of_a_batch() {
        let wishes = [
            wish("u", "k", 1, None),
            wish("u", "k", 1, None),
            wish("u", "k", 2, None),
            wish("v", "k", 1, None),
        ];
        let answers = run(&wishes, &Customers::default(), Admission::Open);
        assert!(matches!(answers[0], Answer::Accepted(_)));
        assert!(matches!(answers[1], Answer::Replayed(_)));
        assert!(matches!(answers[2], Answer::KeyReused));
        assert!(matches!(answers[3], Answer::Accepted(_)));
    }

    #[test]
    fn the_limit_counts_earlier_orders_and_those_of_the_batch() {
        let wishes = [
            wish("u", "a", 1, Some(2)),
            wish("u", "b", 1, Some(2)),
            wish("u", "c", 1, Some(2)),
        ];
        let nth = |number| Some(Turn::numbered(number));
        let answers = run(&wishes, &Customers::default(), Admission::Open);
        assert_eq!(turns(&answers), [nth(1), nth(2), None]);
        assert!(matches!(answers[2], Answer::CustomerLimit { limit: 2, .. }));
        let answers = run(&wishes, &Customers::who_has("u", "p", 1, 7), Admission::Open);
        assert_eq!(turns(&answers), [nth(8), None, None], "behind what was there");
        let answers = run(&wishes, &Customers::who_has("u", "p", 2, 7), Admission::Open);
        assert!(matches!(answers[0], Answer::CustomerLimit { .. }));
        let answers = run(&wishes, &Customers::who_has("u", "q", 2, 3), Admission::Open);
        assert_eq!(turns(&answers), [nth(4), nth(5), None], "of another product");
    }

    #[test]
    fn a_closed_sale_takes_nothing() {
        let answers = run(
            &[wish("u", "a", 1, Some(2))],
            &Customers::default(),
            Admission::Closed,
        );
        assert!(matches!(answers[0], Answer::NotOpen(Admission::Closed)));
    }
}
