//! The sale, as a provider of payments calls it.

use anyhow::Result;
use platform::retry::Backoff;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::time::{Duration, Instant};
use tokio::sync::Mutex;
use url::Url;

/// How long one call may take.
const DEADLINE: Duration = Duration::from_secs(10);
/// How long it is tried to tell the shop.
const PATIENCE: Duration = Duration::from_secs(120);
/// How long before its end a token is not used any more.
const EARLY: Duration = Duration::from_secs(30);

/// The account of a program.
#[derive(Debug)]
pub(crate) struct ServiceAccount {
    /// Its client id.
    pub(crate) client_id: String,
    /// Its secret.
    pub(crate) client_secret: SecretString,
}

/// A sale's API.
#[derive(Debug)]
pub(crate) struct Shop {
    client: reqwest::Client,
    url: Url,
    account: ServiceAccount,
    token: Mutex<Option<(SecretString, Instant)>>,
}

/// What the shop said in the end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct ShopAnswer {
    /// The status; 0 where there was no answer.
    pub(super) status: u16,
    /// The code of a problem.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) code: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Issued {
    access_token: SecretString,
    expires_in: u64,
}

#[derive(Deserialize)]
struct Problem {
    code: String,
}

impl Shop {
    /// Calls this gateway with this account.
    ///
    /// # Errors
    /// When no client can be made.
    pub(crate) fn new(url: Url, account: ServiceAccount) -> Result<Self> {
        Ok(Self {
            client: reqwest::Client::builder().timeout(DEADLINE).build()?,
            url,
            account,
            token: Mutex::default(),
        })
    }

    /// Where it is.
    pub(super) fn address(&self) -> &Url {
        &self.url
    }

    /// Whether the account gets a token.
    ///
    /// # Errors
    /// When the shop does not answer, or refuses it.
    pub(crate) async fn log_in(&self) -> Result<()> {
        self.token().await.map(drop)
    }

    async fn token(&self) -> Result<SecretString> {
        let mut kept = self.token.lock().await;
        if let Some((token, until)) = kept.as_ref()
            && Instant::now() < *until
        {
            return Ok(token.clone());
        }
        let credentials = json!({
            "clientId": self.account.client_id,
            "clientSecret": self.account.client_secret.expose_secret(),
        });
        let asked = Instant::now();
        let answer = self.client.post(self.url.join("/api/auth/token")?);
        let answer = answer.json(&credentials).send().await?.error_for_status()?;
        let issued: Issued = answer.json().await?;
        let good_for = Duration::from_secs(issued.expires_in).saturating_sub(EARLY);
        *kept = Some((issued.access_token.clone(), asked + good_for));
        Ok(issued.access_token)
    }

    /// Tells it how the payment of an order went (`confirm` or `fail`), again and again until it has an answer that counts.
    pub(super) async fn tell(&self, order: &str, how: &str) -> ShopAnswer {
        let until = Instant::now() + PATIENCE;
        let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(5));
        loop {
            let answer = self.tell_once(order, how).await.unwrap_or_else(|error| {
                tracing::debug!(%error, order, how, "the shop does not answer");
                ShopAnswer {
                    status: 0,
                    code: None,
                }
            });
            let passes = matches!(answer.status, 0 | 401 | 429 | 500..)
                || answer.code.as_deref() == Some("not_held_yet");
            if !passes || Instant::now() > until {
                return answer;
            }
            if answer.status == 401 {
                *self.token.lock().await = None;
            }
            tokio::time::sleep(backoff.next_wait()).await;
        }
    }

    async fn tell_once(&self, order: &str, how: &str) -> Result<ShopAnswer> {
        let mut url = self.url.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(["api", "orders", order, how]);
        }
        let token = self.token().await?;
        let answer = self
            .client
            .post(url)
            .bearer_auth(token.expose_secret())
            .send()
            .await?;
        let status = answer.status().as_u16();
        let code = match answer.json::<Problem>().await {
            Ok(problem) if status >= 400 => Some(problem.code),
            _ => None,
        };
        Ok(ShopAnswer { status, code })
    }
}
