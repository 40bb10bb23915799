//! Work that goes on when nobody waits for it any more. It costs no task while somebody does, which is nearly always.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};
use tokio::runtime::Handle;

type Work<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Work that is brought to its end, in a task of its own once it is dropped.
pub(crate) struct ToItsEnd<T: Send + 'static>(Option<Work<T>>);

impl<T: Send + 'static> ToItsEnd<T> {
    /// Some work. It begins when it is waited for.
    pub(crate) fn of(work: impl Future<Output = T> + Send + 'static) -> Self {
        Self(Some(Box::pin(work)))
    }
}

impl<T: Send + 'static> Future for ToItsEnd<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        let Some(work) = &mut self.0 else {
            return Poll::Pending;
        };
        let polled = work.as_mut().poll(context);
        if polled.is_ready() {
            self.0 = None;
        }
        polled
    }
}

impl<T: Send + 'static> Drop for ToItsEnd<T> {
    fn drop(&mut self) {
        // Where there is no runtime any more the process is over, and its work with it. Work that has panicked has no end.
        if let (Some(work), Ok(runtime), false) =
            (self.0.take(), Handle::try_current(), std::thread::panicking())
        {
            runtime.spawn(async move { drop(work.await) });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use tokio::sync::{Notify, oneshot};

    #[tokio::test]
    async fn work_that_is_waited_for_gives_its_result() {
        assert_eq!(ToItsEnd::of(async { 7 }).await, 7);
    }

    #[tokio::test]
    async fn work_goes_on_without_those_who_have_waited_for_it() {
        let (go_on, (done, is_done)) = (Arc::new(Notify::new()), oneshot::channel());
        let wait = Arc::clone(&go_on);
        let mut work = Box::pin(ToItsEnd::of(async move {
            wait.notified().await;
            done.send(()).unwrap();
        }));
        assert!(futures::poll!(&mut work).is_pending());
        drop(work);
        go_on.notify_one();
        is_done.await.unwrap();
    }
}
