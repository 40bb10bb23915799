//! The Secret of the first administrator, where nobody brought one.
//!
//! The operator makes it, and not the chart: a chart that is only rendered cannot know whether there is one already,
//! and would write another password at each render. It is created and never changed, and outlives the release, because
//! the account that it opens does too.

use crate::{
    deadline::{ApiError, within},
    settings::Settings,
};
use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client, api::PostParams};
use platform::retry::Backoff;
use rand::distr::{Alphanumeric, SampleString};
use serde_json::json;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// About 142 bits.
const PASSWORD_LENGTH: usize = 24;
/// The first and the longest wait before another try.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(5));

/// Makes the Secret unless there is one; returns once that is settled, or at `stop`. Sales come after it: an auth pod
/// reads the administrator's account when it starts. `tried` is called after every try.
pub async fn ensure(client: &Client, settings: &Settings, stop: &CancellationToken, tried: impl Fn()) {
    let Some(email) = settings.admin_email.as_deref() else {
        return;
    };
    let mut backoff = Backoff::new(BACKOFF.0, BACKOFF.1);
    loop {
        match create(client, settings, email).await {
            Ok(()) => return,
            // It will not change its mind, and sales can do without a first administrator.
            Err(error) if error.is_refusal() => {
                tracing::error!(
                    %error, namespace = settings.namespace, name = settings.admin_secret,
                    "cannot make the administrator's Secret: create it by hand with the keys email and password"
                );
                return;
            }
            Err(error) => tracing::warn!(%error, "cannot make the administrator's Secret yet; trying again"),
        }
        tried();
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(backoff.next_wait()) => {}
        }
    }
}

async fn create(client: &Client, settings: &Settings, email: &str) -> Result<(), ApiError> {
    let api: Api<Secret> = Api::namespaced(client.clone(), &settings.namespace);
    if within(api.get_opt(&settings.admin_secret)).await?.is_some() {
        return Ok(());
    }
    match within(api.create(&PostParams::default(), &secret(settings, email))).await {
        Ok(_) => {
            tracing::info!(
                namespace = settings.namespace,
                name = settings.admin_secret,
                "the administrator's Secret was made"
            );
            Ok(())
        }
        // Somebody was quicker, and theirs is as good.
        Err(error) if error.is_conflict() => Ok(()),
        Err(error) => Err(error),
    }
}

fn secret(settings: &Settings, email: &str) -> Secret {
    let password = Alphanumeric.sample_string(&mut rand::rng(), PASSWORD_LENGTH);
    let json = json!({
        "metadata": {
            "name": settings.admin_secret,
            "namespace": settings.namespace,
            "labels": {"app.kubernetes.io/part-of": "quicksale"},
        },
        "type": "Opaque",
        "stringData": {"email": email, "password": password},
    });
    // Every field above is one of a Secret's, so nothing is lost.
    serde_json::from_value(json).unwrap_or_default()
}
