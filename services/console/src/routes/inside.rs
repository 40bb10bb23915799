//! What is in a sale's database and topics.

use super::SalePath;
use crate::{
    Console, lanes, ledger,
    ledger::EntryView,
    orders::{self, Search, Whole},
    problems::busy,
    records::{self, Records, Start, TopicView},
};
use axum::extract::State;
use events::dead_letters::{DeadLetter, DeadLetters};
use jiff::Timestamp;
use order::document::OrderView;
use platform::{
    backends::mongo::{self, MongoError},
    http::{
        Json, Path, Query,
        page::{Page, PageQuery},
        problem::Problem,
    },
};
use sale::{OrderId, ProductId, SaleId, order::OrderStatus};
use serde::{Deserialize, Serialize};

/// Records that are shown at once when nothing is said.
const RECORDS: usize = 50;
/// The most of them.
const MOST_RECORDS: usize = 200;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct OrdersQuery {
    id: Option<String>,
    user: Option<String>,
    key: Option<String>,
    status: Option<String>,
    limit: Option<u32>,
    cursor: Option<String>,
}

impl OrdersQuery {
    fn search(&self) -> Result<Search, Problem> {
        let given = |text: &Option<String>| {
            text.as_deref()
                .map(str::trim)
                .filter(|text| !text.is_empty())
                .map(str::to_owned)
        };
        match (
            given(&self.id),
            given(&self.user),
            given(&self.key),
            given(&self.status),
        ) {
            (Some(id), None, None, None) => Ok(Search::Id(OrderId::new(id))),
            (None, Some(user), None, None) => Ok(Search::User(user)),
            (None, Some(user), Some(key), None) => Ok(Search::Key { user, key }),
            (None, None, Some(_), None) => Err(Problem::field(
                "user",
                "is needed with key: the keys of two users have nothing to do with each other",
            )),
            (None, None, None, Some(status)) => status_of(&status).map(Search::Status),
            (None, None, None, None) => Ok(Search::Newest),
            _ => Err(Problem::field(
                "id",
                "stands alone: look for an id, a user, a user and a key, or a status",
            )),
        }
    }
}

fn status_of(text: &str) -> Result<OrderStatus, Problem> {
    let all = [OrderStatus::Pending].into_iter().chain(OrderStatus::ENDS);
    all.into_iter()
        .find(|status| status.as_str() == text)
        .ok_or_else(|| {
            Problem::field(
                "status",
                "must be PENDING, CONFIRMED, FAILED, CANCELLED or EXPIRED",
            )
        })
}

/// Orders that are looked for, or the newest.
pub(super) async fn orders(
    State(console): State<Console>,
    Path(which): SalePath,
    Query(query): Query<OrdersQuery>,
) -> Result<Json<Page<OrderView>>, Problem> {
    let search = query.search()?;
    let paging = PageQuery::new(query.limit, query.cursor);
    let (limit, after) = (paging.limit()?, paging.after()?);
    let place = console.sales.place(&which.into()).await?;
    orders::find(&place, search, after, limit).await.map(Json)
}

#[derive(Deserialize)]
pub(super) struct OneOrder {
    namespace: String,
    name: String,
    id: String,
}

/// Everything about one order.
pub(super) async fn order(
    State(console): State<Console>,
    Path(OneOrder { namespace, name, id }): Path<OneOrder>,
) -> Result<Json<Whole>, Problem> {
    let place = console.sales.place(&SaleId { namespace, name }).await?;
    orders::whole(&place, OrderId::new(id)).await.map(Json)
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct TopicList {
    items: Vec<TopicView>,
    next_cursor: Option<String>,
}

/// The topics and their partitions.
pub(super) async fn topics(
    State(console): State<Console>,
    Path(which): SalePath,
) -> Result<Json<TopicList>, Problem> {
    let place = console.sales.place(&which.into()).await?;
    Ok(Json(TopicList {
        items: records::topics(&place).await?,
        next_cursor: None,
    }))
}

#[derive(Deserialize)]
pub(super) struct OnePartition {
    namespace: String,
    name: String,
    topic: String,
    partition: i32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RecordsQuery {
    last: Option<i64>,
    offset: Option<i64>,
    time: Option<String>,
    key: Option<String>,
    limit: Option<usize>,
}

impl RecordsQuery {
    fn from(&self) -> Result<Start, Problem> {
        match (self.last, self.offset, &self.time) {
            (Some(last), None, None) if last >= 0 => Ok(Start::Last(last)),
            (None, Some(offset), None) => Ok(Start::Offset(offset)),
            (None, None, Some(time)) => time
                .parse::<Timestamp>()
                .map(Start::Time)
                .map_err(|_| Problem::field("time", "is no time such as 2026-12-01T12:00:00Z")),
            (None, None, None) => Ok(Start::Last(i64::try_from(RECORDS).unwrap_or(i64::MAX))),
            _ => Err(Problem::field(
                "last",
                "must not be below 0, and stands without offset and time",
            )),
        }
    }

    fn limit(&self) -> Result<usize, Problem> {
        match self.limit.unwrap_or(RECORDS) {
            limit @ 1..=MOST_RECORDS => Ok(limit),
            other => Err(Problem::field(
                "limit",
                format!("must be from 1 to {MOST_RECORDS}, not {other}"),
            )),
        }
    }
}

/// Records of one partition.
pub(super) async fn records(
    State(console): State<Console>,
    Path(at): Path<OnePartition>,
    Query(query): Query<RecordsQuery>,
) -> Result<Json<Records>, Problem> {
    let (from, limit) = (query.from()?, query.limit()?);
    let topic = records::known(&at.topic).ok_or_else(|| Problem::not_found("topic"))?;
    let sale = SaleId {
        namespace: at.namespace,
        name: at.name,
    };
    let place = console.sales.place(&sale).await?;
    let key = query.key.as_deref().filter(|key| !key.is_empty());
    records::read(&place, topic, at.partition, from, key, limit)
        .await
        .map(Json)
}

/// The lanes.
pub(super) async fn lanes(
    State(console): State<Console>,
    Path(which): SalePath,
) -> Result<Json<lanes::Lanes>, Problem> {
    let place = console.sales.place(&which.into()).await?;
    lanes::all(&place).await.map(Json)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LettersQuery {
    #[serde(default)]
    all: bool,
    limit: Option<u32>,
    cursor: Option<String>,
}

/// Messages that were given up on.
pub(super) async fn dead_letters(
    State(console): State<Console>,
    Path(which): SalePath,
    Query(query): Query<LettersQuery>,
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

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LedgerQuery {
    product: String,
    limit: Option<u32>,
    cursor: Option<String>,
}

/// Entries of a product's ledger.
pub(super) async fn ledger(
    State(console): State<Console>,
    Path(which): SalePath,
    Query(query): Query<LedgerQuery>,
) -> Result<Json<Page<EntryView>>, Problem> {
    let paging = PageQuery::new(query.limit, query.cursor);
    let (limit, before) = (paging.limit()?, paging.after()?);
    let place = console.sales.place(&which.into()).await?;
    ledger::page(&place, ProductId::new(query.product), before, limit)
        .await
        .map(Json)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(text: &str) -> OrdersQuery {
        let request = format!("http://console/orders?{text}").parse().unwrap();
        axum::extract::Query::try_from_uri(&request).unwrap().0
    }

    #[test]
    fn a_search_is_for_one_thing() {
        assert_eq!(query("").search().unwrap(), Search::Newest);
        assert_eq!(
            query("id=%20o1%20").search().unwrap(),
            Search::Id(OrderId::new("o1"))
        );
        assert_eq!(
            query("status=FAILED&id=").search().unwrap(),
            Search::Status(OrderStatus::Failed)
        );
        let key = Search::Key {
            user: "ada@example.com".to_owned(),
            key: "k".to_owned(),
        };
        assert_eq!(query("user=ada@example.com&key=k").search().unwrap(), key);
        for (text, field) in [
            ("key=k", "user"),
            ("status=failed", "status"),
            ("id=o1&user=u1", "id"),
        ] {
            assert_eq!(query(text).search().unwrap_err().errors[0].field, field, "{text}");
        }
    }
}
