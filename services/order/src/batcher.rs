//! Many requests in one commit: while one is under way the next batch gathers, then goes whole.
//!
//! A commit costs an `fdatasync`, some milliseconds, whether it holds one order or hundreds. So requests of a kind wait in a bounded
//! queue, and one task of the process serves it.

use platform::{
    health::Work,
    metrics::{Metric, SECONDS, must},
};
use prometheus::{
    HistogramVec, IntCounterVec, IntGaugeVec, register_histogram_vec, register_int_counter_vec,
    register_int_gauge_vec,
};
use std::{
    future::Future,
    sync::LazyLock,
    time::{Duration, Instant},
};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

/// Requests that wait. At some thousand a second this is well under a second of waiting;
/// whoever finds it full is told to come back.
const QUEUE: usize = 2_048;
/// How long a request waits for its answer.
pub(crate) const PATIENCE: Duration = Duration::from_secs(8);
/// How long a batch may take before the next one begins beside it: longer than the database takes to find a new primary. Whoever
/// asked has been told to ask again by then.
pub(crate) const DEADLINE: Duration = Duration::from_secs(15);

static BATCH_SIZE: LazyLock<HistogramVec> = LazyLock::new(|| {
    must(register_histogram_vec!(
        "quicksale_order_batch_size",
        "Requests written in one transaction, by what they ask for.",
        &["work"],
        vec![1.0, 4.0, 16.0, 64.0, 256.0, 512.0]
    ))
});

static WAITING: LazyLock<IntGaugeVec> = LazyLock::new(|| {
    must(register_int_gauge_vec!(
        "quicksale_order_queue",
        "Requests that were left waiting when the last batch was taken, by what they ask for; 2,048 at the most.",
        &["work"]
    ))
});
static TURNED_AWAY: LazyLock<IntCounterVec> = LazyLock::new(|| {
    must(register_int_counter_vec!(
        "quicksale_order_queue_refused_total",
        "Requests that were told to come back (busy), because the queue was full, the database did not carry them through, or not in time; by what they ask for.",
        &["work"]
    ))
});

static QUEUED: LazyLock<HistogramVec> = LazyLock::new(|| {
    must(register_histogram_vec!(
        "quicksale_order_queue_wait_seconds",
        "Seconds that a request has waited when its batch is begun, by what it asks for.",
        &["work"],
        SECONDS.to_vec()
    ))
});
static BATCH_SECONDS: LazyLock<HistogramVec> = LazyLock::new(|| {
    must(register_histogram_vec!(
        "quicksale_order_batch_duration_seconds",
        "Seconds until a batch was carried through or given up, with the tries that met a conflict, by what it asks for.",
        &["work"],
        SECONDS.to_vec()
    ))
});

/// The work that is done in batches, as metrics name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Accepting orders.
    Accept,
    /// Deciding about orders.
    Decide,
}

impl Kind {
    const ALL: [Self; 2] = [Self::Accept, Self::Decide];

    fn as_str(self) -> &'static str {
        match self {
            Self::Accept => "accept",
            Self::Decide => "decide",
        }
    }
}

/// What is counted here.
pub(crate) fn metrics() -> Vec<Metric> {
    for name in Kind::ALL.map(Kind::as_str) {
        BATCH_SIZE.with_label_values(&[name]);
        WAITING.with_label_values(&[name]);
        TURNED_AWAY.with_label_values(&[name]);
        QUEUED.with_label_values(&[name]);
        BATCH_SECONDS.with_label_values(&[name]);
    }
    vec![&*BATCH_SIZE, &*WAITING, &*QUEUED, &*BATCH_SECONDS, &*TURNED_AWAY]
}

/// Hands requests to the task that serves them.
#[derive(Debug)]
pub(crate) struct Batcher<R, A> {
    name: Kind,
    queue: mpsc::Sender<Waiting<R, A>>,
}

impl<R, A> Clone for Batcher<R, A> {
    fn clone(&self) -> Self {
        Self {
            name: self.name,
            queue: self.queue.clone(),
        }
    }
}

/// The requests that wait.
#[derive(Debug)]
pub(crate) struct Requests<R, A> {
    name: Kind,
    queue: mpsc::Receiver<Waiting<R, A>>,
}

#[derive(Debug)]
struct Waiting<R, A> {
    request: R,
    answer: oneshot::Sender<A>,
    since: Instant,
}

/// What is served, and how.
pub(crate) struct Serving {
    /// Requests in one transaction.
    pub(crate) batch: usize,
    /// How long the next batch waits for this one: [`DEADLINE`] outside of tests.
    pub(crate) deadline: Duration,
    /// Told whether the work can be done.
    pub(crate) signs: Work,
    /// Cancelled when the process ends.
    pub(crate) stop: CancellationToken,
}

/// A queue of requests, from both ends.
pub(crate) fn queue<R, A>(name: Kind) -> (Batcher<R, A>, Requests<R, A>) {
    let (queue, waiting) = mpsc::channel(QUEUE);
    (Batcher { name, queue }, Requests { name, queue: waiting })
}

impl<R, A> Batcher<R, A> {
    /// Waits for the answer to a request. Without one, too many wait or the database does not answer: the request may still be
    /// carried through.
    pub(crate) async fn ask(&self, request: R) -> Option<A> {
        let answer = self.answer(request).await;
        if answer.is_none() {
            TURNED_AWAY.with_label_values(&[self.name.as_str()]).inc();
        }
        answer
    }

    async fn answer(&self, request: R) -> Option<A> {
        let (answer, answered) = oneshot::channel();
        let since = Instant::now();
        let waiting = Waiting {
            request,
            answer,
            since,
        };
        self.queue.try_send(waiting).ok()?;
        tokio::time::timeout(PATIENCE, answered).await.ok()?.ok()
    }
}

impl<R, A> Requests<R, A>
where
    R: Send + 'static,
    A: Send + 'static,
{
    /// Serves until the process ends. `commit` answers the requests of a batch in their order, or none of them where the database
    /// did not carry it through; it runs to its end, also when nobody waits for it any more.
    pub(crate) async fn serve<F>(mut self, serving: Serving, mut commit: impl FnMut(Vec<R>) -> F)
    where
        F: Future<Output = Vec<A>> + Send + 'static,
    {
        let name = self.name.as_str();
        let Serving {
            batch: largest,
            deadline,
            signs,
            stop,
        } = serving;
        let (size, left) = (
            BATCH_SIZE.with_label_values(&[name]),
            WAITING.with_label_values(&[name]),
        );
        let (queued, seconds) = (
            QUEUED.with_label_values(&[name]),
            BATCH_SECONDS.with_label_values(&[name]),
        );
        let mut batch = Vec::with_capacity(largest);
        loop {
            let received = tokio::select! {
                biased;
                received = self.queue.recv_many(&mut batch, largest) => received,
                // The server answers its last requests before it ends; an empty queue is the end.
                () = stop.cancelled() => return,
            };
            if received == 0 {
                return;
            }
            left.set(i64::try_from(self.queue.len()).unwrap_or(i64::MAX));
            // A request that has given up waiting must not cost a write.
            batch.retain(|waiting| !waiting.answer.is_closed());
            if batch.is_empty() {
                continue;
            }
            size.observe(batch.len() as f64);
            let begun = Instant::now();
            for waiting in &batch {
                queued.observe(begun.duration_since(waiting.since).as_secs_f64());
            }
            let (requests, waiting): (Vec<_>, Vec<_>) =
                batch.drain(..).map(|w| (w.request, w.answer)).unzip();
            let answers = match tokio::time::timeout(deadline, tokio::spawn(commit(requests))).await {
                Ok(Ok(answers)) => answers,
                Ok(Err(error)) => {
                    tracing::error!(name, %error, "the work on a batch has panicked");
                    return;
                }
                Err(_) => {
                    tracing::error!(name, waited = ?deadline, "a batch has no end; who waits is told to ask again");
                    Vec::new()
                }
            };
            seconds.observe(begun.elapsed().as_secs_f64());
            if answers.is_empty() {
                signs.failed(&"the database does not carry it through");
            } else {
                signs.done();
            }
            for (waiting, answer) in waiting.into_iter().zip(answers) {
                // Whoever stopped waiting finds what became of it when asking again.
                let _gone = waiting.send(answer);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use platform::health::Health;

    /// A database that never answers keeps a batch for ever, and those that come later for no longer than its deadline.
    #[tokio::test]
    async fn a_batch_without_an_end_keeps_the_next_one_for_so_long_and_no_longer() {
        let stop = CancellationToken::new();
        let (batcher, requests) = queue::<u32, u32>(Kind::Accept);
        let serving = Serving {
            batch: 8,
            deadline: Duration::from_millis(50),
            signs: Health::new(stop.clone()).work("test"),
            stop: stop.clone(),
        };
        let served = tokio::spawn(requests.serve(serving, |batch: Vec<u32>| async move {
            if batch.contains(&0) {
                std::future::pending::<()>().await;
            }
            batch
        }));
        assert_eq!(batcher.ask(0).await, None, "nobody knows");
        assert_eq!(batcher.ask(1).await, Some(1));
        stop.cancel();
        served.await.unwrap();
    }
}
