//! Audits of a sale's books: the last one, and a new one.

use super::SalePath;
use crate::{
    Console,
    deeds::What,
    place::Place,
    problems::busy,
    session::{Administrator, Sender},
};
use axum::{extract::State, http::StatusCode};
use inventory::{
    audit::full::{Audits, Record},
    on_the_way::OnTheWay,
};
use platform::{
    clock::Clock,
    http::{Json, Path, problem::Problem},
};
use sale::SaleId;
use serde::Serialize;
use std::{
    collections::HashSet,
    sync::{Arc, Mutex, PoisonError},
};

/// The last audit of a sale's books.
#[derive(Serialize)]
pub(super) struct Audited {
    last: Option<AuditView>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct AuditView {
    started_at: String,
    finished_at: Option<String>,
    failure: Option<String>,
    products: u64,
    entries: u64,
    orders: u64,
    reservations: u64,
    moving: u64,
    agrees: Option<bool>,
    differences: Vec<String>,
    more: bool,
}

impl From<Record> for AuditView {
    fn from(record: Record) -> Self {
        let text = |at: mongodb::bson::DateTime| at.try_to_rfc3339_string().unwrap_or_default();
        let agrees = record.audit.as_ref().map(inventory::audit::Audit::agrees);
        let audit = record.audit.unwrap_or_default();
        Self {
            started_at: text(record.started_at),
            finished_at: record.finished_at.map(text),
            failure: record.failure,
            products: audit.products,
            entries: audit.entries,
            orders: audit.orders,
            reservations: audit.reservations,
            moving: audit.moving,
            agrees,
            differences: audit.differences.iter().map(ToString::to_string).collect(),
            more: audit.more,
        }
    }
}

impl Audited {
    fn of(last: Option<Record>) -> Self {
        Self {
            last: last.map(AuditView::from),
        }
    }
}

/// The last audit.
pub(super) async fn last(
    State(console): State<Console>,
    Path(which): SalePath,
) -> Result<Json<Audited>, Problem> {
    let place = console.sales.place(&which.into()).await?;
    let last = audits(&place, &console.clock).last().await;
    Ok(Json(Audited::of(last.map_err(|error| busy(&error))?)))
}

fn audits(place: &Place, clock: &Clock) -> Audits {
    let store = inventory::store::Store::new(&place.database, place.transactions.clone());
    let on_the_way = OnTheWay::new(&place.database, place.kafka.clone(), &place.config);
    Audits::new(store, &place.database, on_the_way, clock.clone())
}

/// Begins an audit. It goes on after the answer: one after the other in this process, whose memory is for one of a large sale.
pub(super) async fn begin(
    State(console): State<Console>,
    who: Administrator,
    from: Sender,
    Path(which): SalePath,
) -> Result<(StatusCode, Json<Audited>), Problem> {
    let sale: SaleId = which.into();
    console.may_switch()?;
    let place = console.sales.place(&sale).await?;
    let audits = audits(&place, &console.clock);
    let Some(turn) = Turn::of(&console.auditing, &sale) else {
        let last = audits.last().await.map_err(|error| busy(&error))?;
        return Ok((StatusCode::ACCEPTED, Json(Audited::of(last))));
    };
    let (under_way, alone) = (console.under_way.clone(), Arc::clone(&console.one_audit));
    let work = async move {
        let record = audits.ask().await.map_err(|error| busy(&error))?;
        under_way.spawn(async move {
            // It is never closed.
            let _alone = alone.acquire().await;
            if let Err(error) = place.change(audits.audit_and_keep()).await {
                tracing::warn!(%error, "what an audit has found could not be kept; ask for another one");
            }
            drop(turn);
        });
        Ok(record)
    };
    let record = console
        .carry_out((&sale, who, from), (What::Audit, String::new(), None), work)
        .await?;
    Ok((StatusCode::ACCEPTED, Json(Audited::of(Some(record)))))
}

/// An audit of a sale that waits or is under way; with it the next one may begin.
struct Turn {
    auditing: Arc<Mutex<HashSet<SaleId>>>,
    sale: SaleId,
}

impl Turn {
    /// The sale's turn, unless somebody has it.
    fn of(auditing: &Arc<Mutex<HashSet<SaleId>>>, sale: &SaleId) -> Option<Self> {
        let mut sales = auditing.lock().unwrap_or_else(PoisonError::into_inner);
        sales.insert(sale.clone()).then(|| Self {
            auditing: Arc::clone(auditing),
            sale: sale.clone(),
        })
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut sales = self.auditing.lock().unwrap_or_else(PoisonError::into_inner);
        sales.remove(&self.sale);
    }
}
