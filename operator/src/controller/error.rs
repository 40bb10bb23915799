//! Why a reconciliation ended early.

use super::apply::ApplyErrors;
use crate::{backends::WipeError, deadline::ApiError};
use platform::tokens::KeyError;

/// Why a reconciliation ended early. All of these are tried again.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The API server did not answer a read, or refused a deletion.
    #[error(transparent)]
    Api(#[from] ApiError),
    /// Objects were not accepted.
    #[error(transparent)]
    Apply(#[from] ApplyErrors),
    /// The report cannot be written as JSON.
    #[error("the report cannot be written: {0}")]
    Report(#[source] serde_json::Error),
    /// Keys could not be made or used.
    #[error(transparent)]
    Keys(#[from] KeyError),
    /// The sale's data could not be deleted.
    #[error("{0}; annotate the FlashSale with quicksale.io/force-delete=true to leave it behind")]
    Wipe(#[from] WipeError),
    /// There are no credentials to delete data with.
    #[error(
        "cannot delete the sale's data: {0}; annotate the FlashSale with quicksale.io/force-delete=true to leave it behind"
    )]
    Credentials(String),
}

impl Error {
    /// One word for conditions, events and metrics.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Api(_) => "ApiServerFailed",
            Self::Apply(_) => "ApplyFailed",
            Self::Keys(_) => "KeysUnusable",
            Self::Report(_) => "ReportNotWritten",
            Self::Wipe(WipeError::Topics(_)) => "TopicsNotDeleted",
            Self::Wipe(WipeError::Database(_)) => "DatabaseNotDropped",
            Self::Credentials(_) => "BackendsUnknown",
        }
    }
}
