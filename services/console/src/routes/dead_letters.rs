//! Messages that were given up on.

use super::SalePath;
use crate::{Console, problems::busy};
use axum::extract::State;
use events::dead_letters::{DeadLetter, DeadLetters};
use platform::{
    backends::mongo::{self, MongoError},
    http::{
        Json, Path, Query,
        page::{Page, PageQuery},
        problem::Problem,
    },
};
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    #[serde(default)]
    all: bool,
    limit: Option<u32>,
    cursor: Option<String>,
}

/// Messages that were given up on.
pub(super) async fn list(
    State(console): State<Console>,
    Path(which): SalePath,
    Query(query): Query<Wanted>,
) -> Result<Json<Page<order::LetterView>>, Problem> {
    let paging = PageQuery::new(query.limit, query.cursor);
    let (limit, after) = (paging.limit()?, paging.after()?);
    let place = console.sales.place(&which.into()).await?;
    let letters = DeadLetters::new(&place.database);
    let found = mongo::detached(async move {
        let page = letters.page(query.all, after, i64::from(limit) + 1);
        page.await.map_err(MongoError::from)
    });
    let found = found.await.map_err(|error| busy(&error))?;
    let page = Page::cut(found, limit, |letter: &DeadLetter| letter.id.clone());
    Ok(Json(page.map(order::LetterView::from)))
}
