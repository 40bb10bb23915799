//! Calls to the services of a sale, each with a deadline and a token signed with the sale's own key.

use reqwest::{Method, StatusCode};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::time::Duration;

/// How long a service may take to answer. Several calls follow one another in a reconciliation, and the change of a
/// control document waits for that: short, and tried again a second later.
pub const CALL_DEADLINE: Duration = Duration::from_secs(1);

/// Calls one service.
#[derive(Debug, Clone)]
pub struct ServiceCalls {
    http: reqwest::Client,
    base: String,
    token: String,
    deadline: Duration,
}

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// No answer.
    #[error("{url} does not answer: {reason}")]
    Unreachable {
        /// Where.
        url: String,
        /// Why.
        reason: String,
    },
    /// The service said no.
    #[error("{url} answered {status} {code}: {detail}")]
    Refused {
        /// Where.
        url: String,
        /// HTTP status.
        status: StatusCode,
        /// The problem's stable code.
        code: String,
        /// The problem's sentence.
        detail: String,
    },
}

impl CallError {
    /// Whether the service refused with this code.
    pub fn is_code(&self, wanted: &str) -> bool {
        matches!(self, Self::Refused { code, .. } if code == wanted)
    }
}

/// The part of a problem document that decides.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ProblemDocument {
    code: String,
    detail: String,
}

impl ServiceCalls {
    /// Calls the service at `base` with a token.
    pub fn new(http: &reqwest::Client, base: String, token: &str) -> Self {
        Self {
            http: http.clone(),
            base,
            token: token.to_owned(),
            deadline: CALL_DEADLINE,
        }
    }

    /// The same with a deadline of its own.
    #[must_use]
    pub fn within(self, deadline: Duration) -> Self {
        Self { deadline, ..self }
    }

    /// Reads.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, CallError> {
        self.call(Method::GET, path, None::<&()>, None).await
    }

    /// Sends a body; with an idempotency key the effect is made once.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn send<B: Serialize + Sync, T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: &B,
        idempotency_key: Option<&str>,
    ) -> Result<T, CallError> {
        self.call(method, path, Some(body), idempotency_key).await
    }

    async fn call<B: Serialize + Sync, T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<&B>,
        idempotency_key: Option<&str>,
    ) -> Result<T, CallError> {
        let url = format!("{}{path}", self.base);
        let unreachable = |error: reqwest::Error| CallError::Unreachable {
            url: url.clone(),
            reason: causes(&error),
        };
        let mut request = self
            .http
            .request(method, &url)
            .bearer_auth(&self.token)
            .timeout(self.deadline);
        if let Some(body) = body {
            request = request.json(body);
        }
        if let Some(key) = idempotency_key {
            request = request.header("idempotency-key", key);
        }
        let answer = request.send().await.map_err(unreachable)?;
        let status = answer.status();
        if status.is_success() {
            return answer.json().await.map_err(unreachable);
        }
        let problem: ProblemDocument = answer.json().await.unwrap_or_default();
        Err(CallError::Refused {
            url,
            status,
            code: problem.code,
            detail: problem.detail,
        })
    }
}

/// An error with its causes: reqwest alone says little more than "error sending request".
fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
