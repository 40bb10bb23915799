//! What `kubectl describe` shows under Events.
//!
//! kube has a recorder for this, which keeps every event whole for six minutes: with hundreds of sales that is more than all that the
//! operator otherwise knows of them. Here a line is kept of each.

use crate::deadline::{ApiError, within};
use jiff::Timestamp;
use k8s_openapi::{
    api::{
        core::v1::ObjectReference,
        events::v1::{Event, EventSeries},
    },
    apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta},
};
use kube::{
    Api, Client,
    api::{Patch, PatchParams, PostParams},
    runtime::events::EventType,
};
use serde_json::json;
use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hash, Hasher},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// How long after an event the same one is told as part of a series, as Kubernetes' own components have it.
const SERIES: Duration = Duration::from_secs(360);
/// As many are remembered; those of which nobody has heard for the longest time go first.
const MOST: usize = 1_000;
/// The longest note that the API server takes, in bytes.
const LONGEST_NOTE: usize = 1_024;

/// Who tells.
const CONTROLLER: &str = "quicksale-operator";

/// What there is to tell.
#[derive(Debug, Clone, Copy)]
pub struct Occurrence<'a> {
    /// Normal or Warning.
    pub type_: EventType,
    /// What was being done, as one word.
    pub action: &'a str,
    /// What it came to, as one word.
    pub reason: &'a str,
    /// A sentence.
    pub note: &'a str,
}

/// What was told of one thing before.
#[derive(Debug, Clone)]
struct Series {
    name: String,
    times: i32,
    last: Instant,
}

/// Tells of objects, each as an Event of theirs.
#[derive(Debug, Default)]
pub struct EventRecorder {
    told: Mutex<HashMap<String, Series>>,
}

impl EventRecorder {
    /// Tells it, anew or as one more of the same.
    ///
    /// # Errors
    /// [`ApiError`].
    pub async fn publish(
        &self,
        client: &Client,
        instance: &str,
        regarding: ObjectReference,
        occurrence: &Occurrence<'_>,
        now: Timestamp,
    ) -> Result<(), ApiError> {
        let type_ = match occurrence.type_ {
            EventType::Normal => "Normal",
            EventType::Warning => "Warning",
        };
        let uid = regarding.uid.as_deref().unwrap_or_default();
        let note = &occurrence.note[..occurrence.note.floor_char_boundary(LONGEST_NOTE)];
        // The sentence of an event cannot change: another one is another event.
        let mut hash = DefaultHasher::new();
        note.hash(&mut hash);
        let key = format!(
            "{uid} {type_} {} {} {:x}",
            occurrence.action,
            occurrence.reason,
            hash.finish()
        );
        let namespace = regarding
            .namespace
            .clone()
            .unwrap_or_else(|| "default".to_owned());
        let api: Api<Event> = Api::namespaced(client.clone(), &namespace);
        if let Some((name, times)) = self.before(&key, Instant::now()) {
            let series = EventSeries {
                count: times.saturating_add(1),
                last_observed_time: MicroTime(now),
            };
            let more = Patch::Merge(json!({"series": series}));
            match within(api.patch(&name, &PatchParams::default(), &more)).await {
                // It was let go meanwhile.
                Err(error) if error.is_not_found() => {}
                told => {
                    told?;
                    self.keep(key, name, series.count, Instant::now());
                    return Ok(());
                }
            }
        }
        let name = format!(
            "{}.{:x}",
            regarding.name.as_deref().unwrap_or(CONTROLLER),
            now.as_nanosecond()
        );
        let event = Event {
            metadata: ObjectMeta {
                name: Some(name.clone()),
                namespace: Some(namespace),
                ..ObjectMeta::default()
            },
            type_: Some(type_.to_owned()),
            action: Some(occurrence.action.to_owned()),
            reason: Some(occurrence.reason.to_owned()),
            note: Some(note.to_owned()),
            event_time: Some(MicroTime(now)),
            regarding: Some(regarding),
            reporting_controller: Some(CONTROLLER.to_owned()),
            reporting_instance: Some(instance.to_owned()),
            ..Event::default()
        };
        within(api.create(&PostParams::default(), &event)).await?;
        self.keep(key, name, 1, Instant::now());
        Ok(())
    }

    /// The name of the event that this is one more of, and how many there were.
    fn before(&self, key: &str, now: Instant) -> Option<(String, i32)> {
        let told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let before = told.get(key)?;
        let is_recent = now.duration_since(before.last) <= SERIES;
        is_recent.then(|| (before.name.clone(), before.times))
    }

    fn keep(&self, key: String, name: String, times: i32, now: Instant) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        told.retain(|_, told| now.duration_since(told.last) <= SERIES);
        if told.len() >= MOST
            && let Some(oldest) = told
                .iter()
                .min_by_key(|(_, told)| told.last)
                .map(|(key, _)| key.clone())
        {
            told.remove(&oldest);
        }
        let one = Series {
            name,
            times,
            last: now,
        };
        told.insert(key, one);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_within_six_minutes_is_a_series() {
        let (events, start) = (EventRecorder::default(), Instant::now());
        let after = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(events.before("a", start), None);
        events.keep("a".into(), "first".into(), 1, start);
        assert_eq!(events.before("a", after(350)), Some(("first".into(), 1)));
        events.keep("a".into(), "first".into(), 2, after(350));
        assert_eq!(events.before("a", after(700)), Some(("first".into(), 2)));
        assert_eq!(events.before("b", after(700)), None);
        assert_eq!(events.before("a", after(711)), None);
    }

    #[test]
    fn what_nobody_has_heard_of_for_the_longest_time_goes_first() {
        let (events, start) = (EventRecorder::default(), Instant::now());
        for n in 0..=MOST {
            let at = start + Duration::from_millis(u64::try_from(n).unwrap());
            events.keep(n.to_string(), n.to_string(), 1, at);
        }
        assert_eq!(events.told.lock().unwrap().len(), MOST);
        assert_eq!(events.before("0", start + Duration::from_secs(2)), None);
        assert!(events.before("1", start + Duration::from_secs(2)).is_some());
    }
}
