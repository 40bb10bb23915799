//! The story of a sale as people read it: the sentence in its status, and its events.
//!
//! Events are sent before the status that they tell of is written. A process that dies between the two tells it again, which is
//! better than never.

use super::{
    build,
    conditions::{CHANGE_HELD, NOT_REQUESTED, PAUSED, RESUMING, ROLLOUT_HELD},
    context::Context,
    control,
    trail::{self, Deed},
};
use crate::{
    backends::Look,
    phase::{Schedule, Step},
};
use crds::{
    Component, FlashSale, FlashSaleStatus, ValidSale,
    status::{Condition, ConditionType, ProductStatus},
};
use futures::future::join_all;
use jiff::Timestamp;
use kube::runtime::events::EventType;
use platform::audit::Outcome;
use sale::{control::ControlDocument, phase::Phase};

/// What people read first; `balanced` is where the sale's own load balancer is.
pub fn describe(
    sale: &ValidSale,
    schedule: &Schedule,
    status: &mut FlashSaleStatus,
    look: Option<&Look>,
    balanced: Option<String>,
    now: Timestamp,
) {
    let decided = status.opens_at.filter(|at| *at <= now);
    status.opens_at = schedule.opening().or(decided);
    status.closes_at = match status.draining_since {
        // When it closed, not when it was meant to.
        Some(since) => Some(sale.closes_at.map_or(since, |planned| planned.min(since))),
        None => sale.closes_at,
    };
    if status.phase() == Phase::Pending {
        status.stock = Some(sale.total_stock());
    }
    status.stock = status.stock.or(Some(sale.total_stock()));
    status.sold = status.sold.or(Some(0));
    status.url = Some(match &sale.by_host {
        Some(wanted) if wanted.is_https() => format!("https://{}", wanted.host),
        Some(wanted) => format!("http://{}", wanted.host),
        None => balanced.unwrap_or_else(|| build::service_url(sale, Component::Gateway)),
    });
    let units = format!(
        "{} of {} units sold",
        status.sold.unwrap_or(0),
        status.stock.unwrap_or(0)
    );
    let under_way = || match status.orders.unwrap_or_default().pending {
        0 => "accepted orders are settling".to_owned(),
        1 => "1 accepted order is settling".to_owned(),
        pending => format!("{pending} accepted orders are settling"),
    };
    let doors_close = status
        .condition(ConditionType::ControlInForce)
        .is_none_or(|condition| condition.holds() == Some(true));
    status.message = Some(match status.phase() {
        Phase::Pending => match look.map(|look| &look.ownership) {
            Some(Err(sentence)) => format!("Waiting for its backends: {sentence}."),
            _ => "Waiting for the warm-up to begin.".to_owned(),
        },
        Phase::Warming => "Warming up.".to_owned(),
        Phase::Live if control::halt(sale, status).is_some() => format!("Halted; {units}."),
        Phase::Live => format!("Open; {units}."),
        Phase::Draining if doors_close => format!("Closed, {}; {units}.", under_way()),
        Phase::Draining => format!("Closing, {}; {units}.", under_way()),
        Phase::Ended => format!("Ended; {units}."),
    });
}

/// What is news.
struct News {
    type_: EventType,
    action: &'static str,
    reason: String,
    note: String,
}

impl News {
    fn new(type_: EventType, action: &'static str, reason: &str, note: impl Into<String>) -> Self {
        Self {
            type_,
            action,
            reason: reason.to_owned(),
            note: note.into(),
        }
    }
}

/// What a reconciliation has come to.
pub struct Chapter<'a> {
    /// The step that is taken.
    pub step: Step,
    /// The status as it will be written.
    pub status: &'a FlashSaleStatus,
    /// The control document before and now.
    pub documents: (Option<&'a ControlDocument>, &'a ControlDocument),
    /// Why the sale does not reopen, if it was asked to.
    pub reopening_refused: Option<&'static str>,
}

/// Tells what is new since the status that was read.
pub async fn tell(context: &Context, sale: &FlashSale, chapter: &Chapter<'_>) {
    let before = sale.status.clone().unwrap_or_default();
    let mut all = conditions(&before, chapter.status);
    all.extend(stock(&before.products, &chapter.status.products));
    all.extend(limits(chapter.documents));
    all.extend(scaled(&before, chapter.status));
    let note = chapter.status.message.clone().unwrap_or_default();
    all.extend(rehearsed(&before, chapter.status));
    match chapter.step {
        Step::Enter(phase) => {
            all.push(News::new(EventType::Normal, "EnterPhase", phase.as_str(), note));
            trail::record(sale, Deed::Enter(phase), Outcome::Done);
        }
        Step::Reopen => {
            all.push(News::new(EventType::Normal, "Reopen", "Reopened", note));
            trail::record(sale, Deed::Reopen, Outcome::Done);
        }
        Step::Stay | Step::DecideOpening(_) => {}
    }
    // Said once for each word: the status remembers the last one.
    if let Some(why) = chapter.reopening_refused {
        let note = format!("the sale stays closed: {why}, and ask with another word");
        all.push(News::new(EventType::Warning, "Reopen", "ReopeningRefused", note));
    }
    let events = all.into_iter().map(|news| async move {
        context
            .event(sale, news.type_, news.action, &news.reason, news.note)
            .await;
    });
    join_all(events).await;
}

/// When a change of a condition is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Telling {
    /// Never: another Event says it, or nobody has to do anything about it.
    Never,
    /// Once it holds for the first time, and with every change from then on: what is not ready at first is no news.
    OnceItHolds,
    /// From the first look on: others have to provide it.
    AtOnce,
    /// Once it was wrong: good news are none before.
    OnceItIsWrong,
}

impl Telling {
    fn of(kind: ConditionType) -> Self {
        use ConditionType as C;
        match kind {
            C::Ready | C::Settled | C::Prepared | C::HoldsLoad => Self::Never,
            C::BackendsReachable => Self::AtOnce,
            C::HostReady | C::EntranceReady | C::ClocksAgree => Self::OnceItIsWrong,
            C::BackendsSecure
            | C::TopicsReady
            | C::WorkloadsReady
            | C::CatalogReady
            | C::StockConserved
            | C::UpToDate
            | C::ControlInForce
            | C::Halted
            | C::Degraded => Self::OnceItHolds,
        }
    }

    /// Whether a condition that was so, if it was there, is news.
    fn is_news(self, was: Option<bool>, is: bool, reason: &str) -> bool {
        // Whoever serves a way in needs a moment to say so.
        let awaits = reason.starts_with("Awaiting");
        match (self, was) {
            (Self::Never, _) => false,
            (Self::OnceItIsWrong, None) => !is && !awaits,
            (Self::AtOnce, None) => true,
            (Self::OnceItHolds, None) => is,
            (_, Some(was)) => was != is,
        }
    }
}

/// Conditions that have changed.
fn conditions(before: &FlashSaleStatus, status: &FlashSaleStatus) -> Vec<News> {
    let news = |condition: &Condition| {
        let kind = condition.kind()?;
        let old = before.conditions.iter().find(|c| c.type_ == condition.type_);
        let holds = |condition: &Condition| condition.holds() == Some(true);
        let (was, is) = (old.map(holds), holds(condition));
        if !Telling::of(kind).is_news(was, is, &condition.reason) {
            return None;
        }
        let resumes = [NOT_REQUESTED, RESUMING].contains(&condition.reason.as_str());
        let planned = match kind.good_when() {
            None => is || resumes,
            Some(false) => !is,
            Some(true) => {
                let is_meant = [PAUSED, ROLLOUT_HELD, CHANGE_HELD].contains(&condition.reason.as_str());
                is || is_meant || status.phase() == Phase::Ended
            }
        };
        let type_ = match planned {
            true => EventType::Normal,
            false => EventType::Warning,
        };
        let reason = match (is, kind) {
            (true, ConditionType::Degraded) => &condition.reason,
            (true, _) => &condition.type_,
            (false, ConditionType::Halted) if resumes => "Resumed",
            (false, _) => &condition.reason,
        };
        Some(News::new(type_, "Look", reason, condition.message.clone()))
    };
    status.conditions.iter().filter_map(news).collect()
}

/// Edits of stock that the inventory has taken.
fn stock(before: &[ProductStatus], now: &[ProductStatus]) -> Vec<News> {
    let change = |product: &ProductStatus| {
        let old = before.iter().find(|old| old.sku == product.sku)?.applied_stock?;
        let new = product.applied_stock?;
        let note = format!("stock of {} changed from {old} to {new}", product.sku);
        (old != new).then(|| News::new(EventType::Normal, "ChangeStock", "StockChanged", note))
    };
    now.iter().filter_map(change).collect()
}

/// What a rehearsal has found, once it has.
fn rehearsed(before: &FlashSaleStatus, status: &FlashSaleStatus) -> Option<News> {
    let found = before.rehearsed.is_none() && status.rehearsed.is_some();
    let verdict = status.condition(ConditionType::HoldsLoad).filter(|_| found)?;
    let type_ = match verdict.holds() {
        Some(true) => EventType::Normal,
        Some(false) | None => EventType::Warning,
    };
    Some(News::new(
        type_,
        "Rehearse",
        &verdict.reason,
        verdict.message.clone(),
    ))
}

/// Services that were given other replicas while people may buy.
fn scaled(before: &FlashSaleStatus, status: &FlashSaleStatus) -> Option<News> {
    let counts = matches!(status.phase(), Phase::Warming | Phase::Live | Phase::Draining);
    let change = |(service, now): (&String, &i32)| {
        let was = before.replicas.get(service).filter(|was| *was != now)?;
        Some(format!("{service} from {was} to {now}"))
    };
    let changes: Vec<_> = status.replicas.iter().filter_map(change).collect();
    (counts && !changes.is_empty()).then(|| {
        let note = format!("replicas: {}", changes.join(", "));
        News::new(EventType::Normal, "Scale", "Scaled", note)
    })
}

/// Limits that are others than before.
fn limits((before, now): (Option<&ControlDocument>, &ControlDocument)) -> Option<News> {
    let before = before?;
    (before.rate_limits != now.rate_limits).then(|| {
        let note = "rate limits were changed; ControlInForce says who goes by them";
        News::new(EventType::Normal, "ChangeLimits", "LimitsChanged", note)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controller::status::{self, Finding};

    fn status(findings: &[Finding]) -> FlashSaleStatus {
        let mut status = FlashSaleStatus {
            phase: Some(Phase::Live),
            ..FlashSaleStatus::default()
        };
        status::record(&mut status, findings, 1, Timestamp::UNIX_EPOCH);
        status
    }

    #[test]
    fn a_switch_and_what_goes_wrong_are_told_once() {
        let halted = |holds, reason| status(&[Finding::new(ConditionType::Halted, holds, reason, "so")]);
        let told = |before: &FlashSaleStatus, now: &FlashSaleStatus| -> Vec<(String, bool)> {
            let news = conditions(before, now).into_iter();
            news.map(|news| (news.reason, matches!(news.type_, EventType::Warning)))
                .collect()
        };
        let (open, shut) = (halted(false, "NotRequested"), halted(true, "OnRequest"));
        assert_eq!(told(&FlashSaleStatus::default(), &open), []);
        assert_eq!(told(&open, &shut), [("Halted".to_owned(), false)]);
        assert_eq!(told(&shut, &shut), []);
        assert_eq!(told(&shut, &open), [("Resumed".to_owned(), false)]);
        // A new replica has not heard of it yet.
        let partly = halted(false, "NotEverywhere");
        assert_eq!(told(&shut, &partly), [("NotEverywhere".to_owned(), true)]);
        let degraded = |holds, reason| status(&[Finding::new(ConditionType::Degraded, holds, reason, "so")]);
        let (well, ill) = (degraded(false, "AsExpected"), degraded(true, "Impaired"));
        assert_eq!(told(&well, &ill), [("Impaired".to_owned(), true)]);
        assert_eq!(told(&ill, &well), [("AsExpected".to_owned(), false)]);
        let workloads =
            |holds, reason| status(&[Finding::new(ConditionType::WorkloadsReady, holds, reason, "so")]);
        let (there, gone) = (workloads(true, "RolledOut"), workloads(false, "Hindered"));
        assert_eq!(told(&there, &gone), [("Hindered".to_owned(), true)]);
        assert_eq!(told(&gone, &there), [("WorkloadsReady".to_owned(), false)]);
    }

    #[test]
    fn replicas_are_told_of_when_they_change() {
        let with = |replicas: &[(&str, i32)], phase| FlashSaleStatus {
            phase: Some(phase),
            replicas: replicas
                .iter()
                .map(|(name, n)| ((*name).to_owned(), *n))
                .collect(),
            ..FlashSaleStatus::default()
        };
        let (two, five) = ([("gateway", 2), ("order", 1)], [("gateway", 5), ("order", 1)]);
        let told = |before, now| scaled(&before, &now).map(|news| news.note);
        let live = |replicas| with(replicas, Phase::Live);
        assert_eq!(
            told(live(&two), live(&five)).as_deref(),
            Some("replicas: gateway from 2 to 5")
        );
        assert_eq!(told(live(&five), live(&five)), None);
        assert_eq!(told(live(&[]), live(&two)), None);
        assert_eq!(told(live(&two), with(&five, Phase::Ended)), None);
    }

    #[test]
    fn an_edit_of_stock_is_told_when_it_is_made() {
        let product = |applied| ProductStatus {
            sku: "A".into(),
            applied_stock: applied,
            ..ProductStatus::default()
        };
        let told = |before, now| stock(&[product(before)], &[product(now)]).len();
        assert_eq!(told(Some(50), Some(50)), 0);
        assert_eq!(told(None, Some(50)), 0);
        assert_eq!(told(Some(50), Some(60)), 1);
    }
}
