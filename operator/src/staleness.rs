//! Notices a watch that hangs: from outside such a process looks healthy, and nothing happens any more.

use crate::{deadline::within, scope::Scope};
use crds::{FlashSale, Readable};
use kube::{ResourceExt, api::ListParams, runtime::reflector::Store};
use platform::health::Heartbeat;
use std::{collections::BTreeMap, time::Duration};
use tokio_util::sync::CancellationToken;

/// How often the watch's cache is compared with the API server.
const EVERY: Duration = Duration::from_secs(20);
/// How long the two may differ before the process counts as dead: a watch that works is seconds behind at most.
pub const AT_MOST: Duration = Duration::from_secs(90);

type Versions = BTreeMap<(String, String), String>;

/// Beats while the cache keeps up.
pub async fn compare_until(scope: Scope, store: Store<Readable>, heart: Heartbeat, stop: CancellationToken) {
    let mut behind: Option<Versions> = None;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(EVERY) => {}
        }
        let mut listed = Versions::new();
        let mut cached = Versions::new();
        for (namespace, api) in scope.apis::<FlashSale>() {
            // An API server that does not answer says nothing about our watch, and a restart would not help.
            let Ok(list) = within(api.list_metadata(&ListParams::default())).await else {
                continue;
            };
            listed.extend(versions(list.items.iter()));
            let sales = store.state();
            let here = sales
                .iter()
                .map(AsRef::as_ref)
                .filter(|sale| namespace.is_none() || sale.namespace().as_deref() == namespace);
            cached.extend(versions(here));
        }
        let moved = behind.as_ref() != Some(&cached);
        if cached == listed {
            behind = None;
            heart.beat();
        } else if moved {
            // Behind, but moving: objects change all the time.
            behind = Some(cached);
            heart.beat();
        }
    }
}

fn versions<'a, K: ResourceExt + 'a>(objects: impl Iterator<Item = &'a K>) -> Versions {
    let entry = |object: &K| {
        let key = (object.namespace().unwrap_or_default(), object.name_any());
        (key, object.resource_version().unwrap_or_default())
    };
    objects.map(entry).collect()
}
