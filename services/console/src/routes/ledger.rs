//! The ledger of a product.

use super::SalePath;
use crate::{Console, ledger, ledger::EntryView};
use axum::extract::State;
use platform::http::{
    Json, Path, Query,
    page::{Page, PageQuery},
    problem::Problem,
};
use sale::ProductId;
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    product: String,
    limit: Option<u32>,
    cursor: Option<String>,
}

/// Entries of a product's ledger.
pub(super) async fn list(
    State(console): State<Console>,
    Path(which): SalePath,
    Query(query): Query<Wanted>,
) -> Result<Json<Page<EntryView>>, Problem> {
    let paging = PageQuery::new(query.limit, query.cursor);
    let (limit, before) = (paging.limit()?, paging.after()?);
    let place = console.sales.place(&which.into()).await?;
    ledger::page(&place, ProductId::new(query.product), before, limit)
        .await
        .map(Json)
}
