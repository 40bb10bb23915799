//! What ends an order from outside of the stock: its buyer calls it off, the payment succeeds or fails, or the hold runs out.
//! Each reads the order and writes it in one transaction: of two at once one has a write conflict, runs again, and finds what
//! the other has made of it. Decisions that come while one commit is under way share the next.

use crate::{
    batcher::{self, Batcher, PATIENCE, Serving},
    document::Order,
    ended::Ended,
    follow::status_message,
    steps::{self, Step, Target, time},
    store::{Found, Store},
    tally::By,
};
use futures::FutureExt;
use jiff::Timestamp;
use mongodb::ClientSession;
use platform::{
    backends::mongo::{MongoError, TransactionError},
    clock::Clock,
    health::Work,
};
use sale::{
    OrderId, UserId,
    order::{Decision, Verdict},
};
use std::{collections::BTreeSet, future::Future, sync::Arc, time::Instant};
use tokio_util::sync::CancellationToken;

/// Decisions in one transaction.
const BATCH: usize = 256;

/// What somebody decides about an order.
#[derive(Debug, Clone)]
pub struct Request {
    /// The order.
    pub order: OrderId,
    /// Its user, if it must be this user's.
    pub user: Option<UserId>,
    /// What is to become of it.
    pub decision: Decision,
    /// When it was asked for.
    pub asked_at: Instant,
}

/// What became of a decision.
#[derive(Debug, Clone)]
pub enum Decided {
    /// The order is as was decided.
    Done(Order),
    /// It was so before.
    Already(Order),
    /// It had come to another end.
    Final(Order),
    /// It cannot be paid before its units are held.
    NotHeld(Order),
    /// There is no such order of this user.
    NotFound,
}

/// The database did not carry it through.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct DecideError(#[from] MongoError);

impl From<mongodb::error::Error> for DecideError {
    fn from(error: mongodb::error::Error) -> Self {
        Self(error.into())
    }
}

impl TransactionError for DecideError {
    fn of_database(&self) -> Option<&MongoError> {
        Some(&self.0)
    }
}

/// Hands decisions to the task that carries them out.
#[derive(Debug, Clone)]
pub struct Decider(Batcher<Request, Option<Decided>>);

impl Decider {
    /// Waits for what becomes of a decision. `None`: too many wait or the database does not answer; asking again is safe.
    pub async fn decide(&self, request: Request) -> Option<Decided> {
        self.0.ask(request).await.flatten()
    }
}

/// The decider and the task that serves it until the process ends.
pub fn start(
    store: Store,
    clock: Clock,
    signs: Work,
    stop: CancellationToken,
) -> (Decider, impl Future<Output = ()>) {
    let (batcher, requests) = batcher::queue(batcher::Kind::Decide);
    let serving = Serving {
        batch: BATCH,
        deadline: batcher::DEADLINE,
        signs,
        stop,
    };
    let mut turn = 0;
    let serve = requests.serve(serving, move |requests| {
        turn += 1;
        let (store, clock, by) = (store.clone(), clock.clone(), By::Decision { turn });
        async move { commit(&store, requests, by, clock.now()).await }
    });
    (Decider(batcher), serve)
}

/// One that the database does not carry through, or that somebody else keeps writing, must not hinder the others: where a batch fails for
/// what is in it, its halves go alone. Without an answer is what could not be done; no answers at all mean that the database is away.
async fn commit(store: &Store, requests: Vec<Request>, by: By, now: Timestamp) -> Vec<Option<Decided>> {
    let (mut decided, mut is_there) = (vec![None; requests.len()], false);
    let mut left = Vec::from([(0, requests.len())]);
    while let Some((from, to)) = left.pop() {
        match write(store, requests[from..to].into(), by, now).await {
            Ok(answers) => {
                is_there = true;
                for answer in answers.iter().flatten() {
                    if let Decided::Done(order) = answer
                        && let Some(ended) = Ended::of(order, order.status, now)
                    {
                        ended.count();
                    }
                }
                for (place, answer) in decided[from..to].iter_mut().zip(answers) {
                    *place = answer;
                }
            }
            Err(error) => {
                tracing::warn!(%error, orders = to - from, "cannot decide about orders");
                if !error.0.was_refused() {
                    break;
                }
                if to - from > 1 {
                    let middle = from.midpoint(to);
                    left.extend([(middle, to), (from, middle)]);
                }
            }
        }
    }
    if is_there { decided } else { Vec::new() }
}

/// Lets the holds of orders run out. One that was paid in the meantime stays paid. Returns those about which nobody could decide, and
/// `None` where the database did not carry anything through.
pub(crate) async fn expire(store: &Store, due: Vec<OrderId>, now: Timestamp) -> Option<Vec<OrderId>> {
    let expire = |order: &OrderId| Request {
        order: order.clone(),
        user: None,
        decision: Decision::Expire,
        asked_at: Instant::now(),
    };
    let decided = commit(store, due.iter().map(expire).collect(), By::Expiry, now).await;
    if decided.is_empty() && !due.is_empty() {
        return None;
    }
    let undecided = due.into_iter().zip(decided);
    let undecided = undecided.filter_map(|(order, decided)| decided.is_none().then_some(order));
    Some(undecided.collect())
}

/// Carries decisions out in one transaction, and answers them in their order.
async fn write(
    store: &Store,
    requests: Arc<[Request]>,
    by: By,
    now: Timestamp,
) -> Result<Vec<Option<Decided>>, DecideError> {
    store
        .transactions
        .run(|session| {
            let (store, requests) = (store.clone(), Arc::clone(&requests));
            async move { write_in(&store, session, &requests, by, now).await }.boxed()
        })
        .await
}

async fn write_in(
    store: &Store,
    session: &mut ClientSession,
    requests: &[Request],
    by: By,
    now: Timestamp,
) -> Result<Vec<Option<Decided>>, DecideError> {
    let ids: BTreeSet<&str> = requests.iter().map(|request| request.order.as_str()).collect();
    let ids: Vec<&str> = ids.into_iter().collect();
    let mut found = store.orders_in(session, &ids).await?;
    let decided: Vec<_> = requests
        .iter()
        .map(|request| decide(request, &mut found, now))
        .collect();
    let ended: Vec<&Order> = decided
        .iter()
        .filter_map(|decided| match decided {
            Some(Decided::Done(order)) => Some(order),
            _ => None,
        })
        .collect();
    if ended.is_empty() {
        return Ok(decided);
    }
    let step = |order: &&Order| Step {
        order: order.id.clone(),
        to: Target {
            state: order.state(),
            reason: order.reason,
            hold_expires_at: None,
        },
    };
    let steps: Vec<Step> = ended.iter().map(step).collect();
    steps::write(&store.orders, session, &steps, None, now).await?;
    let ends = ended.iter().map(|order| order.status);
    store.tally.count(session, by, ends).await?;
    let news: Vec<_> = ended.iter().map(|order| status_message(order, now)).collect();
    store.outbox.append(session, &news).await?;
    Ok(decided)
}

/// Decides about one of the orders, which is then as was decided: of two decisions in one batch the second hears of the first.
/// About one that cannot be read nobody can decide.
fn decide(request: &Request, found: &mut Found, now: Timestamp) -> Option<Decided> {
    // Whoever asked so long ago has been told that nobody knows, and may have decided otherwise since.
    if found.unreadable.contains(&request.order) || request.asked_at.elapsed() > PATIENCE {
        return None;
    }
    let order = found.orders.get_mut(&request.order);
    let Some(order) = order.filter(|order| request.user.as_ref().is_none_or(|user| *user == order.user_id))
    else {
        return Some(Decided::NotFound);
    };
    Some(match order.state().decide(request.decision) {
        Verdict::Becomes(state) => {
            order.status = state.status;
            order.inventory_status = state.inventory;
            order.reason = request.decision.reason();
            order.updated_at = time(now);
            Decided::Done(order.clone())
        }
        Verdict::Already => Decided::Already(order.clone()),
        Verdict::Final => Decided::Final(order.clone()),
        Verdict::NotHeld => Decided::NotHeld(order.clone()),
    })
}
