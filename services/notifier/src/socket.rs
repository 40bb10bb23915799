//! One buyer's WebSocket.

use crate::{
    hub::{Hub, Registration},
    store::{Notification, Store},
};
use axum::extract::ws::{CloseFrame, Message, WebSocket};
use platform::{
    backends::mongo::{self, MongoError},
    clock::Clock,
    tokens::Identity,
};
use serde::Serialize;
use std::{collections::HashSet, sync::Arc, time::Duration};
use tokio_util::sync::CancellationToken;

/// How often the client is pinged.
const PING_EVERY: Duration = Duration::from_secs(20);
/// How long a client may be silent: two pings.
const SILENCE: Duration = Duration::from_secs(45);
/// How long a frame may take to be sent.
const SEND_DEADLINE: Duration = Duration::from_secs(10);
/// Close codes (RFC 6455, 7.4; those from 4000 on are ours).
mod close {
    pub(super) const RESTART: u16 = 1012;
    pub(super) const TRY_AGAIN: u16 = 1013;
    pub(super) const TOKEN_EXPIRED: u16 = 4401;
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
}

/// The text of a notification's frame.
pub fn frame(notification: &Notification) -> String {
    let frame = Frame {
        kind: "order.update",
        data: Data {
            order_id: notification.order_id.as_str(),
            status: notification.status.as_str(),
            message: &notification.message,
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
enum End {
    Gone,
    Close(u16, &'static str),
}

impl Session {
    /// Serves a socket to its end.
    pub async fn serve(self, mut socket: WebSocket, registration: Registration) {
        let (user, id) = (self.identity.user.clone(), registration.id);
        let hub = Arc::clone(&self.hub);
        if let End::Close(code, reason) = self.converse(&mut socket, registration).await {
            let close = Message::Close(Some(CloseFrame {
                code,
                reason: reason.into(),
            }));
            let _gone = tokio::time::timeout(SEND_DEADLINE, socket.send(close)).await;
        }
        hub.leave(&user, id);
    }

    async fn converse(self, socket: &mut WebSocket, mut registration: Registration) -> End {
        let mut sent = HashSet::new();
        // Registered first, read second: whatever happens in between comes twice and is sent once.
        let Ok(missed) = self.missed().await else {
            return End::Close(close::TRY_AGAIN, "the store does not answer");
        };
        for notification in missed.iter().chain(&registration.recent) {
            let seen = self.after.as_ref().is_some_and(|after| notification.id <= *after);
            if !seen && sent.insert(notification.id.clone()) && send(socket, notification).await.is_err() {
                return End::Gone;
            }
        }
        let mut ping = tokio::time::interval(PING_EVERY);
        let mut heard = tokio::time::Instant::now();
        loop {
            tokio::select! {
                () = self.stop.cancelled() => return End::Close(close::RESTART, "restarting; connect again"),
                pushed = registration.pushes.recv() => match pushed {
                    None => return End::Close(close::TRY_AGAIN, "updates were missed; connect again"),
                    Some(notification) => {
                        if sent.len() > 1_000 {
                            sent.clear();
                        }
                        if sent.insert(notification.id.clone()) && send(socket, &notification).await.is_err() {
                            return End::Gone;
                        }
                    }
                },
                received = socket.recv() => match received {
                    Some(Ok(Message::Close(_)) | Err(_)) | None => return End::Gone,
                    Some(Ok(_)) => heard = tokio::time::Instant::now(),
                },
                _ = ping.tick() => {
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

    async fn missed(&self) -> Result<Vec<Notification>, MongoError> {
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

async fn send(socket: &mut WebSocket, notification: &Notification) -> Result<(), ()> {
    let sending = socket.send(Message::Text(frame(notification).into()));
    match tokio::time::timeout(SEND_DEADLINE, sending).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) | Err(_) => Err(()),
    }
}
