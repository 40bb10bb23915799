//! When a request is counted against its limit: before anything else, but for the order of a buyer, which is counted by the script that
//! asks the gate. That saves Redis a script for each order; whatever an order is refused for before that, it is counted first.

use crate::limiter::{Count, Limiter};
use fred::error::Error;
use platform::http::problem::{Code, Problem};
use sale::limits::Verdict;
use std::sync::OnceLock;

/// A request, what it counts against, and what came of that once it was counted.
#[derive(Debug)]
pub(crate) struct Counted {
    /// Whose limit its answer tells of.
    pub(crate) first: Count,
    /// What it counts against as well.
    pub(crate) others: Vec<Count>,
    /// `None` where nobody could count it.
    verdict: OnceLock<Option<Verdict>>,
}

impl Counted {
    /// A request that is still to be counted.
    pub(crate) fn not_yet(first: Count, others: Vec<Count>) -> Self {
        Self {
            first,
            others,
            verdict: OnceLock::new(),
        }
    }

    /// Whether somebody has counted it, or tried to.
    pub(crate) fn is_done(&self) -> bool {
        self.verdict.get().is_some()
    }

    /// What came of it.
    pub(crate) fn verdict(&self) -> Option<&Verdict> {
        self.verdict.get()?.as_ref()
    }

    /// Takes note of what came of it.
    ///
    /// # Errors
    /// 429 for one request too many, 503 where Redis does not answer: nobody can count over all replicas then.
    pub(crate) fn note(&self, counted: Result<Verdict, Error>) -> Result<(), Problem> {
        let verdict = counted.inspect_err(|error| tracing::debug!(%error, "rate limits are not available"));
        match self.verdict.get_or_init(|| verdict.ok()) {
            None => Err(Problem::busy()),
            Some(verdict) if verdict.allowed() => Ok(()),
            Some(verdict) => {
                let detail = format!(
                    "At most {} requests in {} s are allowed here; try again in {} s.",
                    verdict.limit.limit,
                    verdict.limit.window_ms.div_ceil(1_000),
                    verdict.retry_after_seconds()
                );
                Err(Problem::new(Code::RateLimited, detail).retry_after(verdict.retry_after_seconds()))
            }
        }
    }

    /// Counts it, unless that is done.
    ///
    /// # Errors
    /// As [`Self::note`].
    pub(crate) async fn count(&self, limiter: &Limiter) -> Result<(), Problem> {
        match self.verdict.get() {
            Some(Some(verdict)) => self.note(Ok(*verdict)),
            Some(None) => Err(Problem::busy()),
            None => self.note(limiter.count(&self.first, &self.others).await),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sale::limits::{LimitedRoute, RateLimit};
    use std::time::Duration;

    #[test]
    fn what_came_of_a_request_is_noted_once() {
        let limit = RateLimit {
            route: LimitedRoute::Orders,
            limit: 10,
            window_ms: 60_000,
        };
        let verdict = |remaining, wait| Verdict {
            limit,
            remaining,
            retry_after: Duration::from_millis(wait),
        };
        let request = || {
            let subject = "user:ada".to_owned();
            Counted::not_yet(Count { subject, limit }, Vec::new())
        };
        let passes = request();
        assert!(!passes.is_done() && passes.verdict().is_none());
        passes.note(Ok(verdict(3, 0))).unwrap();
        passes.note(Ok(verdict(0, 1_500))).unwrap();
        assert_eq!(passes.verdict().unwrap().remaining, 3);
        let refused = request().note(Ok(verdict(0, 1_500))).unwrap_err();
        assert_eq!((refused.code, refused.retry_after), (Code::RateLimited, Some(2)));
    }
}
