//! Sends orders on to the order service, those that wait at a moment as one request (see `platform::http::together`).
//!
//! Whoever comes while few requests are under way sends at once, and takes along whoever waits; whoever comes while there are as many as
//! may be waits for the first of them to be answered. So a quiet sale has one order in a request and none that waits, and a busy one many.

use crate::proxy::{NoAnswer, Proxy};
use axum::response::Response;
use platform::{
    http::{
        problem::Problem,
        together::{Answered, Asked, MOST, MOST_BYTES},
    },
    metrics::{Metric, SECONDS, must},
    standstill::Standstill,
    traces::Span,
};
use prometheus::{Histogram, register_histogram};
use serde_json::value::RawValue;
use std::{
    collections::VecDeque,
    sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};
use tokio::sync::oneshot;

/// Requests under way at a time: the order service commits one batch while the next one gathers there, and its replicas share what is sent
/// over several connections.
const AT_A_TIME: usize = 4;
/// Orders that wait. Each is a connection of its own, so that there are never as many.
const MOST_WAITING: usize = 8_192;
/// How long an order waits until it is sent. Together with the time for its answer it is less than what an order of a user is taken to be
/// under way (`gate`), and than how long a try may be on its way that nobody knows of (`platform::gate`).
const PATIENCE: Duration = Duration::from_secs(4);
/// How long an order that was sent waits for its answer: a little longer than the request that it was sent with.
const ANSWERED_WITHIN: Duration = Duration::from_secs(11);

static SENT: LazyLock<Histogram> = LazyLock::new(|| {
    must(register_histogram!(
        "quicksale_orders_sent_together",
        "Orders that were sent to the order service in one request.",
        vec![1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0]
    ))
});

static WAIT: LazyLock<Histogram> = LazyLock::new(|| {
    must(register_histogram!(
        "quicksale_order_send_wait_seconds",
        "Seconds that an order has waited in the gateway when it is sent to the order service.",
        SECONDS.to_vec()
    ))
});

/// What is counted here.
pub(crate) fn metrics() -> Vec<Metric> {
    vec![&*SENT, &*WAIT]
}

/// An order to send on.
#[derive(Debug)]
pub(crate) struct Order {
    /// The buyer's token.
    pub(crate) token: String,
    /// The idempotency key.
    pub(crate) key: String,
    /// The trace of the request.
    pub(crate) traceparent: Option<String>,
    /// The id of the request.
    pub(crate) request_id: Option<String>,
    /// The body.
    pub(crate) body: Box<RawValue>,
}

/// Sends orders on.
#[derive(Debug, Clone)]
pub(crate) struct Sender {
    proxy: Proxy,
    standstill: Standstill,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<Waiting>,
    under_way: usize,
    /// The number of the order that comes next.
    next: u64,
}

#[derive(Debug)]
struct Waiting {
    number: u64,
    order: Order,
    span: Span,
    answer: oneshot::Sender<Result<Response, NoAnswer>>,
    since: Instant,
}

/// A place among the requests that are under way. It is given up also where the task that has it panics.
struct Place {
    state: Arc<Mutex<State>>,
    is_given_up: bool,
}

impl Drop for Place {
    fn drop(&mut self) {
        if !self.is_given_up {
            lock(&self.state).under_way -= 1;
        }
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Sender {
    pub(crate) fn new(proxy: Proxy, standstill: Standstill) -> Self {
        Self {
            proxy,
            standstill,
            state: Arc::default(),
        }
    }

    /// Sends an order on and waits for its answer.
    ///
    /// # Errors
    /// [`NoAnswer`].
    pub(crate) async fn send(&self, mut order: Order) -> Result<Response, NoAnswer> {
        let span = self.proxy.order_span(&mut order.traceparent);
        let (answer, mut answered) = oneshot::channel();
        let (number, place) = {
            let mut state = lock(&self.state);
            if state.waiting.len() >= MOST_WAITING {
                return Err(NoAnswer::NotSent(Problem::busy().into()));
            }
            let number = state.next;
            state.next += 1;
            state.waiting.push_back(Waiting {
                number,
                order,
                span,
                answer,
                since: Instant::now(),
            });
            let place = (state.under_way < AT_A_TIME).then(|| {
                state.under_way += 1;
                Place {
                    state: Arc::clone(&self.state),
                    is_given_up: false,
                }
            });
            (number, place)
        };
        if let Some(place) = place {
            tokio::spawn(self.clone().send_all(place));
        }
        if let Ok(answer) = tokio::time::timeout(PATIENCE, &mut answered).await {
            // Whoever sends has ended without an answer: nobody knows how far it came.
            return answer.unwrap_or(Err(NoAnswer::Lost));
        }
        if self.take_back(number) {
            return Err(NoAnswer::NotSent(Problem::busy().into()));
        }
        match tokio::time::timeout(ANSWERED_WITHIN, answered).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) | Err(_) => Err(NoAnswer::Lost),
        }
    }

    /// Takes back an order that waits, if it still does: then nobody will send it.
    fn take_back(&self, number: u64) -> bool {
        let mut state = lock(&self.state);
        let at = state.waiting.iter().position(|waiting| waiting.number == number);
        at.is_some_and(|at| state.waiting.remove(at).is_some())
    }

    /// Sends whatever waits until nothing does.
    async fn send_all(self, mut place: Place) {
        loop {
            let batch = {
                let mut state = lock(&self.state);
                let batch = next(&mut state.waiting);
                if batch.is_empty() {
                    // Under the same lock: whoever comes next must not count on this one.
                    state.under_way -= 1;
                    place.is_given_up = true;
                    return;
                }
                batch
            };
            SENT.observe(batch.len() as f64);
            let waits = WAIT.local();
            for waiting in &batch {
                waits.observe(waiting.since.elapsed().as_secs_f64());
            }
            waits.flush();
            self.send_batch(batch).await;
        }
    }

    async fn send_batch(&self, batch: Vec<Waiting>) {
        // It may have waited here while this process stood still: whoever asked has been told otherwise since.
        if self.standstill.may_be_stale(Instant::now()) {
            return refuse(batch, || NoAnswer::NotSent(Problem::busy().into()));
        }
        let asked: Vec<Asked<'_>> = batch.iter().map(|waiting| asked(&waiting.order)).collect();
        let body = match serde_json::to_vec(&asked) {
            Ok(body) => body,
            Err(error) => return refuse(batch, || NoAnswer::NotSent(Problem::internal(&error).into())),
        };
        let answers = match self.proxy.send_orders(body.into()).await {
            Ok(answers) => answers,
            Err(none) => return refuse(batch, || none.clone()),
        };
        match serde_json::from_slice::<Vec<Answered>>(&answers) {
            Ok(answers) if answers.len() == batch.len() => {
                for (mut waiting, answer) in batch.into_iter().zip(answers) {
                    let answer = answer.into_response();
                    waiting.span.answered(answer.status());
                    // Who is gone asks again under the same key.
                    let _gone = waiting.answer.send(Ok(answer));
                }
            }
            _ => {
                tracing::error!("the order service has not answered each order that it was sent");
                refuse(batch, || NoAnswer::Lost);
            }
        }
    }
}

/// The first orders that wait, as many as go at once.
fn next(waiting: &mut VecDeque<Waiting>) -> Vec<Waiting> {
    let (mut batch, mut bytes) = (Vec::new(), 0);
    while let Some(first) = waiting.front() {
        bytes += first.order.body.get().len();
        if batch.len() == MOST || (bytes > MOST_BYTES && !batch.is_empty()) {
            break;
        }
        batch.extend(waiting.pop_front());
    }
    batch
}

fn asked(order: &Order) -> Asked<'_> {
    Asked {
        token: order.token.as_str().into(),
        key: order.key.as_str().into(),
        traceparent: order.traceparent.as_deref().map(Into::into),
        request_id: order.request_id.as_deref().map(Into::into),
        body: &order.body,
    }
}

fn refuse(batch: Vec<Waiting>, why: impl Fn() -> NoAnswer) {
    for mut waiting in batch {
        let why = why();
        let error = if matches!(why, NoAnswer::Lost) {
            "no_answer"
        } else {
            "not_sent"
        };
        waiting.span.set("error.type", error);
        waiting.span.fail("");
        let _gone = waiting.answer.send(Err(why));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::{body::Bytes, response::IntoResponse};
    use platform::{config::Upstreams, http::together::PATH};
    use tokio::{
        net::TcpListener,
        sync::{Semaphore, mpsc},
    };
    use url::Url;

    fn waiting(bytes: usize) -> Waiting {
        Waiting {
            number: 0,
            order: Order {
                token: "t".to_owned(),
                key: "k".to_owned(),
                traceparent: None,
                request_id: None,
                body: RawValue::from_string("7".repeat(bytes)).unwrap(),
            },
            span: Span::default(),
            answer: oneshot::channel().0,
            since: Instant::now(),
        }
    }

    #[test]
    fn so_many_orders_go_at_once_and_so_many_bytes() {
        let mut many: VecDeque<_> = (0..MOST + 5).map(|_| waiting(10)).collect();
        assert_eq!(
            (
                next(&mut many).len(),
                next(&mut many).len(),
                next(&mut many).len()
            ),
            (MOST, 5, 0)
        );
        let mut large: VecDeque<_> = (0..3).map(|_| waiting(MOST_BYTES / 2)).collect();
        assert_eq!((next(&mut large).len(), next(&mut large).len()), (2, 1));
        let mut larger: VecDeque<_> = (0..2).map(|_| waiting(MOST_BYTES + 1)).collect();
        assert_eq!(next(&mut larger).len(), 1, "one always goes");
    }

    /// An order service that says how many orders each request has, and answers once it is let.
    async fn order_service(requests: mpsc::UnboundedSender<usize>, lets: Arc<Semaphore>) -> Url {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let place = move |body: Bytes| {
            let (requests, lets) = (requests.clone(), Arc::clone(&lets));
            async move {
                let orders = serde_json::from_slice::<Vec<Asked<'_>>>(&body).unwrap().len();
                requests.send(orders).unwrap();
                lets.acquire().await.unwrap().forget();
                let mut answers = Vec::new();
                for _ in 0..orders {
                    answers.push(Answered::of(axum::Json(7).into_response()).await);
                }
                axum::Json(answers)
            }
        };
        let router = axum::Router::new().route(PATH, axum::routing::post(place));
        tokio::spawn(async move { axum::serve(listener, router).await });
        url.parse().unwrap()
    }

    fn order() -> Order {
        waiting(2).order
    }

    #[tokio::test]
    async fn so_many_requests_are_under_way_and_who_waits_goes_together() {
        let (requests, mut seen) = mpsc::unbounded_channel();
        let lets = Arc::new(Semaphore::new(0));
        let url = order_service(requests, Arc::clone(&lets)).await;
        let nowhere: Url = "http://127.0.0.1:1".parse().unwrap();
        let proxy = Proxy::new(&Upstreams {
            auth: nowhere.clone(),
            inventory: nowhere.clone(),
            notifier: nowhere,
            order: url,
        });
        let sender = Sender::new(proxy, Standstill::new(Instant::now()));
        let mut sent = Vec::new();
        for _ in 0..AT_A_TIME {
            sent.push(tokio::spawn({
                let sender = sender.clone();
                async move { sender.send(order()).await }
            }));
            assert_eq!(seen.recv().await, Some(1), "at once");
        }
        for _ in 0..6 {
            sent.push(tokio::spawn({
                let sender = sender.clone();
                async move { sender.send(order()).await }
            }));
        }
        while lock(&sender.state).waiting.len() < 6 {
            tokio::task::yield_now().await;
        }
        assert!(seen.try_recv().is_err(), "there are as many under way as may be");
        lets.add_permits(1);
        assert_eq!(seen.recv().await, Some(6));
        lets.add_permits(AT_A_TIME);
        for sent in sent {
            assert_eq!(sent.await.unwrap().unwrap().status(), 200);
        }
        let state = lock(&sender.state);
        assert_eq!((state.waiting.len(), state.under_way), (0, 0));
    }

    #[tokio::test]
    async fn an_order_that_waits_is_taken_back_and_one_that_was_sent_is_not() {
        let nowhere: Url = "http://127.0.0.1:1".parse().unwrap();
        let proxy = Proxy::new(&Upstreams {
            auth: nowhere.clone(),
            inventory: nowhere.clone(),
            notifier: nowhere.clone(),
            order: nowhere,
        });
        let sender = Sender::new(proxy, Standstill::new(Instant::now()));
        let numbered = |number| Waiting { number, ..waiting(2) };
        lock(&sender.state).waiting.extend([numbered(1), numbered(2)]);
        assert!(sender.take_back(2) && !sender.take_back(2) && !sender.take_back(7));
        assert_eq!(lock(&sender.state).waiting.len(), 1);
    }
}
