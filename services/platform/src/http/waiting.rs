//! The connections that wait for their clients: for a request's head, or for the rest of its body. When all places of a
//! server are taken, the one that has waited longest makes room, so that nobody keeps others out by being slow. A request
//! that has come in whole is never given up for another.

use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use std::{
    collections::BTreeMap,
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
};
use tokio_util::sync::{CancellationToken, WaitForCancellationFuture};

/// Those of a server.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    line: Mutex<Line>,
}

#[derive(Debug, Default)]
struct Line {
    last: u64,
    /// By number, so the first has waited longest.
    connections: BTreeMap<u64, CancellationToken>,
}

impl Waiting {
    /// A connection, which waits from now on.
    pub(super) fn connection(self: &Arc<Self>) -> Turn {
        let turn = Turn {
            waiting: Arc::clone(self),
            number: AtomicU64::new(NOT_WAITING),
            gave_way: CancellationToken::new(),
        };
        turn.waits();
        turn
    }

    /// Has the one that has waited longest give way; false where none waits.
    pub(super) fn make_room(&self) -> bool {
        let longest = self.line().connections.pop_first();
        if let Some((_, gave_way)) = &longest {
            gave_way.cancel();
        }
        longest.is_some()
    }

    fn line(&self) -> std::sync::MutexGuard<'_, Line> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The numbers begin at 1.
const NOT_WAITING: u64 = 0;

/// One connection among them.
#[derive(Debug)]
pub(super) struct Turn {
    waiting: Arc<Waiting>,
    number: AtomicU64,
    gave_way: CancellationToken,
}

impl Turn {
    /// It waits for its client: for the next request, or to take the answer.
    pub(super) fn waits_again(&self) {
        // A body may have been left unread.
        if self.is_served() {
            self.waits();
        }
    }

    fn waits(&self) {
        let mut line = self.waiting.line();
        line.last += 1;
        self.number.store(line.last, Ordering::Relaxed);
        let number = line.last;
        line.connections.insert(number, self.gave_way.clone());
    }

    /// Its request has come in whole; false where it has given way a moment before.
    pub(super) fn is_served(&self) -> bool {
        match self.number.swap(NOT_WAITING, Ordering::Relaxed) {
            NOT_WAITING => !self.gave_way.is_cancelled(),
            number => self.waiting.line().connections.remove(&number).is_some(),
        }
    }

    /// Ends when it has to give way.
    pub(super) fn gives_way(&self) -> WaitForCancellationFuture<'_> {
        self.gave_way.cancelled()
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.is_served();
    }
}

/// The body of a request, which tells the connection's turn when it has come in whole.
#[derive(Debug)]
pub(super) struct Awaited {
    body: Incoming,
    turn: Arc<Turn>,
}

/// The connection was closed for another's sake.
#[derive(Debug, thiserror::Error)]
#[error("the connection has made room for another")]
pub(super) struct GaveWay;

impl Awaited {
    /// A body that may still be on its way.
    ///
    /// # Errors
    /// [`GaveWay`] where there is nothing to wait for any more, and the connection is being closed.
    pub(super) fn new(body: Incoming, turn: Arc<Turn>) -> Result<Self, GaveWay> {
        if body.is_end_stream() && !turn.is_served() {
            return Err(GaveWay);
        }
        Ok(Self { body, turn })
    }
}

impl Body for Awaited {
    type Data = Bytes;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        let is_whole = frame.is_none() || self.body.is_end_stream();
        if is_whole && !self.turn.is_served() {
            return Poll::Ready(Some(Err(GaveWay.into())));
        }
        Poll::Ready(frame.map(|frame| frame.map_err(Into::into)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gave_way(turn: &Turn) -> bool {
        turn.gave_way.is_cancelled()
    }

    #[test]
    fn who_has_waited_longest_makes_room_and_who_is_served_does_not() {
        let waiting = Arc::new(Waiting::default());
        let [first, second, third] = [waiting.connection(), waiting.connection(), waiting.connection()];
        assert!(first.is_served());
        assert!(waiting.make_room());
        assert!(gave_way(&second) && !second.is_served());
        // Served, and waiting again since a moment ago.
        first.waits_again();
        assert!(waiting.make_room());
        assert!(gave_way(&third) && !gave_way(&first));
        drop(first);
        assert!(!waiting.make_room(), "what is closed is still in the line");
    }
}
