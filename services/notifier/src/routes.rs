//! The HTTP API of the notifier: the WebSocket and the list of notifications.

use crate::{
    hub::Hub,
    socket::Session,
    store::{Notification, Store},
};
use axum::{
    Router,
    extract::{FromRef, State, WebSocketUpgrade},
    http::HeaderMap,
    response::Response,
    routing::{get, patch, post},
};
use platform::{
    backends::mongo::{self, MongoError},
    clock::Clock,
    http::{
        Json, Path, Query,
        authorization::{Authority, Caller, bearer_token},
        page::{Page, PageQuery},
        problem::Problem,
    },
};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;
use utoipa::{IntoParams, OpenApi, ToSchema};

/// What the routes work with.
#[derive(Debug, Clone)]
pub struct Notifier {
    /// Notifications.
    pub store: Store,
    /// Sockets of this process.
    pub hub: Arc<Hub>,
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
        .route("/api/notifications", get(list))
        .route("/api/notifications/{id}/read", patch(read))
        .route("/api/notifications/read-all", post(read_all))
        .with_state(notifier)
}

#[derive(OpenApi)]
#[openapi(paths(connect, list, read, read_all))]
struct Api;

/// The routes as an OpenAPI document.
pub fn openapi() -> utoipa::openapi::OpenApi {
    Api::openapi()
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ConnectQuery {
    /// The access token; a browser cannot set headers on a WebSocket.
    token: Option<String>,
    /// The id of the last update seen: all later ones are sent first.
    last_event_id: Option<String>,
}

/// A WebSocket with `{"type":"order.update","data":{orderId,status,message},"id"}` for each change of your orders.
#[utoipa::path(get, path = "/ws", tag = "notifications", params(ConnectQuery),
    security(("bearer" = []), ("token" = [])),
    responses((status = 101, description = "The WebSocket"),
              (status = 503, body = Problem, description = "busy: there are as many sockets as this process takes")))]
async fn connect(
    State(notifier): State<Notifier>,
    Query(query): Query<ConnectQuery>,
    headers: HeaderMap,
    upgrade: Result<WebSocketUpgrade, axum::extract::ws::rejection::WebSocketUpgradeRejection>,
) -> Result<Response, Problem> {
    let token = query
        .token
        .as_deref()
        .or_else(|| bearer_token(&headers))
        .ok_or_else(|| {
            Problem::unauthenticated("Pass the access token as ?token= or in the Authorization header.")
        })?;
    let identity = notifier.authority.identify(token)?;
    let upgrade = upgrade.map_err(|error| Problem::field("Upgrade", error.body_text()))?;
    let registration = notifier.hub.register(&identity.user).ok_or_else(Problem::busy)?;
    let (user, id, hub) = (identity.user.clone(), registration.id, Arc::clone(&notifier.hub));
    let session = Session {
        identity,
        after: query.last_event_id,
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
        .max_message_size(65_536)
        .on_failed_upgrade(move |_error| hub.leave(&user, id))
        .on_upgrade(move |socket| session.serve(socket, registration)))
}

/// A notification as the API shows it.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct NotificationView {
    /// Opaque id; later ones sort after earlier ones.
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
