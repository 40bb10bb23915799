//! What is asked for the report once the last order of a sale has its end, and its doors are shut: what became of the orders, whether the
//! books agree, and what the processes have counted. The sale ends when all of it is known, or nobody could say within a minute.

use super::pods::ObservedPod;
use crate::{
    calls::{CallError, ServiceCalls},
    report::{AuditResult, figures::Figures},
    scrape,
};
use crds::Component;
use jiff::Timestamp;
use reqwest::{Method, StatusCode};
use sale::account::{Account, Count};
use serde::Deserialize;
use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

/// How long a small sale waits for its report at the most.
const PATIENCE: Duration = Duration::from_secs(60);
/// The same where no process of it runs.
const PATIENCE_WITHOUT_PROCESSES: Duration = Duration::from_secs(10);
/// So many orders are counted and audited in a second on a slow machine: a sale with more of them waits for longer.
const ORDERS_A_SECOND: i64 = 10_000;
/// How long one round of asking may take: a sale that drains has its turn again a second later.
const ROUND: Duration = Duration::from_secs(4);
/// An audit that has no end by then has lost its process, and is begun anew.
const LOST: Duration = Duration::from_secs(20);
/// How often, and how soon after one another, an audit is looked at in one round: that of a small sale takes a moment.
const LOOKS: (u32, Duration) = (8, Duration::from_millis(100));

/// Something that is asked for.
#[derive(Debug, Default)]
enum Asked<T> {
    /// Nobody was asked.
    #[default]
    Nothing,
    /// There is no answer yet, for this reason.
    NotYet(String),
    /// The answer.
    Known(T),
    /// There will be none.
    Never(String),
}

impl<T> Asked<T> {
    fn is_over(&self) -> bool {
        matches!(self, Self::Known(_) | Self::Never(_))
    }

    fn known(&self, what: &str, missing: &mut Vec<String>) -> Option<&T> {
        let why = match self {
            Self::Known(known) => return Some(known),
            Self::Nothing => "nobody was asked",
            Self::NotYet(why) | Self::Never(why) => why,
        };
        missing.push(format!("{what}: {why}"));
        None
    }
}

/// What is known so far.
#[derive(Debug)]
pub struct Closing {
    began: Instant,
    has_begun: bool,
    account: Asked<Account>,
    /// When the audit was begun that is waited for, by inventory's clock, and by ours.
    audit_begun: Option<(Timestamp, Instant)>,
    audit: Asked<AuditResult>,
    figures: Option<Counted>,
}

/// What the processes have counted, added up.
#[derive(Debug, Default)]
struct Counted {
    figures: Figures,
    /// The pods whose numbers are among them.
    heard: BTreeSet<String>,
    /// Those that were asked and have not answered.
    silent: BTreeSet<String>,
}

impl Counted {
    /// Asks every process that has not answered yet.
    async fn go_on(&mut self, http: &reqwest::Client, pods: &[ObservedPod]) {
        for mut part in scrape::in_parts(pods) {
            part.retain(|pod| !self.heard.contains(&pod.name));
            for (pod, text) in scrape::ask(http, &part).await {
                self.note(&pod.name, text);
            }
        }
    }

    /// Whether nobody is there any more who could still answer.
    fn is_over(&self, pods: &[ObservedPod]) -> bool {
        let could = |name: &String| pods.iter().any(|pod| pod.name == *name && pod.alive);
        !self.silent.iter().any(could)
    }

    fn note(&mut self, pod: &str, said: Result<String, String>) {
        match said {
            Ok(text) => {
                self.figures.add(&text);
                self.heard.insert(pod.to_owned());
                self.silent.remove(pod);
            }
            Err(error) => {
                tracing::debug!(pod, error, "does not say what it has counted");
                self.silent.insert(pod.to_owned());
            }
        }
    }
}

/// What is known in the end.
#[derive(Debug)]
pub struct Closed {
    /// The orders.
    pub account: Option<Account>,
    /// The books.
    pub audit: AuditResult,
    /// What the processes have counted.
    pub figures: Figures,
    /// What could not be found out.
    pub missing: Vec<String>,
}

impl Default for Closing {
    fn default() -> Self {
        Self {
            began: Instant::now(),
            has_begun: false,
            account: Asked::default(),
            audit_begun: None,
            audit: Asked::default(),
            figures: None,
        }
    }
}

/// What inventory says of an audit.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Audit {
    started_at: Timestamp,
    finished_at: Option<Timestamp>,
    orders: Option<u64>,
    moving: Option<u64>,
    differences: Option<Vec<String>>,
    failure: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Books {
    audit: Option<Audit>,
}

impl Closing {
    /// Whether anybody was asked anything.
    pub fn has_begun(&self) -> bool {
        self.has_begun
    }

    /// Whether there is nothing more to wait for, of a sale of so many orders. Where no process of it is left there is not for long.
    pub fn is_done(&self, orders: i64, pods: &[ObservedPod]) -> bool {
        let counted = self.figures.as_ref().is_some_and(|counted| counted.is_over(pods));
        let all = self.account.is_over() && self.audit.is_over() && counted;
        let more = u64::try_from(orders / ORDERS_A_SECOND).unwrap_or(0);
        let patience = match pods.iter().any(|pod| pod.alive) {
            true => PATIENCE + Duration::from_secs(more),
            false => PATIENCE_WITHOUT_PROCESSES,
        };
        all || self.began.elapsed() > patience
    }

    /// Asks for what is not known yet, for some seconds at the most.
    pub async fn go_on(
        &mut self,
        http: &reqwest::Client,
        calls: &impl Fn(Component) -> ServiceCalls,
        pods: &[ObservedPod],
    ) {
        self.has_begun = true;
        let (orders, inventory) = (calls(Component::Order), calls(Component::Inventory));
        let count = async {
            if !self.account.is_over() {
                self.account = account(orders.get("/internal/account").await);
            }
        };
        let audit = async {
            if !self.audit.is_over() {
                self.audit = audit(&inventory, &mut self.audit_begun).await;
            }
        };
        let figures = self.figures.get_or_insert_default().go_on(http, pods);
        // What was answered by then is kept. For its figures each process has a deadline of its own.
        let count_and_audit = tokio::time::timeout(ROUND, async { tokio::join!(count, audit) });
        let _cut_short = tokio::join!(count_and_audit, figures);
    }

    /// What is known in the end.
    pub fn end(&self) -> Closed {
        let mut missing = Vec::new();
        let account = self
            .account
            .known("what became of the orders", &mut missing)
            .cloned();
        let audit = self.audit.known("whether the books agree", &mut missing).cloned();
        match &self.figures {
            Some(counted) if counted.silent.is_empty() => {}
            Some(counted) => missing.push(format!(
                "what was counted by {}: no answer",
                counted
                    .silent
                    .iter()
                    .map(String::as_str)
                    .collect::<Vec<_>>()
                    .join(", ")
            )),
            None => missing.push("what the processes have counted: nobody was asked".to_owned()),
        }
        let figures = self.figures.as_ref().map(|counted| counted.figures.clone());
        Closed {
            account,
            audit: audit.unwrap_or(AuditResult::Unknown),
            figures: figures.unwrap_or_default(),
            missing,
        }
    }
}

fn account(answer: Result<Count, CallError>) -> Asked<Account> {
    match answer {
        Ok(Count::Counted { account }) => Asked::Known(*account),
        Ok(Count::Counting) => Asked::NotYet("the order service was still counting".to_owned()),
        Ok(Count::Open) => Asked::NotYet("the order service takes the doors to be open".to_owned()),
        Err(CallError::Refused { status, .. }) if status == StatusCode::NOT_FOUND => {
            Asked::Never("the order service is of an earlier version, which does not count them".to_owned())
        }
        Err(error) => Asked::NotYet(error.to_string()),
    }
}

/// Begins an audit, unless one that was begun here is under way, and looks whether it has ended.
async fn audit(inventory: &ServiceCalls, begun: &mut Option<(Timestamp, Instant)>) -> Asked<AuditResult> {
    let since = match begun.filter(|(_, at)| at.elapsed() < LOST) {
        Some((since, _)) => since,
        None => match inventory
            .send::<_, Audit>(Method::POST, "/api/inventory/audit", &(), None)
            .await
        {
            Ok(audit) => begun.insert((audit.started_at, Instant::now())).0,
            Err(error) => return Asked::NotYet(error.to_string()),
        },
    };
    for _ in 0..LOOKS.0 {
        let found = match inventory.get::<Books>("/api/inventory/audit").await {
            Ok(books) => books.audit,
            Err(error) => return Asked::NotYet(error.to_string()),
        };
        if let Some(ended) = found.and_then(|audit| ended(audit, since)) {
            if !ended.is_over() {
                *begun = None;
            }
            return ended;
        }
        tokio::time::sleep(LOOKS.1).await;
    }
    Asked::NotYet("the audit was still under way".to_owned())
}

/// What an audit has come to that was begun then or later: somebody else may have begun another one since, which is as good. `None` for one
/// that is older, or under way.
fn ended(audit: Audit, since: Timestamp) -> Option<Asked<AuditResult>> {
    if audit.finished_at.is_none() || audit.started_at < since {
        return None;
    }
    Some(match (&audit.failure, audit.moving.unwrap_or(0)) {
        (Some(failure), _) => Asked::NotYet(failure.clone()),
        (None, moving) if moving > 0 => {
            Asked::NotYet(format!("{moving} orders waited for messages on their way"))
        }
        (None, _) => Asked::Known(result(audit)),
    })
}

fn result(audit: Audit) -> AuditResult {
    let Audit {
        started_at,
        differences,
        orders,
        ..
    } = audit;
    match differences.unwrap_or_default() {
        none if none.is_empty() => AuditResult::Agrees {
            started_at,
            orders: orders.unwrap_or(0),
        },
        differences => AuditResult::Differs {
            started_at,
            differences,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controller::pods::Ownership;
    use serde_json::json;

    #[test]
    fn what_an_audit_and_a_count_come_to() {
        let audit = |differences: &[&str]| {
            let audit = json!({"startedAt": "2026-12-01T12:00:05.125Z", "finishedAt": "2026-12-01T12:00:06Z", "orders": 3,
                "differences": differences});
            result(serde_json::from_value(audit).unwrap())
        };
        assert!(matches!(audit(&[]), AuditResult::Agrees { orders: 3, .. }));
        assert!(matches!(audit(&["x"]), AuditResult::Differs { differences, .. } if differences == ["x"]));
        let progress = |json: serde_json::Value| account(Ok(serde_json::from_value(json).unwrap()));
        assert!(!progress(json!({"state": "counting"})).is_over());
        let known = json!({"state": "counted", "account": {
            "countedAt": "2026-12-01T12:00:00Z", "accepted": 1, "byStatus": {"CONFIRMED": 1}, "failedByReason": {},
            "soldForMinor": 5, "firstOrderAt": null, "lastOrderAt": null, "firstSaleAt": null, "lastSaleAt": null,
            "busiestSecond": null, "mostOrdersInASecond": 1, "unreadable": 0}});
        assert!(progress(known).is_over());
        let earlier = CallError::Refused {
            component: Component::Order,
            status: StatusCode::NOT_FOUND,
            code: String::new(),
            detail: String::new(),
        };
        assert!(account(Err(earlier)).is_over());
    }

    /// Times as they are written have as many digits as they need, so that as texts the later one may come first.
    #[test]
    fn an_audit_counts_that_was_begun_when_it_was_asked_for_or_later() {
        let audit = |started: &str, finished: Option<&str>, moving: u64| -> Audit {
            let audit = json!({"startedAt": started, "finishedAt": finished, "orders": 1, "moving": moving, "differences": []});
            serde_json::from_value(audit).unwrap()
        };
        let since: Timestamp = "2026-12-01T12:00:05.12Z".parse().unwrap();
        let end = Some("2026-12-01T12:00:07Z");
        let is_over = |audit| ended(audit, since).map(|asked| asked.is_over());
        assert_eq!(is_over(audit("2026-12-01T12:00:05.125Z", end, 0)), Some(true));
        assert_eq!(is_over(audit("2026-12-01T12:00:05.12Z", end, 0)), Some(true));
        assert_eq!(is_over(audit("2026-12-01T12:00:05.119Z", end, 0)), None);
        assert_eq!(is_over(audit("2026-12-01T12:00:06Z", None, 0)), None);
        assert_eq!(is_over(audit("2026-12-01T12:00:06Z", end, 2)), Some(false));
    }

    /// On a busy machine a process may take longer than a second once.
    #[test]
    fn who_was_silent_is_asked_again_and_nobody_is_counted_twice() {
        let text = "quicksale_orders_refused_total{code=\"sold_out\"} 7\n";
        let mut counted = Counted::default();
        counted.note("gateway-1", Ok(text.to_owned()));
        counted.note("gateway-2", Err("no answer within 1 s".to_owned()));
        let mut closing = Closing {
            account: Asked::Never(String::new()),
            audit: Asked::Never(String::new()),
            figures: Some(counted),
            ..Closing::default()
        };
        let pods = ["gateway-1", "gateway-2"].map(|name| ObservedPod {
            name: name.to_owned(),
            component: "gateway".to_owned(),
            address: None,
            ready: true,
            alive: true,
            since: None,
            restarts: 0,
            waits: None,
            ownership: Ownership::Proven,
        });
        assert!(!closing.is_done(0, &pods), "one is missing");
        let says = |closing: &Closing| {
            closing
                .end()
                .missing
                .iter()
                .any(|what| what.contains("gateway-2"))
        };
        assert!(closing.is_done(0, &pods[..1]), "it is gone");
        assert!(says(&closing), "and its numbers with it");
        let counted = closing.figures.as_mut().unwrap();
        assert!(counted.heard.contains("gateway-1") && !counted.heard.contains("gateway-2"));
        counted.note("gateway-2", Ok(text.to_owned()));
        assert!(closing.is_done(0, &pods) && !says(&closing));
        assert_eq!(closing.end().figures.refused["sold_out"], 14);
    }

    /// Nobody answers: the sale ends all the same, and its report says what it does not know.
    #[test]
    fn what_nobody_could_say_is_named() {
        let closed = Closing::default().end();
        assert_eq!(closed.audit, AuditResult::Unknown);
        assert_eq!(closed.missing.len(), 3, "{:?}", closed.missing);
    }
}
