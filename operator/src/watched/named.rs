//! Objects that are read by name, and remembered for a while: Secrets, because to watch them would be the right to read everybody's, and
//! namespaces, of which one label matters.

use super::kept::Kept;
use crate::deadline::{ApiError, within};
use k8s_openapi::api::core::v1::{Namespace, Secret};
use kube::{
    Api, Client, ResourceExt,
    core::{ApiResource, DynamicObject},
};
use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// The most objects that are remembered.
const MOST: usize = 20_000;

/// The namespace of an object, or none, and its name.
type Key = (Option<String>, String);

/// What was read.
#[derive(Debug, Default)]
pub struct Named {
    read: Mutex<HashMap<Key, (Instant, Option<Kept>)>>,
}

impl Named {
    /// A Secret, as it was at most so long ago.
    ///
    /// # Errors
    /// [`ApiError`].
    pub async fn secret(
        &self,
        client: &Client,
        namespace: &str,
        name: &str,
        at_most: Duration,
    ) -> Result<Option<DynamicObject>, ApiError> {
        let resource = ApiResource::erase::<Secret>(&());
        let api = Api::namespaced_with(client.clone(), namespace, &resource);
        self.get(&api, (Some(namespace.to_owned()), name.to_owned()), at_most)
            .await
    }

    /// A namespace, as it was at most so long ago.
    ///
    /// # Errors
    /// [`ApiError`].
    pub async fn namespace(
        &self,
        client: &Client,
        name: &str,
        at_most: Duration,
    ) -> Result<Option<DynamicObject>, ApiError> {
        let resource = ApiResource::erase::<Namespace>(&());
        let api = Api::all_with(client.clone(), &resource);
        self.get(&api, (None, name.to_owned()), at_most).await
    }

    async fn get(
        &self,
        api: &Api<DynamicObject>,
        key: Key,
        at_most: Duration,
    ) -> Result<Option<DynamicObject>, ApiError> {
        if let Some((at, known)) = self.lock().get(&key)
            && at.elapsed() < at_most
        {
            return Ok(known.as_ref().and_then(Kept::read));
        }
        let asked = Instant::now();
        let found = within(api.get_opt(&key.1)).await?;
        let mut read = self.lock();
        if read.len() >= MOST {
            read.clear();
        }
        read.insert(key, (asked, found.clone().and_then(Kept::of)));
        Ok(found)
    }

    /// Keeps a Secret that was just written.
    pub fn wrote(&self, secret: DynamicObject) {
        let key = (secret.namespace(), secret.name_any());
        self.lock().insert(key, (Instant::now(), Kept::of(secret)));
    }

    /// Has a Secret read again the next time.
    pub fn forget(&self, namespace: &str, name: &str) {
        self.lock().remove(&(Some(namespace.to_owned()), name.to_owned()));
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, (Instant, Option<Kept>)>> {
        self.read.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
