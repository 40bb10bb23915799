//! Every call to the API server has a deadline: the client alone would retry for minutes.

use std::{future::Future, time::Duration};

/// How long one call to the API server may take.
pub const API_DEADLINE: Duration = Duration::from_secs(10);

/// Why a call to the API server failed.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// It said no, or could not be reached.
    #[error("the API server: {}", said(.0))]
    Kube(#[from] Box<kube::Error>),
    /// No answer in time.
    #[error("the API server did not answer within {API_DEADLINE:?}")]
    Deadline,
}

/// What the API server said, without the document that it said it in.
fn said(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => status.message.clone(),
        other => other.to_string(),
    }
}

impl ApiError {
    /// Whether the object was changed by somebody else in the meantime.
    pub fn is_conflict(&self) -> bool {
        self.code() == Some(409)
    }

    /// Whether there is no such object.
    pub fn is_not_found(&self) -> bool {
        self.code() == Some(404)
    }

    /// Whether the API server has no definition of the kind that was asked for.
    pub fn is_unknown_kind(&self) -> bool {
        matches!(self, Self::Kube(error) if is_unknown_kind(error))
    }

    /// Whether the caller has no right to this.
    pub fn is_forbidden(&self) -> bool {
        self.code() == Some(403)
    }

    /// Whether the API server understood and said no, so that another try has no other end.
    pub fn is_refusal(&self) -> bool {
        self.code()
            .is_some_and(|code| (400..500).contains(&code) && code != 429)
    }

    fn code(&self) -> Option<u16> {
        match self {
            Self::Kube(error) => match error.as_ref() {
                kube::Error::Api(status) => Some(status.code),
                _ => None,
            },
            Self::Deadline => None,
        }
    }
}

/// Whether the API server has no definition of the kind that was asked for. A missing object is "not found" by its name; of a kind it says
/// that there is no such page.
pub fn is_unknown_kind(error: &kube::Error) -> bool {
    let words = ["page not found", "could not find the requested resource"];
    matches!(error, kube::Error::Api(status) if status.code == 404 && words.iter().any(|words| status.message.contains(words)))
}

/// Gives a call to the API server its deadline.
///
/// # Errors
/// [`ApiError`].
pub async fn within<T>(call: impl Future<Output = Result<T, kube::Error>>) -> Result<T, ApiError> {
    match tokio::time::timeout(API_DEADLINE, call).await {
        Ok(answer) => Ok(answer.map_err(Box::new)?),
        Err(_) => Err(ApiError::Deadline),
    }
}
