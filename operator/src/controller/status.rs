//! What is written into a sale's status, and when.

use super::{build::MANAGER, context::Context};
use crate::deadline::{ApiError, within};
use crds::{
    FlashSale, FlashSaleStatus,
    status::{Condition, ConditionType, DegradedSpan},
};
use jiff::Timestamp;
use kube::{
    Api, Resource, ResourceExt,
    api::{Patch, PatchParams},
};
use sale::phase::Phase;
use serde_json::json;

/// What is known about one condition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// About what.
    pub kind: ConditionType,
    /// Whether it holds.
    pub holds: bool,
    /// One word.
    pub reason: &'static str,
    /// One sentence.
    pub message: String,
}

impl Finding {
    /// A condition that holds or not, with its reason and sentence for either case.
    pub fn new(kind: ConditionType, holds: bool, reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            kind,
            holds,
            reason,
            message: message.into(),
        }
    }
}

/// Replaces the conditions that were looked at; of two findings about one the later counts. A condition keeps the time of its last
/// change of status, so that looking again changes nothing.
pub fn record(status: &mut FlashSaleStatus, findings: &[Finding], generation: i64, now: Timestamp) {
    for (at, finding) in findings.iter().enumerate() {
        let mut later = findings.iter().skip(at + 1);
        if later.any(|later| later.kind == finding.kind) {
            continue;
        }
        let value = if finding.holds { "True" } else { "False" };
        let before = status.condition(finding.kind);
        let since = before
            .filter(|c| c.status == value)
            .map_or(now, |c| c.last_transition_time);
        let condition = Condition {
            type_: finding.kind.as_str().to_owned(),
            status: value.to_owned(),
            reason: finding.reason.to_owned(),
            message: finding.message.clone(),
            last_transition_time: since,
            observed_generation: Some(generation),
        };
        match status.conditions.iter_mut().find(|c| c.type_ == condition.type_) {
            Some(old) => *old = condition,
            None => status.conditions.push(condition),
        }
    }
}

/// Takes away a condition that has nothing to speak of any more.
pub fn forget(status: &mut FlashSaleStatus, kind: ConditionType) {
    status
        .conditions
        .retain(|condition| condition.type_ != kind.as_str());
}

/// As many spans without something as are remembered.
const SPANS: usize = 20;

/// Remembers for the report when the open sale was without something.
pub fn note_what_is_missing(status: &mut FlashSaleStatus, now: Timestamp) {
    let degraded = status.condition(ConditionType::Degraded);
    let reason = degraded
        .filter(|c| c.holds() == Some(true))
        .map(|c| c.reason.clone());
    let is_open = matches!(status.phase(), Phase::Live | Phase::Draining);
    let lasts = status.degraded.last_mut().filter(|span| span.until.is_none());
    match (reason, lasts) {
        (Some(reason), None) if is_open => {
            if status.degraded.len() >= SPANS {
                status.degraded.remove(0);
            }
            status.degraded.push(DegradedSpan {
                from: now,
                until: None,
                reason,
            });
        }
        (None, Some(span)) => span.until = Some(now),
        _ => {}
    }
}

/// Whether a status may be written although the FlashSale has changed since it was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Write {
    /// It may: it says what was seen.
    Anyway,
    /// It may not: it says what was decided, and that may be decided otherwise now.
    IfUnchanged,
}

/// Writes the status if it differs from the one that was read, and remembers what is there then.
///
/// # Errors
/// [`ApiError`]; a conflict where the FlashSale was to be unchanged and is not.
pub async fn write(
    context: &Context,
    sale: &FlashSale,
    status: &FlashSaleStatus,
    how: Write,
) -> Result<(), ApiError> {
    if sale.status.as_ref() == Some(status) {
        return Ok(());
    }
    let client = context.client.clone();
    let api: Api<FlashSale> = Api::namespaced(client, &sale.namespace().unwrap_or_default());
    let mut body = json!({
        "apiVersion": FlashSale::api_version(&()),
        "kind": FlashSale::kind(&()),
        // The uid keeps a late write from reaching a sale of the same name that came after.
        "metadata": {"name": sale.name_any(), "uid": sale.uid()},
        "status": status,
    });
    if how == Write::IfUnchanged {
        body["metadata"]["resourceVersion"] = sale.resource_version().into();
    }
    let params = PatchParams::apply(MANAGER).force();
    let written = within(api.patch_status(&sale.name_any(), &params, &Patch::Apply(&body))).await?;
    context.wrote(written);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_changes_its_time_only_with_its_status() {
        let at = |s| Timestamp::from_second(s).unwrap();
        let mut status = FlashSaleStatus::default();
        let finding = |holds| Finding::new(ConditionType::Ready, holds, "Because", "of this");
        record(&mut status, &[finding(true)], 1, at(1));
        let first = status.clone();
        record(&mut status, &[finding(true)], 1, at(2));
        assert_eq!(status, first);
        record(&mut status, &[finding(false)], 1, at(3));
        assert_eq!(
            status
                .condition(ConditionType::Ready)
                .unwrap()
                .last_transition_time,
            at(3)
        );
        assert_eq!(status.conditions.len(), 1);
    }

    /// The operator reaches the backends, and a process says that it does not.
    #[test]
    fn of_two_findings_about_one_condition_the_later_counts() {
        let at = |s| Timestamp::from_second(s).unwrap();
        let finding = |holds| Finding::new(ConditionType::BackendsReachable, holds, "Because", "of this");
        let mut status = FlashSaleStatus::default();
        record(&mut status, &[finding(true), finding(false)], 1, at(1));
        let first = status.clone();
        assert_eq!(first.conditions.len(), 1);
        assert_eq!(first.conditions[0].status, "False");
        record(&mut status, &[finding(true), finding(false)], 1, at(2));
        assert_eq!(status, first, "looking again changes nothing");
    }

    #[test]
    fn what_was_missing_is_remembered_from_its_beginning_to_its_end() {
        let at = |s| Timestamp::from_second(s).unwrap();
        let mut status = FlashSaleStatus {
            phase: Some(Phase::Live),
            ..FlashSaleStatus::default()
        };
        let mut look = |holds, second| {
            let degraded = Finding::new(ConditionType::Degraded, holds, "Impaired", "so");
            record(&mut status, &[degraded], 1, at(second));
            note_what_is_missing(&mut status, at(second));
            let spans = status.degraded.iter();
            spans
                .map(|span| (span.from.as_second(), span.until.map(Timestamp::as_second)))
                .collect::<Vec<_>>()
        };
        assert_eq!(look(false, 1), []);
        assert_eq!(look(true, 2), [(2, None)]);
        assert_eq!(look(true, 3), [(2, None)]);
        assert_eq!(look(false, 4), [(2, Some(4))]);
        assert_eq!(look(false, 5), [(2, Some(4))]);
        for second in 6..100 {
            look(second % 2 == 0, second);
        }
        let spans = look(false, 100);
        assert_eq!((spans.len(), spans.last()), (SPANS, Some(&(98, Some(99)))));
    }
}
