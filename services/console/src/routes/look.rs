//! Sales as one looks at them from outside: the list, one of them, its story, and its last hours in numbers.

use super::SalePath;
use crate::{
    Console,
    deeds::{Deed, Stands, What},
    history::Part,
    measure::{Circuit, Line},
    place::Place,
    problems::{busy, gave_up},
    products::{self, ProductView},
    sales::view::{Condition, Happening, HappeningKind, Steering, Summary},
};
use axum::extract::State;
use futures::TryStreamExt;
use inventory::product::Product;
use jiff::Timestamp;
use mongodb::bson::{Document, doc};
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
use std::{collections::BTreeMap, sync::Arc, time::Duration};

/// Entries of a story.
const STORY: usize = 200;
/// How long the database may look for dead letters.
const LOOKS_FOR: Duration = Duration::from_secs(3);
/// Dead letters and deeds that are part of a story.
const OF_EACH: i64 = 50;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ListQuery {
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
pub(super) async fn sales(
    State(console): State<Console>,
    Query(query): Query<ListQuery>,
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
pub(super) async fn sale(
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
    let process = |process: crate::sales::Process| ProcessView {
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

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct HistoryQuery {
    minutes: Option<i64>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct HistoryView {
    step_seconds: i64,
    from: Timestamp,
    to: Timestamp,
    series: BTreeMap<String, Vec<Option<f32>>>,
    lanes: Vec<LaneHistory>,
    units: Vec<UnitsHistory>,
}

#[derive(Serialize)]
struct LaneHistory {
    group: String,
    topic: String,
    partition: i32,
    lag: Vec<Option<f32>>,
}

#[derive(Serialize)]
struct UnitsHistory {
    sku: String,
    available: Vec<Option<f32>>,
}

/// The last hours in numbers.
pub(super) async fn history(
    State(console): State<Console>,
    Path(which): SalePath,
    Query(query): Query<HistoryQuery>,
) -> Result<Json<HistoryView>, Problem> {
    let minutes = query.minutes.unwrap_or(15);
    if !(1..=720).contains(&minutes) {
        return Err(Problem::field(
            "minutes",
            format!("must be from 1 to 720, not {minutes}"),
        ));
    }
    let sale: SaleId = which.into();
    console.sales.find(&sale).await?;
    Ok(Json(history_view(console.watched.history(
        &sale,
        minutes,
        console.clock.now(),
    ))))
}

fn history_view(part: Part) -> HistoryView {
    let mut view = HistoryView {
        step_seconds: part.step,
        from: part.from,
        to: part.to,
        series: BTreeMap::new(),
        lanes: Vec::new(),
        units: Vec::new(),
    };
    for (line, points) in part.lines {
        match line {
            Line::Sale(name) => {
                view.series.insert(name, points);
            }
            Line::Lane {
                group,
                topic,
                partition,
            } => view.lanes.push(LaneHistory {
                group,
                topic,
                partition,
                lag: points,
            }),
            Line::Left { sku } => view.units.push(UnitsHistory {
                sku,
                available: points,
            }),
        }
    }
    view
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
