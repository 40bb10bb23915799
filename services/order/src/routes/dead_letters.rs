//! Messages that were given up on: what they are, and what is done about them.

use super::{Orders, busy};
use crate::steps::time;
use axum::extract::State;
use events::dead_letters::{Action, DeadLetter, Undone};
use futures::FutureExt;
use mongodb::bson::DateTime;
use platform::{
    audit::{self, Event, Outcome},
    backends::mongo::{self, MongoError},
    http::{
        Json, Query,
        authorization::Caller,
        page::{Page, PageQuery},
        problem::Problem,
    },
    tokens::Role,
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

/// The actions of the audit trail: a replay, and a discard.
pub(super) const ACTIONS: [&str; 2] = ["dead_letter_replay", "dead_letter_discard"];

/// Which letters.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(super) struct Which {
    /// Items wanted, 1 to 100; 20 when left out.
    #[param(minimum = 1, maximum = 100)]
    limit: Option<u32>,
    /// `nextCursor` of the page before.
    #[param(pattern = "^[A-Za-z0-9_-]*$")]
    cursor: Option<String>,
    /// Also those that something was done about.
    #[serde(default)]
    all: bool,
}

/// A letter by its id.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct One {
    /// Its `_id`, as the list has it.
    id: String,
}

/// A message that was given up on.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct LetterView {
    /// What was met, and where.
    #[serde(rename = "_id")]
    id: String,
    /// Who gave up: inventory, order or notifier.
    group: String,
    /// Where it came from.
    topic: String,
    /// Partition.
    partition: i32,
    /// Offset.
    offset: i64,
    /// The order it was about, if it said so.
    key: String,
    /// What it said; what is no text is replaced.
    payload: String,
    /// Why nobody could handle it.
    reason: String,
    /// RFC 3339.
    at: String,
    /// What was done about it, oldest first.
    deeds: Vec<DeedView>,
}

/// What somebody did about a letter.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DeedView {
    /// replayed or discarded.
    what: &'static str,
    /// A user's id.
    who: String,
    /// RFC 3339.
    at: String,
}

impl From<DeadLetter> for LetterView {
    fn from(letter: DeadLetter) -> Self {
        let text = |at: DateTime| at.try_to_rfc3339_string().unwrap_or_default();
        let deed = |deed: &events::dead_letters::Deed| DeedView {
            what: match deed.what {
                Action::Replayed => "replayed",
                Action::Discarded => "discarded",
            },
            who: deed.who.clone(),
            at: text(deed.at),
        };
        Self {
            payload: letter.text(),
            deeds: letter.deeds.iter().map(deed).collect(),
            id: letter.id,
            group: letter.group,
            topic: letter.topic.plain_name().to_owned(),
            partition: letter.partition,
            offset: letter.offset,
            key: letter.key,
            reason: letter.reason,
            at: text(letter.at),
        }
    }
}

/// Messages that were given up on: those that nothing was done about, or all.
#[utoipa::path(get, path = "/api/dead-letters", tag = "dead letters", params(Which),
    security(("bearer" = ["admin", "service"])),
    responses((status = 200, body = Page<LetterView>, description = "A page of letters")))]
pub(super) async fn list(
    State(orders): State<Orders>,
    caller: Caller,
    Query(which): Query<Which>,
) -> Result<Json<Page<LetterView>>, Problem> {
    caller.require(&[Role::Admin, Role::Service])?;
    let query = PageQuery::new(which.limit, which.cursor);
    let (limit, after) = (query.limit()?, query.after()?);
    let letters = orders.letters.clone();
    let found = mongo::detached(async move {
        let page = letters.page(which.all, after, i64::from(limit) + 1);
        page.await.map_err(MongoError::from)
    })
    .await
    .map_err(|error| busy(&error))?;
    let page = Page::cut(found, limit, |letter: &DeadLetter| letter.id.clone());
    Ok(Json(page.map(LetterView::from)))
}

/// Sends a message to its topic once more. Whoever has handled it before takes no notice of it; if it cannot be handled again,
/// there will be another letter.
#[utoipa::path(post, path = "/api/dead-letters/replay", tag = "dead letters", request_body = One,
    security(("bearer" = ["admin"])),
    responses((status = 200, body = LetterView, description = "The letter"),
              (status = 400, body = Problem, description = "invalid_request: the record is no text"),
              (status = 404, body = Problem, description = "not_found")))]
pub(super) async fn replay(
    State(orders): State<Orders>,
    caller: Caller,
    Json(one): Json<One>,
) -> Result<Json<LetterView>, Problem> {
    act(orders, caller, one, Action::Replayed).await
}

/// Says that nobody will do anything about a message. It stays where it is, and is not counted any more.
#[utoipa::path(post, path = "/api/dead-letters/discard", tag = "dead letters", request_body = One,
    security(("bearer" = ["admin"])),
    responses((status = 200, body = LetterView, description = "The letter"),
              (status = 404, body = Problem, description = "not_found")))]
pub(super) async fn discard(
    State(orders): State<Orders>,
    caller: Caller,
    Json(one): Json<One>,
) -> Result<Json<LetterView>, Problem> {
    act(orders, caller, one, Action::Discarded).await
}

async fn act(orders: Orders, caller: Caller, one: One, what: Action) -> Result<Json<LetterView>, Problem> {
    caller.require(&[Role::Admin])?;
    let (store, letters) = (orders.store.clone(), orders.letters.clone());
    let at = time(orders.clock.now());
    let (who, id) = (caller.0.user.as_str().to_owned(), one.id.clone());
    let done: Result<DeadLetter, Undone> = mongo::detached(async move {
        store
            .clone()
            .transactions
            .run(|session| {
                let (letters, outbox) = (letters.clone(), store.outbox.clone());
                let (id, who) = (id.clone(), who.clone());
                async move { letters.act(session, &outbox, &id, what, &who, at).await }.boxed()
            })
            .await
    })
    .await;
    audit::record(Event {
        action: match what {
            Action::Replayed => ACTIONS[0],
            Action::Discarded => ACTIONS[1],
        },
        outcome: match &done {
            Ok(_) => Outcome::Done,
            Err(Undone::Mongo(_)) => Outcome::Failed,
            Err(_) => Outcome::Refused,
        },
        who: caller.0.user.as_str(),
        whose: &one.id,
        from: None,
        request_id: None,
    });
    match done {
        Ok(letter) => Ok(Json(letter.into())),
        Err(Undone::Unknown) => Err(Problem::not_found("dead letter")),
        Err(error @ (Undone::NoText | Undone::TooLarge(_))) => Err(Problem::field("id", error.to_string())),
        Err(Undone::Mongo(error)) => Err(busy(&error)),
    }
}
