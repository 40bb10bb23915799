//! Who reads what, and how far they are.

use super::SalePath;
use crate::{Console, lanes};
use axum::extract::State;
use platform::http::{Json, Path, problem::Problem};

/// The lanes.
pub(super) async fn list(
    State(console): State<Console>,
    Path(which): SalePath,
) -> Result<Json<lanes::Lanes>, Problem> {
    let place = console.sales.place(&which.into()).await?;
    lanes::all(&place).await.map(Json)
}
