//! Lanes: who reads which partition, how far it got, and how a batch takes effect exactly once.
//!
//! A group's workers share the partitions of its topics. Each partition has a lease, which its owner renews, and a
//! document in the `lanes` collection with an epoch that grows with every owner and the offset of the next record. A batch is one
//! transaction: the handler's effects, and for each lane a compare-and-set of `{epoch, offset}`. So
//!
//! - a crash before the commit leaves no effect, and the records are read again;
//! - a crash after it leaves the new offset, and they are not;
//! - a worker that lost its lane, however late it notices, fails the compare-and-set and writes nothing.
//!
//! Within a process all lanes of a group feed one committer: while one commit is under way the next batch gathers.
//!
//! ```text
//!  ownership ──starts/stops──> fetch (one per lane) ──bounded channel──> committer ──> MongoDB
//! ```

mod commit;
mod fetch;
mod lease;
mod ownership;
mod repeats;
mod spans;
mod split;
mod worker;

pub use lease::{LaneStore, Lease, LeaseTerms};
pub use repeats::Expectation;
pub use worker::{LaneWorker, Settings};

use crate::{
    message::Message,
    topics::{GROUPS, Topic},
};
use futures::{FutureExt, future::BoxFuture};
use mongodb::ClientSession;
use platform::backends::mongo::{MongoError, TransactionError};
use platform::metrics::{Metric, SECONDS, must};
use prometheus::{
    HistogramVec, IntCounterVec, IntGaugeVec, register_histogram_vec, register_int_counter_vec,
    register_int_gauge_vec,
};
use std::sync::LazyLock;

/// Collection of lanes: how far each is.
pub const COLLECTION: &str = "lanes";
/// Collection of leases: who should work, and which workers there are.
pub const LEASES: &str = "leases";

/// Records that took effect, by group.
pub static HANDLED: LazyLock<IntCounterVec> = LazyLock::new(|| {
    must(register_int_counter_vec!(
        "quicksale_lane_records_total",
        "Records whose effects were committed.",
        &["group"]
    ))
});

/// Records of a transaction, by group.
pub static BATCH_RECORDS: LazyLock<HistogramVec> = LazyLock::new(|| {
    must(register_histogram_vec!(
        "quicksale_lane_batch_records",
        "Records whose effects were committed in one transaction.",
        &["group"],
        vec![1.0, 4.0, 16.0, 64.0, 256.0, 1_024.0, 4_096.0]
    ))
});

/// How long records have waited from when they were fetched, by group.
static WAIT: LazyLock<HistogramVec> = LazyLock::new(|| {
    must(register_histogram_vec!(
        "quicksale_lane_wait_seconds",
        "Seconds from when records were fetched together until the effects of them, or of a part, were committed.",
        &["group"],
        SECONDS.to_vec()
    ))
});

/// How old messages are that take effect, by group and topic.
static DELAY: LazyLock<HistogramVec> = LazyLock::new(|| {
    must(register_histogram_vec!(
        "quicksale_lane_delay_seconds",
        "Seconds from when a message was said, in its transaction, until its effects were committed, by the clocks of the two processes.",
        &["group", "topic"],
        SECONDS.to_vec()
    ))
});

/// Lanes owned by this process, by group.
pub static OWNED: LazyLock<IntGaugeVec> = LazyLock::new(|| {
    must(register_int_gauge_vec!(
        "quicksale_lanes_owned",
        "Lanes owned by this process.",
        &["group"]
    ))
});

/// Times when a lane stopped before a message of a later version, by group.
pub static NEWER: LazyLock<IntCounterVec> = LazyLock::new(|| {
    must(register_int_counter_vec!(
        "quicksale_lane_newer_messages_total",
        "Times when a lane stopped before a message of a version that this process does not know.",
        &["group"]
    ))
});

/// Batches that had no end, by group.
pub static OVERDUE: LazyLock<IntCounterVec> = LazyLock::new(|| {
    must(register_int_counter_vec!(
        "quicksale_lane_batches_overdue_total",
        "Batches whose commit had no end within its deadline, and whose lanes were given up.",
        &["group"]
    ))
});

/// What lanes count, those of a group shown as zero.
pub(crate) fn metrics(group: &str) -> Vec<Metric> {
    for counter in [&*HANDLED, &*NEWER, &*OVERDUE] {
        counter.with_label_values(&[group]);
    }
    BATCH_RECORDS.with_label_values(&[group]);
    WAIT.with_label_values(&[group]);
    for (_, topics) in GROUPS.iter().filter(|(name, _)| *name == group) {
        for topic in *topics {
            DELAY.with_label_values(&[group, topic.plain_name()]);
        }
    }
    OWNED.with_label_values(&[group]);
    vec![
        &*HANDLED,
        &*BATCH_RECORDS,
        &*WAIT,
        &*DELAY,
        &*OWNED,
        &*NEWER,
        &*OVERDUE,
    ]
}

/// The id of a lane's document.
pub fn lane_id(group: &str, topic: Topic, partition: i32) -> String {
    format!("{group}/{}/{partition}", topic.plain_name())
}

/// Whether messages of a batch may have been handled before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repeats {
    /// Hardly. What is written is not looked for before: where it is there already, its key refuses it, and the batch is applied again by
    /// who expects that.
    Unlikely,
    /// Some have been, or were a moment ago: what is there already has to be looked for.
    Possible,
}

/// What a group does with its messages.
pub trait Handler: Send + Sync + 'static {
    /// What a batch has changed, for [`committed`](Self::committed).
    type Effect: Default + Send + 'static;

    /// The group's name; see [`crate::topics::GROUPS`].
    fn group(&self) -> &'static str;

    /// The topics it reads.
    fn topics(&self) -> &'static [Topic];

    /// Who works on its lanes.
    fn sharing(&self) -> Sharing {
        Sharing::Fair
    }

    /// Writes the effects of a batch in the given transaction. It may run several times for one batch (a conflict
    /// rolls the transaction back), and a message may come again in a later batch under the same id, whatever `repeats` says: it only says
    /// what to expect.
    fn apply<'s>(
        &'s self,
        session: &'s mut ClientSession,
        messages: &'s [Message],
        repeats: Repeats,
    ) -> BoxFuture<'s, Result<Self::Effect, ApplyError>>;

    /// What to say about an order whose message could not be read or handled, so that the order still comes to an
    /// end. `None` when nobody waits for an answer.
    fn give_up(&self, _order_id: &str) -> Option<Message> {
        None
    }

    /// Called after a batch was committed. Best effort: it is not called when the process dies in between, and the next batch
    /// waits for it.
    fn committed(&self, _effect: Self::Effect) -> BoxFuture<'_, ()> {
        std::future::ready(()).boxed()
    }
}

/// How the processes of a group share its lanes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sharing {
    /// Each has as many as the others.
    Fair,
    /// One has all, and another one takes over when it ends, or when the work does not go on there: for effects that meet in the same documents whichever lane they come by, so that
    /// two would keep each other from committing.
    OneAtATime,
}

/// Why a batch could not be applied.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// The database.
    #[error(transparent)]
    Mongo(#[from] MongoError),
    /// Another worker owns one of the lanes, or moved its offset.
    #[error("a lane of the batch belongs to another worker now")]
    LaneLost,
    /// What was not looked at is not as the handler expected, with [`Repeats::Unlikely`].
    #[error("a message of the batch comes again, or its order is not as it was")]
    NotAsExpected,
}

impl From<mongodb::error::Error> for ApplyError {
    fn from(error: mongodb::error::Error) -> Self {
        Self::Mongo(MongoError::Driver(error))
    }
}

impl TransactionError for ApplyError {
    fn of_database(&self) -> Option<&MongoError> {
        match self {
            Self::Mongo(error) => Some(error),
            Self::LaneLost | Self::NotAsExpected => None,
        }
    }

    fn is_transient(&self) -> bool {
        // What is there twice was written by another worker since, or was not looked for at the first try.
        match self {
            Self::Mongo(error) => error.is_transient() || error.is_duplicate_key(),
            Self::NotAsExpected => true,
            Self::LaneLost => false,
        }
    }
}
