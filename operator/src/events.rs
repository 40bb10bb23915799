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
pub struct News<'a> {
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
struct Told {
    name: String,
    times: i32,
    last: Instant,
}

/// Tells of objects.
#[derive(Debug, Default)]
pub struct Events {
    told: Mutex<HashMap<String, Told>>,
}

impl Events {
    /// Tells it, anew or as one more of the same.
    ///
    /// # Errors
    /// [`ApiError`].
    pub async fn publish(
        &self,
        client: &Client,
        instance: &str,
        regarding: ObjectReference,
        news: &News<'_>,
        now: Timestamp,
    ) -> Result<(), ApiError> {
        let type_ = match news.type_ {
            EventType::Normal => "Normal",
            EventType::Warning => "Warning",
        };
        let uid = regarding.uid.as_deref().unwrap_or_default();
        let key = format!("{uid} {type_} {} {}", news.action, news.reason);
        let namespace = regarding
            .namespace
            .clone()
            .unwrap_or_else(|| "default".to_owned());
        let api: Api<Event> = Api::namespaced(client.clone(), &namespace);
        let note = &news.note[..news.note.floor_char_boundary(LONGEST_NOTE)];
        if let Some((name, times)) = self.again(&key, Instant::now()) {
            let series = EventSeries {
                count: times,
                last_observed_time: MicroTime(now),
            };
            let more = Patch::Merge(json!({"note": note, "series": series}));
            match within(api.patch(&name, &PatchParams::default(), &more)).await {
                // It was let go meanwhile.
                Err(error) if error.is_not_found() => {}
                told => return told.map(drop),
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
            action: Some(news.action.to_owned()),
            reason: Some(news.reason.to_owned()),
            note: Some(note.to_owned()),
            event_time: Some(MicroTime(now)),
            regarding: Some(regarding),
            reporting_controller: Some(CONTROLLER.to_owned()),
            reporting_instance: Some(instance.to_owned()),
            ..Event::default()
        };
        within(api.create(&PostParams::default(), &event)).await?;
        self.keep(key, name, Instant::now());
        Ok(())
    }

    /// The name of the event that this is one more of, and how many there are with it.
    fn again(&self, key: &str, now: Instant) -> Option<(String, i32)> {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let before = told.get_mut(key)?;
        if now.duration_since(before.last) > SERIES {
            told.remove(key);
            return None;
        }
        (before.times, before.last) = (before.times.saturating_add(1), now);
        Some((before.name.clone(), before.times))
    }

    fn keep(&self, key: String, name: String, now: Instant) {
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
        let one = Told {
            name,
            times: 1,
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
        let (events, start) = (Events::default(), Instant::now());
        let after = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(events.again("a", start), None);
        events.keep("a".into(), "first".into(), start);
        assert_eq!(events.again("a", after(350)), Some(("first".into(), 2)));
        assert_eq!(events.again("a", after(700)), Some(("first".into(), 3)));
        assert_eq!(events.again("b", after(700)), None);
        assert_eq!(events.again("a", after(1_061)), None);
    }

    #[test]
    fn what_nobody_has_heard_of_for_the_longest_time_goes_first() {
        let (events, start) = (Events::default(), Instant::now());
        for n in 0..=MOST {
            let at = start + Duration::from_millis(u64::try_from(n).unwrap());
            events.keep(n.to_string(), n.to_string(), at);
        }
        assert_eq!(events.told.lock().unwrap().len(), MOST);
        assert_eq!(events.again("0", start + Duration::from_secs(2)), None);
        assert!(events.again("1", start + Duration::from_secs(2)).is_some());
    }
}
