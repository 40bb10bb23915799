//! Work that does not get in its own way.

use super::{MongoError, detached};
use std::{future::Future, sync::Arc, time::Duration};
use tokio::sync::Semaphore;

/// How long a piece keeps the next one out: by then the server has ended its transaction, and what it waits for is a connection that has
/// been lost without a word.
const AT_LAST: Duration = Duration::from_secs(60);

/// A kind of work that comes again and again, of which a process does one piece at a time.
///
/// What takes longer than anybody waits for it goes on all the same ([`detached`]). Where the next piece begins beside it, both write the
/// same documents, and so does the one after that: each makes the others run again, and none comes to its end.
#[derive(Debug, Clone)]
pub struct OneAtATime(Arc<Semaphore>);

impl Default for OneAtATime {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(1)))
    }
}

impl OneAtATime {
    /// Does it like [`detached`], unless the last piece goes on, for a minute at the most.
    ///
    /// # Errors
    /// [`MongoError::StillAtWork`], and those of [`detached`].
    pub async fn detached<T, E, F>(&self, work: F) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<MongoError> + Send + 'static,
        F: Future<Output = Result<T, E>> + Send + 'static,
    {
        let place = Arc::clone(&self.0)
            .try_acquire_owned()
            .map_err(|_| MongoError::StillAtWork)?;
        detached(async move {
            let _until_it_has_ended = place;
            match tokio::time::timeout(AT_LAST, tokio::spawn(work)).await {
                Ok(Ok(result)) => result,
                Ok(Err(panicked)) => Err(MongoError::Panicked(panicked.to_string()).into()),
                Err(_) => Err(MongoError::Deadline(AT_LAST).into()),
            }
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::sync::oneshot;

    #[tokio::test]
    async fn a_round_that_nobody_waits_for_any_more_keeps_the_next_one_out() {
        let rounds = OneAtATime::default();
        let (end, ended) = oneshot::channel::<()>();
        let first = rounds.detached(async move {
            ended.await.unwrap();
            Ok::<_, MongoError>(1)
        });
        let no_more = tokio::time::timeout(Duration::from_millis(20), first).await;
        assert!(no_more.is_err(), "{no_more:?}");
        let next = || rounds.detached(async { Ok::<_, MongoError>(2) });
        assert!(matches!(next().await, Err(MongoError::StillAtWork)));
        end.send(()).unwrap();
        while matches!(next().await, Err(MongoError::StillAtWork)) {
            tokio::task::yield_now().await;
        }
        assert_eq!(next().await.unwrap(), 2);
    }
}
