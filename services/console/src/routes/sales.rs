//! The sales: all of them, and one.

use super::SalePath;
use crate::{
    Console,
    measure::Circuit,
    place::Place,
    problems::busy,
    products::{self, ProductView},
    sales::{
        Process,
        view::{Condition, Steering, Summary},
    },
};
use axum::extract::State;
use inventory::product::Product;
use jiff::Timestamp;
use order::tally::Counts;
use platform::{
    backends::mongo::{self, MongoError},
    http::{
        Json, Path, Query,
        page::{Page, PageQuery},
        problem::Problem,
    },
};
use sale::{SaleId, order::Confirmation};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    search: Option<String>,
    limit: Option<u32>,
    cursor: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct SaleList {
    #[serde(flatten)]
    page: Page<Summary>,
    server_time: Timestamp,
}

/// All sales, what needs attention first.
pub(super) async fn list(
    State(console): State<Console>,
    Query(query): Query<Wanted>,
) -> Result<Json<SaleList>, Problem> {
    let paging = PageQuery::new(query.limit, query.cursor);
    let (limit, after) = (paging.limit()?, paging.after()?);
    let passed: usize = match after {
        Some(text) => text
            .parse()
            .map_err(|_| Problem::field("cursor", "is not a nextCursor of this list"))?,
        None => 0,
    };
    let search = query.search.unwrap_or_default().to_lowercase();
    let is_meant = |summary: &Summary| {
        let name = format!("{}/{}", summary.sale.namespace, summary.sale.name);
        name.to_lowercase().contains(&search)
    };
    let known = console.sales.all().await?;
    let mut all: Vec<Summary> = known
        .into_iter()
        .map(|known| known.summary)
        .filter(is_meant)
        .collect();
    all.sort_by_cached_key(Summary::place_in_list);
    let next = passed + limit as usize;
    let rest: Vec<Summary> = all.into_iter().skip(passed).take(limit as usize + 1).collect();
    Ok(Json(SaleList {
        page: Page::cut(rest, limit, |_| next.to_string()),
        server_time: console.clock.now(),
    }))
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct SaleView {
    summary: Summary,
    conditions: Vec<Condition>,
    products: Vec<ProductView>,
    currency: Option<String>,
    confirmation: Option<Confirmation>,
    hold_seconds: Option<u64>,
    retain_for: Option<String>,
    /// The name of its report, where there is one.
    report: Option<String>,
    processes: Vec<ProcessView>,
    circuits: Vec<Circuit>,
    steering: Steering,
    /// Why products are missing.
    problem: Option<String>,
    server_time: Timestamp,
}

#[derive(Serialize)]
struct ProcessView {
    component: String,
    name: String,
    ready: bool,
    scraped: bool,
}

/// One sale. Where its data cannot be reached, that is said, and the rest is shown all the same.
pub(super) async fn one(
    State(console): State<Console>,
    Path(which): SalePath,
) -> Result<Json<SaleView>, Problem> {
    let sale: SaleId = which.into();
    let known = console.sales.find(&sale).await?;
    let inside = match console.sales.place(&sale).await {
        Ok(place) => Inside::look(&place).await.map(|inside| (place, inside)),
        Err(problem) => Err(problem),
    };
    let mut summary = known.summary;
    let (place, products, problem) = match inside {
        Ok((place, inside)) => {
            // Newer than what the operator has written down last.
            summary.orders = Some(inside.orders);
            summary.units = inside.products.iter().map(products::units).sum();
            (Some(place), inside.products, None)
        }
        Err(problem) => (None, Vec::new(), Some(problem.detail)),
    };
    let products: Vec<ProductView> = place
        .iter()
        .flat_map(|place| {
            products
                .iter()
                .map(|product| products::view(product, place, &known.declared_stock))
        })
        .collect();
    let process = |process: Process| ProcessView {
        scraped: process
            .target
            .as_ref()
            .is_some_and(|target| console.watched.has_answered(&sale, target)),
        component: process.component,
        name: process.name,
        ready: process.ready,
    };
    let config = place.as_ref().map(|place| &place.config);
    Ok(Json(SaleView {
        summary,
        conditions: known.conditions,
        products,
        currency: config.map(|config| config.currency.code().to_owned()),
        confirmation: config.map(|config| config.confirmation),
        hold_seconds: config.map(|config| config.reservation_ttl_seconds),
        retain_for: known.retain_for,
        report: known.report,
        processes: console.sales.processes(&sale).into_iter().map(process).collect(),
        circuits: console.watched.circuits(&sale),
        steering: known.steering,
        problem,
        server_time: console.clock.now(),
    }))
}

/// What the database of a sale says of it.
struct Inside {
    products: Vec<Product>,
    orders: Counts,
}

impl Inside {
    async fn look(place: &Arc<Place>) -> Result<Self, Problem> {
        let looking = Arc::clone(place);
        let inside = mongo::detached(async move {
            Ok::<_, MongoError>(Self {
                products: products::all(&looking).await?,
                orders: order::tally::counts(&looking.database).await?,
            })
        });
        inside.await.map_err(|error| busy(&error))
    }
}
