//! A connection that waits only so long for its client: for a request's head once its first byte is there, and for
//! the client to take what is written to it. hyper itself bounds how long a connection may be idle.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep, sleep_until},
};

/// What is going on with a connection, as its requests tell it.
#[derive(Debug, Default)]
pub(super) struct Activity {
    requests: AtomicU64,
    busy: AtomicBool,
    upgraded: AtomicBool,
}

impl Activity {
    /// A head has been read to its end.
    pub(super) fn begin(&self) {
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.busy.store(true, Ordering::Relaxed);
    }

    /// The request has its answer.
    pub(super) fn answered(&self) {
        self.busy.store(false, Ordering::Relaxed);
    }

    /// The connection speaks another protocol from here on.
    pub(super) fn upgraded(&self) {
        self.upgraded.store(true, Ordering::Relaxed);
    }

    fn is_upgraded(&self) -> bool {
        self.upgraded.load(Ordering::Relaxed)
    }

    /// The number of the request whose head is awaited, if one is.
    fn awaited(&self) -> Option<u64> {
        let between = !self.busy.load(Ordering::Relaxed) && !self.is_upgraded();
        between.then(|| self.requests.load(Ordering::Relaxed))
    }
}

/// A stream with deadlines.
#[derive(Debug)]
pub(super) struct Patient<S> {
    stream: S,
    activity: Arc<Activity>,
    for_head: Duration,
    for_writes: Duration,
    /// Which request's head has begun to come in, and when.
    head: Option<(u64, Instant)>,
    head_timer: Option<Pin<Box<Sleep>>>,
    write_timer: Option<Pin<Box<Sleep>>>,
}

impl<S> Patient<S> {
    /// Wraps a new connection; its first head is awaited from now on.
    pub(super) fn new(stream: S, activity: Arc<Activity>, for_head: Duration, for_writes: Duration) -> Self {
        Self {
            stream,
            activity,
            for_head,
            for_writes,
            head: Some((0, Instant::now())),
            head_timer: None,
            write_timer: None,
        }
    }

    fn bytes_came(&mut self) {
        // While the client does not take its answer, it is that deadline which counts.
        if self.write_timer.is_some() {
            return;
        }
        if let Some(awaited) = self.activity.awaited()
            && self.head.is_none_or(|(request, _)| request != awaited)
        {
            self.head = Some((awaited, Instant::now()));
            self.head_timer = None;
        }
    }

    /// Whether the head that is coming in has taken too long.
    fn head_is_late(&mut self, cx: &mut Context<'_>) -> bool {
        match self.head {
            Some((request, since)) if self.activity.awaited() == Some(request) => {
                let deadline = since + self.for_head;
                let timer = self
                    .head_timer
                    .get_or_insert_with(|| Box::pin(sleep_until(deadline)));
                timer.as_mut().poll(cx).is_ready()
            }
            _ => {
                self.head_timer = None;
                false
            }
        }
    }

    fn after_write<T>(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        match written {
            Poll::Pending => {
                let deadline = self.for_writes;
                let timer = self
                    .write_timer
                    .get_or_insert_with(|| Box::pin(tokio::time::sleep(deadline)));
                if timer.as_mut().poll(cx).is_ready() {
                    return Poll::Ready(Err(late("taking its answer")));
                }
                Poll::Pending
            }
            written => {
                // An answer must be taken whole within the deadline, a byte now and then is not enough; what
                // another protocol writes has no end that could be waited for.
                if self.activity.is_upgraded() {
                    self.write_timer = None;
                }
                written
            }
        }
    }
}

fn late(what: &str) -> io::Error {
    io::Error::new(
        io::ErrorKind::TimedOut,
        format!("the client took too long in {what}"),
    )
}

impl<S: AsyncRead + Unpin> AsyncRead for Patient<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match Pin::new(&mut self.stream).poll_read(cx, buf) {
            Poll::Ready(read) => {
                self.bytes_came();
                Poll::Ready(read)
            }
            Poll::Pending if self.head_is_late(cx) => Poll::Ready(Err(late("sending a request's head"))),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Patient<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.after_write(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.after_write(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        if flushed.is_ready() {
            self.write_timer = None;
        }
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
