//! The HTTP API of the notifier: the WebSocket and the list of notifications.

use crate::{
    hub::Hub,
    networks::{Networks, Refusal},
    pace::Pace,
    socket::Session,
    store::{Notification, Store},
    tickets::{self, TicketError, Tickets},
};
use axum::{
    Router,
    extract::{ConnectInfo, FromRef, RawQuery, State, WebSocketUpgrade},
    http::{HeaderMap, StatusCode, header},
    response::Response,
    routing::{get, patch, post},
};
use jiff::Timestamp;
use platform::{
    backends::mongo::{self, MongoError},
    clock::Clock,
    http::{
        Json, Path, Query,
        authorization::{Authority, Caller},
        client_address,
        handshake::{self, Pass},
        page::{Page, PageQuery},
        problem::{Code, Problem},
    },
    tokens::Identity,
};
use sale::{UserId, order::FailureReason};
use serde::{Deserialize, Serialize};
use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio_util::sync::CancellationToken;
use utoipa::{IntoParams, OpenApi, ToSchema};

/// The most bytes that a client may send in one frame, and in all frames of a message: it has nothing to say.
const MOST_FRAME_BYTES: usize = 4_096;
/// Handshakes and tickets of a user in a minute.
pub const MOST_IN_A_MINUTE: u32 = 60;

/// What the routes work with.
#[derive(Debug, Clone)]
pub struct Notifier {
    /// Notifications.
    pub store: Store,
    /// Sockets of this process.
    pub hub: Arc<Hub>,
    /// Tickets for sockets.
    pub tickets: Tickets,
    /// How often each user has tried.
    pub pace: Arc<Pace<UserId>>,
    /// What each network has.
    pub networks: Arc<Networks>,
    /// Origins whose pages may open a socket.
    pub origins: Arc<Vec<String>>,
    /// Verifies tokens.
    pub authority: Authority,
    /// The clock.
    pub clock: Clock,
    /// Cancelled when the process ends.
    pub stop: CancellationToken,
}

impl FromRef<Notifier> for Authority {
    fn from_ref(notifier: &Notifier) -> Self {
        notifier.authority.clone()
    }
}

/// The routes. The socket answers on `/ws` (through a gateway or ingress) and on `/` (on the service's own port).
pub fn router(notifier: Notifier) -> Router {
    Router::new()
        .route("/", get(connect))
        .route("/ws", get(connect))
        .route("/api/ws-ticket", post(ticket))
        .route("/api/notifications", get(list))
        .route("/api/notifications/{id}/read", patch(read))
        .route("/api/notifications/read-all", post(read_all))
        .with_state(notifier)
}

#[derive(OpenApi)]
#[openapi(paths(connect, ticket, list, read, read_all))]
struct Api;

/// The routes as an OpenAPI document.
pub fn openapi() -> utoipa::openapi::OpenApi {
    Api::openapi()
}

/// The tokens are read by [`handshake::pass`]; they stand here to be known and described.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[expect(dead_code, reason = "read from the whole query")]
struct ConnectQuery {
    /// A ticket of POST /api/ws-ticket; a browser cannot set headers on a WebSocket.
    ticket: Option<String>,
    /// The access token, where there is no ticket. Whatever stands between may write it into its log.
    token: Option<String>,
    /// The id of the last update seen: all later ones are sent first.
    #[param(pattern = "^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$")]
    last_event_id: Option<String>,
}

/// A WebSocket with `{"type":"order.update","data":{orderId,status,message,reason?,holdExpiresAt?,createdAt},"id"}` for each change of your orders.
#[utoipa::path(get, path = "/ws", tag = "notifications", params(ConnectQuery),
    security(("bearer" = []), ("ticket" = []), ("token" = [])),
    responses((status = 101, description = "The WebSocket"),
              (status = 403, body = Problem, description = "forbidden: the page's origin is not among corsOrigins"),
              (status = 503, body = Problem, description = "busy: there are as many sockets as this process takes")))]
async fn connect(
    State(notifier): State<Notifier>,
    Query(query): Query<ConnectQuery>,
    RawQuery(raw): RawQuery,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
    upgrade: Result<WebSocketUpgrade, axum::extract::ws::rejection::WebSocketUpgradeRejection>,
) -> Result<Response, Problem> {
    if !handshake::origin_may_connect(&headers, &notifier.origins) {
        return Err(Problem::new(
            Code::Forbidden,
            "Pages of this origin may not connect; see corsOrigins.",
        ));
    }
    let now = notifier.clock.now();
    let after = query.last_event_id.map(|id| event_id(id, now)).transpose()?;
    let pass = handshake::pass(&headers, raw.as_deref()).ok_or_else(|| {
        Problem::unauthenticated(
            "Pass a ticket of POST /api/ws-ticket as ?ticket=, or the access token as ?token= or in the \
             Authorization header.",
        )
    })?;
    let upgrade = upgrade.map_err(|error| Problem::field("Upgrade", error.body_text()))?;
    // Before anything is looked up for it.
    let forwarded_for = client_address::forwarded_for(&headers);
    let network = notifier.networks.of(peer.ip(), forwarded_for.as_deref());
    let place = notifier
        .networks
        .enter(network, Instant::now())
        .map_err(|refusal| match refusal {
            Refusal::Wait(seconds) => too_often(seconds),
            Refusal::Full => Problem::busy(),
        })?;
    let identity = notifier.identify(pass).await?;
    let registration = notifier.hub.register(&identity.user).ok_or_else(Problem::busy)?;
    let (user, id, hub) = (identity.user.clone(), registration.id, Arc::clone(&notifier.hub));
    let session = Session {
        identity,
        after,
        store: notifier.store,
        hub: Arc::clone(&notifier.hub),
        clock: notifier.clock,
        stop: notifier.stop,
    };
    // Small buffers: axum's own cost 133 KiB for each socket, and an update has a few hundred bytes.
    Ok(upgrade
        .read_buffer_size(1_024)
        .write_buffer_size(0)
        .max_write_buffer_size(65_536)
        // Both: a frame is read whole before the bound on messages is looked at.
        .max_frame_size(MOST_FRAME_BYTES)
        .max_message_size(MOST_FRAME_BYTES)
        .on_failed_upgrade(move |_error| hub.leave(&user, id))
        .on_upgrade(async move |socket| {
            session.serve(socket, registration).await;
            drop(place);
        }))
}

/// How far the clock that made an id may be ahead of ours.
const AHEAD: Duration = Duration::from_secs(10 * 60);

/// The id of an update: UUIDv7. Whatever sorts after all of them would leave every update out in silence.
fn event_id(text: String, now: Timestamp) -> Result<String, Problem> {
    let latest = (now + AHEAD).as_second();
    let is_ours = |id: &uuid::Uuid| {
        let made_at = id.get_timestamp().map(|at| at.to_unix().0);
        id.get_version_num() == 7 && made_at.is_some_and(|at| i64::try_from(at).is_ok_and(|at| at <= latest))
    };
    match uuid::Uuid::try_parse(&text) {
        Ok(id) if id.to_string() == text && is_ours(&id) => Ok(text),
        _ => Err(Problem::field(
            "lastEventId",
            "is no id of an update; leave it out to get what is unread",
        )),
    }
}

impl Notifier {
    /// Who opens a socket. Each user is let in so often in a minute, and is counted before the database is asked
    /// anything for them; a ticket tells only there whose it is.
    async fn identify(&self, pass: Pass<'_>) -> Result<Identity, Problem> {
        let identity = match pass {
            Pass::Token(token) => self.authority.identify(token)?,
            Pass::Ticket(ticket) => {
                let redeemed = self.tickets.redeem(ticket, self.clock.now()).await;
                redeemed.map_err(|error| match error {
                    TicketError::NotGood => Problem::unauthenticated(
                        "The ticket was used before or is too old; ask POST /api/ws-ticket for a new one.",
                    ),
                    TicketError::Store(error) => busy(&error),
                    TicketError::Busy => Problem::busy(),
                })?
            }
        };
        self.keep_pace(&identity.user)?;
        Ok(identity)
    }

    fn keep_pace(&self, user: &UserId) -> Result<(), Problem> {
        self.pace.count(user, Instant::now()).map_err(too_often)
    }
}

fn too_often(seconds: u64) -> Problem {
    let detail = format!("You have connected too often; try again in {seconds} s.");
    Problem::new(Code::RateLimited, detail).retry_after(seconds)
}

/// A ticket.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Issued {
    /// For /ws?ticket=, once.
    ticket: String,
    /// Seconds for which it is good.
    expires_in: u64,
}

/// A ticket that opens one WebSocket as you, for browsers: an access token in an address ends up in logs.
#[utoipa::path(post, path = "/api/ws-ticket", tag = "notifications", security(("bearer" = [])),
    responses((status = 201, body = Issued, description = "The ticket",
               links(("socket" = (operation_id = "notifications_connect",
                                  parameters(("ticket" = "$response.body#/ticket")), description = "The WebSocket"))))))]
async fn ticket(
    State(notifier): State<Notifier>,
    caller: Caller,
) -> Result<(StatusCode, [(header::HeaderName, &'static str); 1], Json<Issued>), Problem> {
    notifier.keep_pace(&caller.0.user)?;
    let issued = notifier.tickets.issue(&caller.0, notifier.clock.now()).await;
    let ticket = issued.map_err(|error| busy(&error))?;
    let issued = Issued {
        ticket,
        expires_in: tickets::GOOD_FOR.as_secs(),
    };
    Ok((
        StatusCode::CREATED,
        [(header::CACHE_CONTROL, "no-store")],
        Json(issued),
    ))
}

/// A notification as the API shows it.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct NotificationView {
    /// Opaque id, the same as in the update; those of later news sort after those of earlier news, as far as clocks agree.
    #[serde(rename = "_id")]
    id: String,
    /// order.update.
    #[serde(rename = "type")]
    kind: String,
    /// The order.
    order_id: String,
    /// The order's status.
    status: String,
    /// A sentence for the buyer.
    message: String,
    /// Why the order failed: sold_out, unknown_product, unprocessable or payment_failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    reason: Option<FailureReason>,
    /// Until when the units were to wait for a payment, as it was then; RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    hold_expires_at: Option<String>,
    /// Whether it was marked as read.
    read: bool,
    /// RFC 3339.
    created_at: String,
}

impl From<Notification> for NotificationView {
    fn from(n: Notification) -> Self {
        Self {
            id: n.id,
            kind: "order.update".to_owned(),
            order_id: n.order_id.as_str().to_owned(),
            status: n.status.as_str().to_owned(),
            message: n.message,
            reason: n.reason,
            hold_expires_at: n.hold_expires_at.and_then(|at| at.try_to_rfc3339_string().ok()),
            read: n.read,
            created_at: n.created_at.try_to_rfc3339_string().unwrap_or_default(),
        }
    }
}

/// Your notifications, newest first.
#[utoipa::path(get, path = "/api/notifications", tag = "notifications", security(("bearer" = [])), params(PageQuery),
    responses((status = 200, body = Page<NotificationView>, description = "A page of notifications")))]
async fn list(
    State(notifier): State<Notifier>,
    caller: Caller,
    Query(query): Query<PageQuery>,
) -> Result<Json<Page<NotificationView>>, Problem> {
    let (limit, before) = (query.limit()?, query.after()?);
    let (store, user) = (notifier.store.clone(), caller.0.user);
    let found = mongo::detached(async move {
        store
            .page(&user, before, i64::from(limit) + 1)
            .await
            .map_err(MongoError::from)
    })
    .await
    .map_err(|error| busy(&error))?;
    Ok(Json(
        Page::cut(found, limit, |n: &Notification| n.id.clone()).map(NotificationView::from),
    ))
}

/// Marks one of your notifications as read.
#[utoipa::path(patch, path = "/api/notifications/{id}/read", tag = "notifications", security(("bearer" = [])),
    params(("id" = String, Path, description = "The notification's _id")),
    responses((status = 200, body = NotificationView, description = "The notification as it is now"),
              (status = 404, body = Problem, description = "not_found")))]
async fn read(
    State(notifier): State<Notifier>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<NotificationView>, Problem> {
    let (store, user) = (notifier.store.clone(), caller.0.user);
    mongo::detached(async move { store.read(&user, &id).await.map_err(MongoError::from) })
        .await
        .map_err(|error| busy(&error))?
        .map(|notification| Json(notification.into()))
        .ok_or_else(|| Problem::not_found("notification"))
}

/// How many were marked.
#[derive(Debug, Serialize, ToSchema)]
struct Updated {
    /// Notifications that were unread.
    updated: u64,
}

/// Marks all of your notifications as read.
#[utoipa::path(post, path = "/api/notifications/read-all", tag = "notifications", security(("bearer" = [])),
    responses((status = 200, body = Updated, description = "How many were marked")))]
async fn read_all(State(notifier): State<Notifier>, caller: Caller) -> Result<Json<Updated>, Problem> {
    let (store, user) = (notifier.store.clone(), caller.0.user);
    let updated = mongo::detached(async move { store.read_all(&user).await.map_err(MongoError::from) })
        .await
        .map_err(|error| busy(&error))?;
    Ok(Json(Updated { updated }))
}

fn busy(error: &MongoError) -> Problem {
    tracing::warn!(%error, "the store of notifications does not answer");
    Problem::busy()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_id_of_an_update_says_what_was_seen() {
        let now = Timestamp::from_second(1_800_000_000).unwrap();
        let made = |at: Timestamp| {
            let millis = u64::try_from(at.as_millisecond()).unwrap();
            uuid::Builder::from_unix_timestamp_millis(millis, &[7; 10])
                .into_uuid()
                .to_string()
        };
        let id = made(now);
        for right in [&id, &made(now + AHEAD), &made(now - 1_000 * AHEAD)] {
            assert_eq!(event_id(right.clone(), now).unwrap(), *right);
        }
        for wrong in [
            "zzz",
            "",
            &id.to_uppercase(),
            &id.replace('-', ""),
            "ffffffff-ffff-4fff-bfff-ffffffffffff",
            &made(now + AHEAD * 2),
        ] {
            let problem = event_id(wrong.to_owned(), now).unwrap_err();
            assert_eq!(problem.errors[0].field, "lastEventId", "{wrong}");
        }
    }
}
