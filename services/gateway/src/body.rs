//! Reads the bodies of requests into memory, of which all that are under way together have so much.

use axum::{
    body::Body,
    extract::Request,
    http::{HeaderValue, header, request::Parts},
};
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use platform::http::{
    problem::{Code, Problem},
    server::MAX_BODY_BYTES,
};
use std::{sync::Arc, time::Duration};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// How long a body may take to come.
const COMES_WITHIN: Duration = Duration::from_secs(10);
/// What every body may take, in bytes: orders and logins are smaller, so they are read however many large ones there are.
const FREE: usize = 4 * 1024;
/// What all bodies may take beyond that, in bytes: an eighth of the usual memory limit.
const ROOM: usize = 32 * 1024 * 1024;
/// How much of a body that is not taken is read and thrown away, and for how long: whoever is still sending when the
/// connection closes may never see the answer.
const DRAINED_BYTES: usize = 4 * 1024 * 1024;
const DRAINED_FOR: Duration = Duration::from_secs(2);

/// The memory that bodies share.
#[derive(Debug, Clone)]
pub(crate) struct Bodies {
    room: Arc<Semaphore>,
}

/// A request whose body is here. Its room is free again when this goes.
#[derive(Debug)]
pub(crate) struct Whole {
    pub(crate) parts: Parts,
    pub(crate) body: Bytes,
    /// Kept until the body is no longer needed.
    pub(crate) room: Option<OwnedSemaphorePermit>,
}

/// Why a body is not taken.
#[derive(Debug, Clone, Copy)]
enum NotTaken {
    TooLarge,
    NoRoom,
    BrokenOff,
}

impl Bodies {
    pub(crate) fn new() -> Self {
        Self::with_room(ROOM)
    }

    fn with_room(bytes: usize) -> Self {
        Self {
            room: Arc::new(Semaphore::new(bytes)),
        }
    }

    /// Reads a request's body: nothing of a body that is too large reaches a service.
    ///
    /// # Errors
    /// 413 for a body that is too large, 400 for one that breaks off, 503 where there is no room for a large one now.
    pub(crate) async fn read(&self, request: Request) -> Result<Whole, Problem> {
        let (parts, mut body) = request.into_parts();
        let announced = parts
            .headers
            .get(header::CONTENT_LENGTH)
            .and_then(|v| v.to_str().ok()?.parse::<usize>().ok());
        let read = match announced {
            Some(length) if length > MAX_BODY_BYTES => Err(NotTaken::TooLarge),
            _ => tokio::time::timeout(COMES_WITHIN, self.collect(&mut body))
                .await
                .unwrap_or(Err(NotTaken::BrokenOff)),
        };
        let mut problem = match read {
            Ok((body, room)) => return Ok(Whole { parts, body, room }),
            Err(NotTaken::BrokenOff) => return Err(Problem::field("body", "could not be read to its end")),
            Err(NotTaken::NoRoom) => Problem::busy(),
            Err(NotTaken::TooLarge) => Problem::new(
                Code::PayloadTooLarge,
                "The body is larger than this route takes (64 KiB).",
            ),
        };
        // Not all of the body may have been read, so the connection is of no use to anybody.
        let close = (header::CONNECTION, HeaderValue::from_static("close"));
        problem.headers.push(close);
        let _as_far_as_it_goes = tokio::time::timeout(DRAINED_FOR, drain(body)).await;
        Err(problem)
    }

    async fn collect(&self, body: &mut Body) -> Result<(Bytes, Option<OwnedSemaphorePermit>), NotTaken> {
        let mut whole = BytesMut::new();
        let mut room: Option<OwnedSemaphorePermit> = None;
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|_| NotTaken::BrokenOff)?;
            let Some(data) = frame.data_ref() else { continue };
            let length = whole.len() + data.len();
            if length > MAX_BODY_BYTES {
                return Err(NotTaken::TooLarge);
            }
            let taken = room.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
            let more = length.saturating_sub(FREE + taken);
            if more > 0 {
                let more = u32::try_from(more).map_err(|_| NotTaken::TooLarge)?;
                let more = Arc::clone(&self.room).try_acquire_many_owned(more);
                let more = more.map_err(|_| NotTaken::NoRoom)?;
                match &mut room {
                    Some(room) => room.merge(more),
                    None => room = Some(more),
                }
            }
            // Copied: a frame of one byte would keep the whole buffer that it came in.
            whole.extend_from_slice(data);
        }
        Ok((whole.freeze(), room))
    }
}

async fn drain(mut body: Body) {
    let mut thrown_away = 0;
    while let Some(Ok(frame)) = body.frame().await {
        thrown_away += frame.data_ref().map_or(0, Bytes::len);
        if thrown_away > DRAINED_BYTES {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::{StreamExt, stream};
    use std::convert::Infallible;

    /// In chunks, so that nobody knows beforehand how long it is.
    fn request(bytes: usize) -> Request {
        let whole = vec![b'x'; bytes];
        let chunks: Vec<_> = whole.chunks(1_000).map(Bytes::copy_from_slice).collect();
        Request::new(Body::from_stream(stream::iter(chunks).map(Ok::<_, Infallible>)))
    }

    #[tokio::test]
    async fn large_bodies_share_their_room_and_small_ones_need_none() {
        let bodies = Bodies::with_room(100_000);
        let read = |bytes| bodies.read(request(bytes));
        let held = read(MAX_BODY_BYTES).await.unwrap();
        assert_eq!(held.body.len(), MAX_BODY_BYTES);
        let refused = read(MAX_BODY_BYTES).await.unwrap_err();
        assert_eq!(refused.code, Code::Busy);
        assert_eq!(
            refused.headers,
            [(header::CONNECTION, HeaderValue::from_static("close"))]
        );
        let mut small = Vec::new();
        for _ in 0..100 {
            small.push(read(FREE).await.unwrap());
        }
        drop(held);
        let again = read(MAX_BODY_BYTES).await.unwrap();
        drop((again, small));
        assert_eq!(
            bodies.room.available_permits(),
            100_000,
            "all of it is free again"
        );
    }

    #[tokio::test]
    async fn what_is_refused_or_given_up_keeps_no_room() {
        let bodies = Bodies::with_room(100_000);
        let refused = bodies.read(request(MAX_BODY_BYTES + 1)).await.unwrap_err();
        assert_eq!(refused.code, Code::PayloadTooLarge);
        let begun =
            stream::iter([Ok::<_, Infallible>(Bytes::from(vec![b'x'; 60_000]))]).chain(stream::pending());
        let never_ends = bodies.read(Request::new(Body::from_stream(begun)));
        let given_up = tokio::time::timeout(Duration::from_millis(20), never_ends).await;
        assert!(given_up.is_err());
        assert_eq!(bodies.room.available_permits(), 100_000);
    }

    #[tokio::test]
    async fn a_body_that_breaks_off_is_the_clients_mistake() {
        let broken = stream::iter([Ok(Bytes::from_static(b"{")), Err(std::io::Error::other("gone"))]);
        let problem = Bodies::new()
            .read(Request::new(Body::from_stream(broken)))
            .await
            .unwrap_err();
        assert_eq!(problem.code, Code::InvalidRequest);
    }
}
