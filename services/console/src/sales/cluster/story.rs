//! What has happened to a sale, as its object and Kubernetes' Events tell it.

use super::super::view::{Happening, HappeningKind};
use crds::{FlashSale, Readable};
use jiff::Timestamp;
use k8s_openapi::api::events::v1::Event;
use kube::Resource;
use sale::phase::Phase;

/// All that is known, in no order.
pub(super) fn of(object: &Readable, events: &[Event], now: Timestamp) -> Vec<Happening> {
    let mut happenings = Vec::new();
    if let Some(created) = object.meta().creation_timestamp.as_ref() {
        let made = "The FlashSale was made.".to_owned();
        happenings.push(happening(created.0, HappeningKind::Created, made));
    }
    if let Ok(object) = &object.0 {
        happenings.extend(phases(object, now));
        happenings.extend(conditions(object));
    }
    happenings.extend(events.iter().filter_map(told));
    happenings
}

fn happening(at: Timestamp, kind: HappeningKind, text: String) -> Happening {
    Happening {
        at,
        kind,
        text,
        who: None,
        detail: None,
    }
}

fn phases(object: &FlashSale, now: Timestamp) -> Vec<Happening> {
    let Some(status) = &object.status else {
        return Vec::new();
    };
    let was_live = !matches!(status.phase(), Phase::Pending | Phase::Warming);
    let times = [
        (status.opens_at.filter(|at| was_live && *at <= now), "It opened."),
        (
            status.draining_since,
            "It stopped taking orders and began to settle those accepted.",
        ),
        (
            status.ended_at,
            "Every order was settled, and the report was written.",
        ),
        (status.data_wiped_at, "The data of the rehearsal was wiped."),
    ];
    let told = times.into_iter().filter_map(|(at, text)| Some((at?, text)));
    told.map(|(at, text)| happening(at, HappeningKind::Phase, text.to_owned()))
        .collect()
}

fn conditions(object: &FlashSale) -> Vec<Happening> {
    let stated = object.status.iter().flat_map(|status| &status.conditions);
    stated
        .map(|stated| {
            let text = format!("{} became {}: {}", stated.type_, stated.status, stated.message);
            happening(stated.last_transition_time, HappeningKind::Condition, text)
        })
        .collect()
}

fn told(event: &Event) -> Option<Happening> {
    let last = event.series.as_ref().map(|series| series.last_observed_time.0);
    let at = last.or(event.event_time.as_ref().map(|at| at.0))?;
    let text = event
        .note
        .clone()
        .filter(|note| !note.is_empty())
        .or(event.reason.clone())?;
    Some(Happening {
        who: event.reporting_controller.clone(),
        detail: event.reason.clone(),
        ..happening(at, HappeningKind::Event, text)
    })
}
