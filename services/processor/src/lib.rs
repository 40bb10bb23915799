//! The processor: takes what the outbox holds to Kafka.
//!
//! One replica relays at a time, by a lease like that of a lane; the others stand by. A message that was written to
//! Kafka but not yet removed from the outbox is written again after a crash: readers handle repeats.

mod backlog;
mod ends;

use backlog::Backlog;
use ends::Ends;
use events::{
    Topic,
    lanes::{LaneStore, LeaseTerms},
    message,
    outbox::{Entry, Next, Outbox, Waits},
    producer::{self, Producer, Published, Way},
};
use futures::{FutureExt, future::BoxFuture};
use jiff::Timestamp;
use mongodb::{Database, bson::DateTime};
use platform::{
    backends::{
        kafka::KafkaCredentials,
        mongo::{self, Aside, Commits, MongoError},
    },
    clock::Clock,
    config::Config,
    health::{Health, Heartbeat, Work},
    metrics::{Metric, SECONDS, must},
    retry::Backoff,
};
use prometheus::{
    Histogram, HistogramVec, IntCounter, IntGauge, register_histogram, register_histogram_vec,
    register_int_counter, register_int_gauge,
};
use std::{
    collections::HashSet,
    sync::LazyLock,
    time::{Duration, Instant},
};
use tokio_util::sync::CancellationToken;

/// Documents taken from the outbox at once.
const DOCUMENTS: usize = 64;
/// With so many messages it is enough of them.
const MESSAGES: usize = 2_000;
/// How long an empty outbox is left alone that another process may have written to. It adds to the time to an order's end, three times;
/// looking costs one indexed read of an empty collection.
const IDLE: Duration = Duration::from_millis(10);
/// How long at least entries that are left waiting are passed over before it is looked from the oldest on again.
const LOOKS_BEHIND: Duration = Duration::from_secs(1);
/// So many times as long as the way to the end takes are they passed over: what is stuck, however much, costs a fifth of the time.
const TIMES_ITS_WAY: u32 = 4;
/// How long they are passed over at the most.
const LOOKS_BEHIND_AT_LAST: Duration = Duration::from_secs(15);
/// How far before the end it is looked every second for what others have written since: what they write gets its id before it is there,
/// and clocks differ.
const LOOKS_BACK: Duration = Duration::from_secs(5);
/// The lease that makes one replica the relay.
const LEASE: &str = "processor/outbox/0";
/// How long the relay may take for one turn before the process counts as stuck.
const STUCK: Duration = Duration::from_secs(120);

static PUBLISHED: LazyLock<IntCounter> = LazyLock::new(|| {
    must(register_int_counter!(
        "quicksale_outbox_published_total",
        "Messages that Kafka has acknowledged."
    ))
});
static RELAYING: LazyLock<IntGauge> = LazyLock::new(|| {
    must(register_int_gauge!(
        "quicksale_outbox_relaying",
        "1 where this process is the relay."
    ))
});

static BATCH_RECORDS: LazyLock<Histogram> = LazyLock::new(|| {
    must(register_histogram!(
        "quicksale_outbox_batch_records",
        "Messages that Kafka has acknowledged in one turn of the relay; turns without any are not counted.",
        vec![1.0, 4.0, 16.0, 64.0, 256.0, 512.0, 1_000.0]
    ))
});

static DELAY: LazyLock<HistogramVec> = LazyLock::new(|| {
    must(register_histogram_vec!(
        "quicksale_outbox_delay_seconds",
        "Seconds from when a message was said, in its transaction, until Kafka has acknowledged it and all that was written with it, by the clocks of the two processes.",
        &["topic"],
        SECONDS.to_vec()
    ))
});

/// What a processor counts. It may find losses for every group.
pub fn metrics() -> Vec<Metric> {
    for topic in Topic::ALL {
        DELAY.with_label_values(&[topic.plain_name()]);
    }
    let mut all: Vec<Metric> = vec![
        &*RELAYING,
        &*PUBLISHED,
        &*BATCH_RECORDS,
        &*DELAY,
        producer::metric(),
    ];
    all.extend(backlog::metrics());
    for (group, _) in events::GROUPS {
        events::losses::metric(group);
    }
    all
}

/// What the service is built from.
pub struct Dependencies {
    /// The sale's configuration.
    pub config: Config,
    /// The sale's own database.
    pub database: Database,
    /// Told of the commits of this process: each may have said something.
    pub commits: Commits,
    /// Kafka.
    pub kafka: KafkaCredentials,
    /// Health of the process.
    pub health: Health,
    /// Cancelled when the process ends.
    pub stop: CancellationToken,
    /// Name of this process among the workers of the sale.
    pub instance: String,
    /// What notes are dated by.
    pub clock: Clock,
}

/// The named tasks that the processor consists of.
pub fn build(deps: Dependencies) -> Vec<(&'static str, BoxFuture<'static, ()>)> {
    let ends = Ends::new(&deps.database, deps.clock.clone());
    let prefix = deps.config.kafka.topic_prefix;
    let backlog = Backlog::new(&deps.database, &prefix);
    let watch = ends
        .clone()
        .watch(deps.kafka.clone(), prefix.clone(), backlog, deps.stop.clone());
    let relay = Relay {
        outbox: Outbox::new(&deps.database),
        commits: deps.commits,
        leases: LaneStore::new(&deps.database),
        producer: Producer::new(deps.kafka, prefix),
        ends,
        owner: deps.instance,
        terms: LeaseTerms::default(),
        leading_since: None,
        pass: Pass::default(),
        aside: Aside::new(Instant::now()),
        goes: true,
        clock: deps.clock,
    };
    let heart = deps.health.heartbeat("outbox relay", STUCK);
    let work = deps.health.work("outbox relay");
    vec![
        ("outbox relay", relay.run(deps.stop, heart, work).boxed()),
        ("ends of logs", watch.boxed()),
    ]
}

struct Relay {
    outbox: Outbox,
    commits: Commits,
    leases: LaneStore,
    producer: Producer,
    ends: Ends,
    owner: String,
    terms: LeaseTerms,
    /// When the lease was last renewed; `None` while another replica relays.
    leading_since: Option<Instant>,
    pass: Pass,
    /// Documents that cannot be read.
    aside: Aside,
    /// Whether the last turn took something to Kafka, or had nothing to take.
    goes: bool,
    /// What delays are measured by.
    clock: Clock,
}

/// One way through the outbox, from the oldest document to the newest, page by page. Where partitions are stuck their messages
/// are left; the pass goes on behind them, however many they are, and nothing overtakes what it has left.
#[derive(Debug, Default)]
struct Pass {
    /// The last document of the page before; `None` at the beginning.
    after: Option<String>,
    /// Where older messages are left.
    left: HashSet<Way>,
    /// When it began to leave some.
    since: Option<Instant>,
    /// When it came to the end for the first time after that.
    came_to_the_end: Option<Instant>,
    /// When it has looked back from there.
    looked_back: Option<Instant>,
}

impl Pass {
    /// Goes on behind a page, or begins anew: where nothing is left, and at the end once what is left may go. Entries
    /// may also appear before the end, by the clock of another process, and are found then.
    fn turn(&mut self, page: Page, left: HashSet<Way>, now: Instant) {
        self.left.extend(left);
        if page.has_more {
            return;
        }
        if self.left.is_empty() {
            *self = Self::default();
            return;
        }
        let since = *self.since.get_or_insert(now);
        if !page.more_follow {
            self.came_to_the_end.get_or_insert(now);
        }
        if self.has_passed_over_for_long(since, now) {
            *self = Self::default();
            return;
        }
        let more_follow = page.more_follow;
        self.after = page.last.or(self.after.take());
        let looked_back = *self.looked_back.get_or_insert(now);
        if !more_follow && now.duration_since(looked_back) >= LOOKS_BEHIND {
            self.looked_back = Some(now);
            let back = self.after.take();
            self.after = back.map(|id| message::before(&id, LOOKS_BACK).map_or(id, |(_, least)| least));
        }
    }

    /// Also where the end is so busy that it is never seen.
    fn has_passed_over_for_long(&self, since: Instant, now: Instant) -> bool {
        let Some(end) = self.came_to_the_end else {
            return now.duration_since(since) >= LOOKS_BEHIND_AT_LAST * 2;
        };
        let patience = end.duration_since(since) * TIMES_ITS_WAY;
        now.duration_since(end) >= patience.clamp(LOOKS_BEHIND, LOOKS_BEHIND_AT_LAST)
    }
}

/// A page that was looked at.
#[derive(Debug)]
struct Page {
    /// Its last document, if it has any.
    last: Option<String>,
    /// Whether there may be another page behind it.
    more_follow: bool,
    /// Whether something of it found no room and goes next.
    has_more: bool,
}

impl Relay {
    async fn run(mut self, stop: CancellationToken, heart: Heartbeat, work: Work) {
        let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(2));
        while !stop.is_cancelled() {
            heart.beat();
            let turned = self.turn().await;
            match &turned {
                Ok(_) if self.goes => work.done(),
                Ok(_) => work.failed(&"no partition that has messages waiting takes any"),
                Err(error) => work.failed(error),
            }
            let nothing_waits = turned.is_ok() && self.leading_since.is_some() && self.pass.left.is_empty();
            let wait = match turned {
                Ok(0) => {
                    backoff.reset();
                    if self.leading_since.is_some() {
                        IDLE
                    } else {
                        self.terms.renew_every
                    }
                }
                Ok(_more_may_be_waiting) => {
                    backoff.reset();
                    continue;
                }
                Err(error) => {
                    if backoff.attempts() == 2 {
                        tracing::warn!(%error, "the outbox cannot be relayed; trying on");
                    }
                    backoff.next_wait()
                }
            };
            tokio::select! {
                () = stop.cancelled() => {}
                () = self.commits.next(), if nothing_waits => {}
                () = tokio::time::sleep(wait) => {}
            }
        }
        if self.leading_since.is_none() {
            return;
        }
        // What is written from here on is the next relay's.
        if let Err(error) = self.ends.keep_at_once(Instant::now()).await {
            tracing::debug!(%error, "cannot keep where the logs end");
        }
        if let Err(error) = self.leases.release(LEASE, &self.owner).await {
            tracing::debug!(%error, "lease not released; it will run out");
        }
    }

    /// One batch. Returns how many messages were taken to Kafka.
    async fn turn(&mut self) -> Result<usize, RelayError> {
        if !self.lead().await? {
            self.goes = true;
            return Ok(0);
        }
        let next = Next::behind(self.pass.after.as_deref(), &mut self.aside, Instant::now());
        let outbox = self.outbox.clone();
        let reading = async move {
            outbox
                .oldest(next, DOCUMENTS, MESSAGES)
                .await
                .map_err(MongoError::from)
        };
        let page = mongo::detached(reading).await?;
        // What cannot be read stays there, so that the sale is not settled without it, and keeps nothing else waiting.
        self.aside.add(page.documents.unreadable_keys());
        let (documents, more_follow) = (page.documents.readable, page.more_may_follow);
        let last = documents.last().map(|document| document.id.clone());
        let entries: Vec<Entry> = documents
            .iter()
            .flat_map(|document| document.entries.clone())
            .collect();
        let published = if entries.is_empty() {
            Published::default()
        } else {
            self.producer.publish(entries, &self.pass.left).await
        };
        let count = published.ids.len();
        if published.failure.is_none() {
            let page = Page {
                last,
                more_follow,
                has_more: published.more,
            };
            self.pass.turn(page, published.left, Instant::now());
        }
        PUBLISHED.inc_by(count as u64);
        if count > 0 {
            BATCH_RECORDS.observe(count as f64);
        }
        self.ends.record_writes(published.written);
        // Before the messages are gone: usually a loss is noted before what has shown it is forgotten.
        self.ends.keep(Instant::now()).await;
        let outbox = self.outbox.clone();
        let deeds = Deeds::after(documents, &published.ids, &published.failed);
        deeds.observe_delays(self.clock.now());
        mongo::detached(async move { deeds.write(&outbox).await.map_err(MongoError::from) }).await?;
        match published.failure {
            Some(error) => Err(error.into()),
            // At once where something went or more pages follow; otherwise after a pause, also where messages are left.
            None => {
                self.goes = count > 0 || self.pass.left.is_empty();
                Ok(count.max(usize::from(more_follow)))
            }
        }
    }

    /// Whether this replica is the relay, renewing its lease in time.
    async fn lead(&mut self) -> Result<bool, MongoError> {
        if self
            .leading_since
            .is_some_and(|at| at.elapsed() < self.terms.renew_every)
        {
            return Ok(true);
        }
        let (leases, owner) = (self.leases.clone(), self.owner.clone());
        let (terms, now) = (self.terms, Instant::now());
        let held = mongo::detached(async move {
            leases
                .hold(LEASE, &owner, terms, now)
                .await
                .map_err(MongoError::from)
        });
        let held = held.await;
        let without_a_break = self
            .leading_since
            .is_some_and(|at| at.elapsed() < self.terms.duration);
        if held.is_err() && !without_a_break {
            // Its lease has run out, and whoever has it now shows what waits.
            self.ends.leave();
            RELAYING.set(0);
        }
        let leads = held?;
        if leads && !without_a_break {
            // Somebody else may have led in the meantime.
            self.producer.others_have_written();
            self.ends.take_over().await;
            self.pass = Pass::default();
        }
        if !leads {
            self.ends.leave();
        }
        self.leading_since = leads.then_some(now);
        RELAYING.set(i64::from(leads));
        Ok(leads)
    }
}

/// What is done about documents of which Kafka has acknowledged all, a part, or nothing.
#[derive(Debug, Default, PartialEq, Eq)]
struct Deeds {
    remove: Vec<String>,
    cut_down: Vec<(String, Vec<Entry>)>,
    count_attempt: Vec<String>,
    gone: Vec<Gone>,
}

/// What a document said that is gone.
#[derive(Debug, PartialEq, Eq)]
struct Gone {
    topic: String,
    said_at: DateTime,
    messages: usize,
}

impl Deeds {
    fn after(documents: Vec<Waits>, acknowledged: &[String], failed: &[String]) -> Self {
        let acknowledged: HashSet<&String> = acknowledged.iter().collect();
        let failed: HashSet<&String> = failed.iter().collect();
        let mut deeds = Self::default();
        for Waits {
            id,
            entries,
            is_divisible,
        } in documents
        {
            let has_failed = entries.iter().any(|entry| failed.contains(&entry.id));
            let before = entries.len();
            let gone = entries.first().map(|entry| Gone {
                topic: entry.topic.clone(),
                said_at: entry.created_at,
                messages: before,
            });
            let left: Vec<Entry> = entries
                .into_iter()
                .filter(|entry| !acknowledged.contains(&entry.id))
                .collect();
            if left.is_empty() {
                deeds.remove.push(id);
                deeds.gone.extend(gone);
            } else if is_divisible && left.len() < before {
                deeds.cut_down.push((id, left));
            } else if has_failed {
                deeds.count_attempt.push(id);
            }
        }
        deeds
    }

    /// Each message counts, however many were written together.
    fn observe_delays(&self, now: Timestamp) {
        for Gone {
            topic,
            said_at,
            messages,
        } in &self.gone
        {
            let millis = now.as_millisecond().saturating_sub(said_at.timestamp_millis());
            let delays = DELAY.with_label_values(&[topic]).local();
            for _ in 0..*messages {
                delays.observe(millis.max(0) as f64 / 1_000.0);
            }
        }
    }

    async fn write(self, outbox: &Outbox) -> mongodb::error::Result<()> {
        if !self.remove.is_empty() {
            outbox.remove(&self.remove).await?;
        }
        for (id, left) in self.cut_down {
            outbox.keep_only(&id, left).await?;
        }
        if !self.count_attempt.is_empty() {
            outbox.count_attempt(&self.count_attempt).await?;
        }
        Ok(())
    }
}

/// Why a batch did not go through; its messages are still in the outbox.
#[derive(Debug, thiserror::Error)]
enum RelayError {
    #[error(transparent)]
    Kafka(#[from] platform::backends::kafka::KafkaError),
    #[error(transparent)]
    Mongo(#[from] MongoError),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waits(id: &str, messages: &[&str]) -> Waits {
        let entry = |id: &&str| Entry {
            id: (*id).to_owned(),
            topic: "order.created".to_owned(),
            key: "k".to_owned(),
            payload: String::new(),
            traceparent: None,
            published: false,
            attempts: 0,
            created_at: mongodb::bson::DateTime::from_millis(0),
        };
        Waits {
            id: id.to_owned(),
            entries: messages.iter().map(entry).collect(),
            is_divisible: messages.len() > 1,
        }
    }

    #[test]
    fn a_document_goes_when_all_of_it_is_said_and_is_cut_down_to_what_is_left() {
        let documents = vec![
            waits("a", &["1", "2"]),
            waits("b", &["3", "4", "5"]),
            waits("c", &["6"]),
            waits("d", &["7", "8"]),
        ];
        let ids = |ids: &[&str]| ids.iter().map(|id| (*id).to_owned()).collect::<Vec<_>>();
        let deeds = Deeds::after(documents, &ids(&["1", "2", "4"]), &ids(&["3", "5", "6"]));
        assert_eq!((deeds.remove, deeds.count_attempt), (ids(&["a"]), ids(&["c"])));
        let left: Vec<_> = deeds
            .cut_down
            .iter()
            .map(|(id, left)| (id.as_str(), left.len()))
            .collect();
        assert_eq!(left, [("b", 2)]);
        assert_eq!(deeds.cut_down[0].1[1].id, "5", "in their order");
    }

    fn ways(partitions: &[i32]) -> HashSet<Way> {
        partitions
            .iter()
            .map(|partition| ("order.created".to_owned(), *partition))
            .collect()
    }

    fn page(last: &str, more_follow: bool) -> Page {
        Page {
            last: (!last.is_empty()).then(|| last.to_owned()),
            more_follow,
            has_more: false,
        }
    }

    #[test]
    fn a_pass_goes_behind_what_is_stuck_to_the_end_and_only_then_begins_anew() {
        let now = Instant::now();
        let late = now + LOOKS_BEHIND * 10;
        let mut pass = Pass::default();
        // Page after page of one stuck partition, and it takes as long as it takes.
        for last in ["a", "b", "c"] {
            pass.turn(page(last, true), ways(&[3]), now);
            assert_eq!(pass.after.as_deref(), Some(last));
        }
        pass.turn(page("d", true), ways(&[]), late);
        assert_eq!(
            pass.after.as_deref(),
            Some("d"),
            "others' entries may be on the next page"
        );
        assert_eq!(
            pass.left,
            ways(&[3]),
            "what is left stays left until the pass ends"
        );
        pass.turn(page("e", false), ways(&[]), late);
        assert_eq!(pass.after.as_deref(), Some("e"), "that was a long way");
        pass.turn(page("f", true), ways(&[]), late + LOOKS_BEHIND * 14);
        assert_eq!(pass.after.as_deref(), Some("f"));
        pass.turn(page("g", true), ways(&[]), late + LOOKS_BEHIND * 15);
        assert!(pass.after.is_none() && pass.left.is_empty());
    }

    /// Their ids are older than the last one that was seen: they were made before it, and written after it.
    #[test]
    fn a_pass_that_is_at_the_end_looks_back_for_what_others_have_written_since() {
        let now = Instant::now();
        let id = |seconds: u64| {
            format!("{:012x}", seconds * 1_000)
                .split_at_checked(8)
                .map(|(high, low)| format!("{high}-{low}-7777-8777-777777777777"))
                .unwrap()
        };
        let mut pass = Pass::default();
        pass.turn(page(&id(60), true), ways(&[3]), now);
        pass.turn(page(&id(70), false), ways(&[]), now + LOOKS_BEHIND / 2);
        assert_eq!(pass.after, Some(id(70)));
        pass.turn(page("", false), ways(&[]), now + LOOKS_BEHIND);
        let after = pass.after.clone().unwrap();
        assert!(after > id(64) && after < id(65), "{after}");
        pass.turn(page(&id(70), false), ways(&[]), now + LOOKS_BEHIND);
        assert_eq!(pass.after, Some(id(70)));
    }

    #[test]
    fn an_end_that_is_never_seen_keeps_nothing_waiting_for_ever() {
        let now = Instant::now();
        let mut pass = Pass::default();
        pass.turn(page("a", true), ways(&[3]), now);
        pass.turn(page("b", true), ways(&[]), now + LOOKS_BEHIND_AT_LAST);
        assert_eq!(pass.after.as_deref(), Some("b"));
        pass.turn(page("c", true), ways(&[]), now + LOOKS_BEHIND_AT_LAST * 2);
        assert!(pass.after.is_none());
    }

    #[test]
    fn the_end_is_looked_at_for_a_while() {
        let now = Instant::now();
        let mut pass = Pass::default();
        pass.turn(page("a", false), ways(&[3]), now);
        pass.turn(page("", false), ways(&[]), now);
        assert_eq!(pass.after.as_deref(), Some("a"), "new entries flow");
        pass.turn(page("", false), ways(&[]), now + LOOKS_BEHIND);
        assert!(pass.after.is_none(), "what is left is tried again");
    }

    #[test]
    fn where_nothing_is_left_the_oldest_are_next() {
        let mut pass = Pass::default();
        pass.turn(page("a", true), ways(&[]), Instant::now());
        assert!(pass.after.is_none());
    }

    #[test]
    fn what_found_no_room_is_next_also_on_a_later_page() {
        let now = Instant::now();
        let mut pass = Pass::default();
        pass.turn(page("a", true), ways(&[3]), now);
        let full = Page {
            has_more: true,
            ..page("b", true)
        };
        pass.turn(full, ways(&[]), now);
        assert_eq!(pass.after.as_deref(), Some("a"), "the same page again");
    }
}
