//! Topics, their partitions, and records of one of these.

use super::SalePath;
use crate::{
    Console,
    records::{self, Records, Start, TopicView},
};
use axum::extract::State;
use jiff::Timestamp;
use platform::http::{Json, Path, Query, problem::Problem};
use sale::SaleId;
use serde::{Deserialize, Serialize};

/// Records that are shown at once when nothing is said.
const RECORDS: usize = 50;
/// The most of them.
const MOST_RECORDS: usize = 200;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct TopicList {
    items: Vec<TopicView>,
    next_cursor: Option<String>,
}

/// The topics and their partitions.
pub(super) async fn list(
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
pub(super) struct Partition {
    namespace: String,
    name: String,
    topic: String,
    partition: i32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    last: Option<i64>,
    offset: Option<i64>,
    time: Option<String>,
    key: Option<String>,
    limit: Option<usize>,
}

impl Wanted {
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
pub(super) async fn read(
    State(console): State<Console>,
    Path(at): Path<Partition>,
    Query(query): Query<Wanted>,
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
