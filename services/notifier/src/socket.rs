//! One buyer's WebSocket.

use crate::{
    hub::{Hub, Registration},
    store::{self, Notification, Store},
};
use axum::extract::ws::{CloseFrame, Message, WebSocket};
use platform::{
    backends::mongo::{self, MongoError},
    clock::Clock,
    http::handshake::{RESTART, SEND_DEADLINE},
    tokens::Identity,
    traces::{Span, SpanKind},
};
use sale::{UserId, order::FailureReason};
use serde::Serialize;
use std::{collections::HashSet, sync::Arc, time::Duration};
use tokio_util::sync::CancellationToken;

/// How often the client is pinged.
pub const PING_EVERY: Duration = Duration::from_secs(20);
/// How long a client may be silent: two pings.
const SILENCE: Duration = Duration::from_secs(45);
/// Frames that a client may send between two pings of ours: answers to them, pings of its own, and goodbye.
const FRAMES_BETWEEN_PINGS: u32 = 60;
/// Close codes (RFC 6455, 7.4; those from 4000 on are ours).
mod close {
    pub(super) const NO_BINARY: u16 = 1003;
    pub(super) const POLICY: u16 = 1008;
    pub(super) const TRY_AGAIN: u16 = 1013;
    pub(super) const TOKEN_EXPIRED: u16 = 4401;
    pub(super) const REPLACED: u16 = 4409;
}

/// What a client is sent.
#[derive(Debug, Serialize)]
struct Frame<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    data: Data<'a>,
    id: &'a str,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Data<'a> {
    order_id: &'a str,
    status: &'static str,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<FailureReason>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hold_expires_at: Option<String>,
    created_at: String,
}

/// The first frame: how much was missed. It has no id, since it is no update that a client could name as seen.
#[derive(Debug, Serialize)]
struct Hello<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    data: Missed<'a>,
}

#[derive(Debug, Serialize)]
struct Missed<'a> {
    /// Updates that follow at once.
    missed: usize,
    /// Whether there are older ones, which only the list has.
    more: bool,
    /// The newest id that there is: a client that has seen it is up to date.
    newest: Option<&'a str>,
}

/// The text of the first frame.
fn hello(missed: usize, more: bool, newest: Option<&str>) -> String {
    let hello = Hello {
        kind: "hello",
        data: Missed { missed, more, newest },
    };
    serde_json::to_string(&hello).unwrap_or_default()
}

/// The text of a notification's frame.
pub fn frame(notification: &Notification) -> String {
    let frame = Frame {
        kind: "order.update",
        data: Data {
            order_id: notification.order_id.as_str(),
            status: notification.status.as_str(),
            message: &notification.message,
            reason: notification.reason,
            hold_expires_at: notification
                .hold_expires_at
                .and_then(|at| at.try_to_rfc3339_string().ok()),
            created_at: notification
                .created_at
                .try_to_rfc3339_string()
                .unwrap_or_default(),
        },
        id: &notification.id,
    };
    serde_json::to_string(&frame).unwrap_or_default()
}

/// What a socket works with.
#[derive(Debug, Clone)]
pub struct Session {
    /// Whose it is.
    pub identity: Identity,
    /// The last id that the client has seen.
    pub after: Option<String>,
    /// Notifications.
    pub store: Store,
    /// Sockets of this process.
    pub hub: Arc<Hub>,
    /// The clock that tokens expire by.
    pub clock: Clock,
    /// Cancelled when the process ends.
    pub stop: CancellationToken,
}

/// Why a socket ends.
#[derive(Debug, PartialEq, Eq)]
enum End {
    Gone,
    Close(u16, &'static str),
}

/// The end of the oldest socket of a user who opened one too many.
const REPLACED: End = End::Close(
    close::REPLACED,
    "a newer connection of yours took this one's place",
);

/// Gives a socket's place back, however its task ends.
struct Leaves {
    user: UserId,
    id: u64,
    hub: Arc<Hub>,
}

impl Drop for Leaves {
    fn drop(&mut self) {
        self.hub.leave(&self.user, self.id);
    }
}

impl Session {
    /// Serves a socket to its end.
    pub async fn serve(self, mut socket: WebSocket, registration: Registration) {
        let _leaves = Leaves {
            user: self.identity.user.clone(),
            id: registration.id,
            hub: Arc::clone(&self.hub),
        };
        if let End::Close(code, reason) = self.converse(&mut socket, registration).await {
            let close = Message::Close(Some(CloseFrame {
                code,
                reason: reason.into(),
            }));
            let _gone = tokio::time::timeout(SEND_DEADLINE, socket.send(close)).await;
        }
    }

    async fn converse(self, socket: &mut WebSocket, mut registration: Registration) -> End {
        // In a box, which goes: what it needs would be kept for as long as the socket is open, and most sockets only wait.
        let mut sent = match Box::pin(self.greet(socket, &registration)).await {
            Ok(sent) => sent,
            Err(end) => return end,
        };
        registration.recent = Vec::new();
        let mut ping = tokio::time::interval(PING_EVERY);
        let mut heard = tokio::time::Instant::now();
        let mut frames = 0;
        loop {
            tokio::select! {
                () = registration.replaced.cancelled() => return REPLACED,
                () = self.stop.cancelled() => return End::Close(RESTART.0, RESTART.1),
                pushed = registration.pushes.recv() => match pushed {
                    // The hub forgets a socket that it replaces, so both may be seen first.
                    None if registration.replaced.is_cancelled() => return REPLACED,
                    None => return End::Close(close::TRY_AGAIN, "updates were missed; connect again"),
                    Some(notification) => {
                        if sent.len() > 1_000 {
                            sent.clear();
                        }
                        if sent.insert(notification.id.clone()) && tell(socket, &notification).await.is_err() {
                            return End::Gone;
                        }
                    }
                },
                received = socket.recv() => match received {
                    Some(Ok(Message::Close(_)) | Err(_)) | None => return End::Gone,
                    Some(Ok(message)) => {
                        heard = tokio::time::Instant::now();
                        frames += 1;
                        if let Some(end) = objection(&message, frames) {
                            return end;
                        }
                    }
                },
                _ = ping.tick() => {
                    frames = 0;
                    if self.clock.now() >= self.identity.expires_at {
                        return End::Close(close::TOKEN_EXPIRED, "the access token has expired");
                    }
                    if heard.elapsed() > SILENCE {
                        return End::Gone;
                    }
                    let sent = tokio::time::timeout(SEND_DEADLINE, socket.send(Message::Ping(Vec::new().into())));
                    if !matches!(sent.await, Ok(Ok(()))) {
                        return End::Gone;
                    }
                }
            }
        }
    }

    /// Sends what was missed, and says of which updates that was.
    async fn greet(
        &self,
        socket: &mut WebSocket,
        registration: &Registration,
    ) -> Result<HashSet<String>, End> {
        let mut sent = HashSet::new();
        // Registered first, read second: whatever happens in between comes twice and is sent once.
        let unknown = |_error| End::Close(close::TRY_AGAIN, "the store does not answer");
        let missed = self.missed().await.map_err(unknown)?;
        let read = self.read_among(&registration.recent).await.map_err(unknown)?;
        let recent = registration
            .recent
            .iter()
            .filter(|recent| !read.contains(&recent.id))
            .map(Arc::as_ref);
        // The one that it has named it has seen for certain.
        let new: Vec<&Notification> = missed
            .notifications
            .iter()
            .chain(recent)
            .filter(|new| self.after.as_ref() != Some(&new.id) && sent.insert(new.id.clone()))
            .collect();
        // What was pushed and is not stored yet is newer than all that is.
        let unstored = new.last().filter(|new| new.stored.is_none());
        let newest = unstored.map(|new| new.id.as_str()).or(missed.newest.as_deref());
        let hello = hello(new.len(), missed.more, newest);
        say(socket, hello).await.map_err(|()| End::Gone)?;
        for notification in new {
            tell(socket, notification).await.map_err(|()| End::Gone)?;
        }
        Ok(sent)
    }

    /// Which of these the user has marked as read: nobody wants to hear of them again.
    async fn read_among(&self, recent: &[Arc<Notification>]) -> Result<HashSet<String>, MongoError> {
        if recent.is_empty() {
            return Ok(HashSet::new());
        }
        let (store, user) = (self.store.clone(), self.identity.user.clone());
        let ids: Vec<String> = recent
            .iter()
            .map(|notification| notification.id.clone())
            .collect();
        mongo::detached(async move {
            let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
            store.read_among(&user, &ids).await.map_err(MongoError::from)
        })
        .await
    }

    async fn missed(&self) -> Result<store::Missed, MongoError> {
        let (store, user, after) = (self.store.clone(), self.identity.user.clone(), self.after.clone());
        mongo::detached(async move {
            store
                .missed(&user, after.as_deref())
                .await
                .map_err(MongoError::from)
        })
        .await
    }
}

/// Why a client may not go on after this frame. It has nothing to say; some send the word ping to stay awake.
fn objection(message: &Message, frames: u32) -> Option<End> {
    match message {
        Message::Binary(_) => Some(End::Close(
            close::NO_BINARY,
            "this connection takes no data from you",
        )),
        Message::Text(text) if text.as_str() != "ping" => Some(End::Close(
            close::POLICY,
            "this connection takes no data from you",
        )),
        _ if frames > FRAMES_BETWEEN_PINGS => Some(End::Close(close::POLICY, "too many frames")),
        _ => None,
    }
}

/// Sends a notification's frame, which is the end of its order's trace.
async fn tell(socket: &mut WebSocket, notification: &Notification) -> Result<(), ()> {
    let traceparent = notification.traceparent.as_deref();
    // What comes out of the store has no trace to be in.
    let mut span = match traceparent {
        Some(_) => Span::start(SpanKind::Producer, traceparent, || "send order.update"),
        None => Span::default(),
    };
    if span.is_recorded() {
        span.set("messaging.system", "websocket");
        span.set("messaging.operation.type", "send");
        span.set("messaging.operation.name", "send");
        span.set("messaging.message.id", notification.id.clone());
        span.set("quicksale.order.id", notification.order_id.to_string());
    }
    let told = say(socket, frame(notification)).await;
    if told.is_err() {
        span.set("error.type", "socket_gone");
        span.fail("the socket is gone");
    }
    told
}

async fn say(socket: &mut WebSocket, text: String) -> Result<(), ()> {
    let sending = socket.send(Message::Text(text.into()));
    match tokio::time::timeout(SEND_DEADLINE, sending).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) | Err(_) => Err(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_frame_says_what_was_missed() {
        let text = hello(3, true, Some("7"));
        assert_eq!(
            text,
            r#"{"type":"hello","data":{"missed":3,"more":true,"newest":"7"}}"#
        );
        assert!(hello(0, false, None).ends_with(r#""newest":null}}"#));
    }

    #[test]
    fn a_client_has_nothing_to_say() {
        let close = |message: Message, frames| match objection(&message, frames) {
            Some(End::Close(code, _)) => Some(code),
            Some(End::Gone) | None => None,
        };
        assert_eq!(close(Message::Ping(Vec::new().into()), 1), None);
        assert_eq!(close(Message::Pong(Vec::new().into()), 1), None);
        assert_eq!(close(Message::Text("ping".into()), 1), None);
        assert_eq!(close(Message::Text("hello".into()), 1), Some(1008));
        assert_eq!(close(Message::Binary(vec![1].into()), 1), Some(1003));
        assert_eq!(close(Message::Pong(Vec::new().into()), 61), Some(1008));
    }
}
