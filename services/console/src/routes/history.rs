//! The last hours of a sale in numbers.

use super::SalePath;
use crate::{Console, history::Part, measure::Line};
use axum::extract::State;
use jiff::Timestamp;
use platform::http::{Json, Path, Query, problem::Problem};
use sale::SaleId;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
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
pub(super) async fn show(
    State(console): State<Console>,
    Path(which): SalePath,
    Query(query): Query<Wanted>,
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
