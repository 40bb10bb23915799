//! Lets writes to the API server pass for as long as this replica leads for sure.
//!
//! A process that stood still for a while, and one whose Lease has run out, may have calls under way that it has decided on as the
//! leader. By now another one may lead. So every call that writes is looked at in the moment in which it is sent.

use crate::metrics::API_REQUESTS;
use futures::future::{Either, Ready, ready};
use http::{Method, Request};
use std::{
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::Instant,
};
use tower::{BoxError, Layer, Service};

/// Until when writes pass.
#[derive(Debug, Default)]
pub struct Fence {
    until: Mutex<Option<Instant>>,
}

/// A write that came too late.
#[derive(Debug, thiserror::Error)]
#[error("this replica does not lead any more, so it writes nothing")]
pub struct NotLeading;

impl Fence {
    /// Writes pass until then.
    pub fn open_until(&self, until: Instant) {
        *self.until.lock().unwrap_or_else(PoisonError::into_inner) = Some(until);
    }

    /// No write passes any more.
    pub fn close(&self) {
        *self.until.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Whether writes pass at this moment.
    pub fn is_open(&self, now: Instant) -> bool {
        let until = self.until.lock().unwrap_or_else(PoisonError::into_inner);
        until.is_some_and(|until| now < until)
    }
}

/// Puts a [`Fence`] before a client, or nothing but a count of what it asks.
#[derive(Debug, Clone)]
pub struct Fenced(pub Option<Arc<Fence>>);

impl<S> Layer<S> for Fenced {
    type Service = FencedService<S>;

    fn layer(&self, inner: S) -> FencedService<S> {
        FencedService {
            fence: self.0.clone(),
            inner,
        }
    }
}

/// A client behind a [`Fence`].
#[derive(Debug, Clone)]
pub struct FencedService<S> {
    fence: Option<Arc<Fence>>,
    inner: S,
}

impl<S, B> Service<Request<B>> for FencedService<S>
where
    S: Service<Request<B>, Error = BoxError>,
{
    type Response = S::Response;
    type Error = BoxError;
    type Future = Either<S::Future, Ready<Result<S::Response, BoxError>>>;

    fn poll_ready(&mut self, task: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(task)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let reads = matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
        let is_open = |fence: &Arc<Fence>| fence.is_open(Instant::now());
        if reads || self.fence.as_ref().is_none_or(is_open) {
            API_REQUESTS.with_label_values(&[request.method().as_str()]).inc();
            Either::Left(self.inner.call(request))
        } else {
            tracing::warn!(method = %request.method(), path = request.uri().path(), "not written: this replica does not lead");
            Either::Right(ready(Err(NotLeading.into())))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use tower::ServiceExt;

    #[tokio::test]
    async fn only_reads_pass_once_the_lease_may_be_anothers() {
        let fence = Arc::new(Fence::default());
        let inner = tower::service_fn(|_: Request<()>| async { Ok::<_, BoxError>(()) });
        let client = Fenced(Some(Arc::clone(&fence))).layer(inner);
        let passes = async |method: Method| {
            let request = Request::builder().method(method).uri("/").body(()).unwrap();
            client.clone().oneshot(request).await.is_ok()
        };
        let writes = [Method::POST, Method::PUT, Method::PATCH, Method::DELETE];
        for open in [false, true, false] {
            let until = Instant::now() + Duration::from_secs(60);
            if open {
                fence.open_until(until);
                assert!(!fence.is_open(until));
            } else {
                fence.close();
            }
            assert!(passes(Method::GET).await);
            for method in &writes {
                assert_eq!(passes(method.clone()).await, open, "{method}");
            }
        }
    }
}
