//! Calls to the API server: each has a deadline, and a refusal is said so that people know what to do.

use super::super::unknown;
use platform::http::problem::{Code, Problem};
use std::time::Duration;

/// How long the API server has for an answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// Gives a call to the API server its deadline, and says what people should know of its refusal.
pub(super) async fn within<T>(call: impl Future<Output = Result<T, kube::Error>>) -> Result<T, Problem> {
    match tokio::time::timeout(PATIENCE, call).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(kube::Error::Api(refusal))) => Err(refused(&refusal)),
        Ok(Err(error)) => {
            tracing::warn!(%error, "the API server was not reached");
            Err(no_api_server())
        }
        Err(_) => Err(no_api_server()),
    }
}

fn no_api_server() -> Problem {
    Problem::new(
        Code::Busy,
        "Kubernetes' API server gave no answer; of a change it is not known whether it was made. Look before you try again.",
    )
    .retry_after(2)
}

fn refused(refusal: &kube::core::Status) -> Problem {
    let said = &refusal.message;
    match refusal.code {
        403 => Problem::new(
            Code::Forbidden,
            format!("Kubernetes does not let this console do that: {said}."),
        ),
        404 => unknown(),
        409 => Problem::new(
            Code::StaleVersion,
            "Somebody has changed this FlashSale at the same moment; look at it and decide anew.",
        ),
        422 | 400 => Problem::new(
            Code::InvalidRequest,
            format!("Kubernetes refuses this change: {said}."),
        ),
        _ => {
            tracing::warn!(code = refusal.code, said, "the API server refused");
            no_api_server()
        }
    }
}
