//! What has happened to a sale, and what administrators did.

use super::SalePath;
use crate::{
    Console,
    deeds::{Deed, Stands, What},
    place::Place,
    problems::{busy, gave_up},
    sales::view::{Happening, HappeningKind},
};
use axum::extract::State;
use futures::TryStreamExt;
use jiff::Timestamp;
use mongodb::bson::{Document, doc};
use platform::{
    backends::mongo::{self, MongoError},
    http::{
        Json, Path, Query,
        page::{Page, PageQuery},
        problem::Problem,
    },
};
use sale::SaleId;
use serde::Serialize;
use std::{sync::Arc, time::Duration};

/// Entries of a story.
const STORY: usize = 200;
/// How long the database may look for dead letters.
const LOOKS_FOR: Duration = Duration::from_secs(3);
/// Dead letters and deeds that are part of a story.
const OF_EACH: i64 = 50;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Story {
    items: Vec<Happening>,
    next_cursor: Option<String>,
}

/// What has happened so far, the newest first.
pub(super) async fn story(
    State(console): State<Console>,
    Path(which): SalePath,
) -> Result<Json<Story>, Problem> {
    let sale: SaleId = which.into();
    let mut items = console.sales.happenings(&sale).await?;
    let deeds = console
        .deeds
        .page(&sale, None, OF_EACH)
        .await
        .map_err(|error| busy(&error))?;
    items.extend(deeds.iter().map(told));
    if let Ok(place) = console.sales.place(&sale).await {
        items.extend(letters(&place, console.clock.now()).await?);
    }
    items.sort_by_key(|happening| std::cmp::Reverse(happening.at));
    items.truncate(STORY);
    Ok(Json(Story {
        items,
        next_cursor: None,
    }))
}

fn told(deed: &Deed) -> Happening {
    let (done, tried) = match deed.what {
        What::Halt => ("The sale was halted".to_owned(), "halt the sale"),
        What::Reopen => ("The sale was reopened".to_owned(), "reopen the sale"),
        What::ChangeStock => (
            format!("The stock of {} was changed", deed.detail),
            "change stock",
        ),
        What::ReplayDeadLetter => (
            format!("The message {} was sent again", deed.detail),
            "send a message again",
        ),
        What::DiscardDeadLetter => (
            format!("The message {} was discarded", deed.detail),
            "discard a message",
        ),
        What::Audit => ("An audit of the books was begun".to_owned(), "audit the books"),
    };
    let text = match deed.outcome {
        Stands::Done => format!("{done}."),
        Stands::Refused => format!("Somebody tried to {tried}, which was refused."),
        Stands::Unknown | Stands::Begun => {
            format!("Somebody tried to {tried}, and it is not known whether that was done.")
        }
    };
    Happening {
        at: time(deed.at),
        kind: HappeningKind::Deed,
        text,
        who: Some(deed.who.clone()),
        detail: deed.reason.clone(),
    }
}

/// The newest letters, without what they say. There is no index by time: where there are too many to look through, the story goes
/// without them, and says so.
async fn letters(place: &Arc<Place>, now: Timestamp) -> Result<Vec<Happening>, Problem> {
    let letters = place.database.collection::<Document>("dead_letters");
    let found: Result<Vec<Document>, MongoError> = mongo::detached(async move {
        let newest = letters
            .find(doc! {})
            .sort(doc! {"at": -1})
            .limit(OF_EACH)
            .max_time(LOOKS_FOR);
        let parts = doc! {"group": 1, "topic": 1, "reason": 1, "at": 1};
        Ok(newest.projection(parts).await?.try_collect().await?)
    })
    .await;
    let text = |letter: &Document, name: &str| letter.get_str(name).unwrap_or_default().to_owned();
    let happening = |letter: &Document| Happening {
        at: letter.get_datetime("at").map_or(now, |at| time(*at)),
        kind: HappeningKind::DeadLetter,
        text: format!(
            "{} gave up on a message of {}: {}",
            text(letter, "group"),
            text(letter, "topic"),
            text(letter, "reason")
        ),
        who: None,
        detail: Some(text(letter, "_id")),
    };
    match found {
        Ok(found) => Ok(found.iter().map(happening).collect()),
        Err(error) if gave_up(&error) => Ok(vec![Happening {
            at: now,
            kind: HappeningKind::DeadLetter,
            text: "There are too many dead letters to be part of this story; see the page of dead letters."
                .to_owned(),
            who: None,
            detail: None,
        }]),
        Err(error) => Err(busy(&error)),
    }
}

fn time(at: mongodb::bson::DateTime) -> Timestamp {
    Timestamp::from_millisecond(at.timestamp_millis()).unwrap_or_default()
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct DeedView {
    at: Timestamp,
    who: String,
    what: What,
    detail: String,
    reason: Option<String>,
    outcome: Stands,
}

/// What administrators have done by the console.
pub(super) async fn deeds(
    State(console): State<Console>,
    Path(which): SalePath,
    Query(paging): Query<PageQuery>,
) -> Result<Json<Page<DeedView>>, Problem> {
    let sale: SaleId = which.into();
    let (limit, before) = (paging.limit()?, paging.after()?);
    let page = console.deeds.page(&sale, before, i64::from(limit) + 1);
    let found = page.await.map_err(|error| busy(&error))?;
    let view = |deed: Deed| DeedView {
        at: time(deed.at),
        who: deed.who,
        what: deed.what,
        detail: deed.detail,
        reason: deed.reason,
        outcome: deed.outcome,
    };
    Ok(Json(
        Page::cut(found, limit, |deed: &Deed| deed.id.clone()).map(view),
    ))
}
