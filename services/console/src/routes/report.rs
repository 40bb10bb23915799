//! The report of a sale that has ended.

use super::SalePath;
use crate::Console;
use axum::extract::State;
use platform::http::{Json, Path, problem::Problem};
use serde_json::value::RawValue;

/// The report, as the operator has written it.
pub(super) async fn show(
    State(console): State<Console>,
    Path(which): SalePath,
) -> Result<Json<Box<RawValue>>, Problem> {
    console.sales.report(&which.into()).await.map(Json)
}
