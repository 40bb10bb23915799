//! What administrators change. Each deed is written down before it is done, with a reason, and needs the installation's leave.

use super::{SalePath, inside::Audited};
use crate::{
    Console, Switches,
    deeds::{Intent, What},
    place::Place,
    problems::busy,
    products::{self, ProductView},
    sales::{
        Doors, StockChange,
        view::{Summary, Units},
    },
    session::{Administrator, From},
};
use axum::{extract::State, http::StatusCode};
use events::{
    dead_letters::{Action, DeadLetters, Undone},
    outbox::Outbox,
};
use futures::FutureExt;
use inventory::{audit::full::Audits, on_the_way::OnTheWay};
use mongodb::bson::DateTime;
use platform::{
    backends::mongo::{self, MongoError},
    clock::Clock,
    http::{
        Json, Path,
        problem::{Code, Problem},
    },
};
use sale::SaleId;
use serde::{Deserialize, Serialize};
use std::sync::{Arc, PoisonError};

/// The longest reason.
const LONGEST_REASON: usize = 500;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Reason {
    reason: String,
}

/// A reason that somebody gives.
fn checked(reason: &str) -> Result<String, Problem> {
    let reason = reason.trim();
    match reason.chars().count() {
        1..=LONGEST_REASON => Ok(reason.to_owned()),
        0 => Err(Problem::field(
            "reason",
            "is needed: say why, for whoever reads the log",
        )),
        other => Err(Problem::field(
            "reason",
            format!("must have at most {LONGEST_REASON} characters, not {other}"),
        )),
    }
}

impl Console {
    fn may_switch(&self) -> Result<(), Problem> {
        match self.switches {
            Switches::Allowed => Ok(()),
            Switches::Withheld => Err(Problem::new(
                Code::Forbidden,
                "This console may only look: whoever installed it has not given it the switches.",
            )),
        }
    }

    /// Does something to a sale, and writes it down.
    async fn carry_out<T>(
        &self,
        (sale, who, from): (&SaleId, &Administrator, &From),
        (what, detail, reason): (What, String, Option<String>),
        work: impl Future<Output = Result<T, Problem>>,
    ) -> Result<T, Problem> {
        self.may_switch()?;
        let intent = Intent {
            sale,
            who,
            from: from.0.address,
            request_id: from.0.request_id.as_deref(),
            what,
            detail,
            reason,
        };
        self.deeds.carry_out(intent, self.clock.now(), work).await
    }
}

#[derive(Serialize)]
pub(super) struct Switched {
    summary: Summary,
}

/// Refuses new orders from now on.
pub(super) async fn halt(
    console: State<Console>,
    who: Administrator,
    from: From,
    which: SalePath,
    reason: Json<Reason>,
) -> Result<Json<Switched>, Problem> {
    set_doors(console, who, from, which, reason, Doors::Halted).await
}

/// Takes them again.
pub(super) async fn reopen(
    console: State<Console>,
    who: Administrator,
    from: From,
    which: SalePath,
    reason: Json<Reason>,
) -> Result<Json<Switched>, Problem> {
    set_doors(console, who, from, which, reason, Doors::Open).await
}

async fn set_doors(
    State(console): State<Console>,
    who: Administrator,
    from: From,
    Path(which): SalePath,
    Json(reason): Json<Reason>,
    doors: Doors,
) -> Result<Json<Switched>, Problem> {
    let (sale, reason): (SaleId, _) = (which.into(), checked(&reason.reason)?);
    console.may_switch()?;
    let known = console.sales.find(&sale).await?;
    let what = match doors {
        Doors::Halted => What::Halt,
        Doors::Open => What::Reopen,
    };
    let work = console.sales.set_doors(&sale, doors);
    console
        .carry_out((&sale, &who, &from), (what, String::new(), Some(reason)), work)
        .await?;
    // A watch may be a moment behind what was just changed.
    let summary = Summary {
        halted: doors == Doors::Halted,
        ..known.summary
    };
    Ok(Json(Switched { summary }))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Stock {
    sku: String,
    delta: i64,
    expected: i64,
    reason: String,
}

#[derive(Serialize)]
pub(super) struct Stocked {
    product: ProductView,
}

/// Changes the stock of a product.
pub(super) async fn change_stock(
    State(console): State<Console>,
    who: Administrator,
    from: From,
    Path(which): SalePath,
    Json(stock): Json<Stock>,
) -> Result<Json<Stocked>, Problem> {
    let (sale, reason): (SaleId, _) = (which.into(), checked(&stock.reason)?);
    console.may_switch()?;
    if stock.delta == 0 {
        return Err(Problem::field("delta", "is 0, which changes nothing"));
    }
    let place = console.sales.place(&sale).await?;
    let product = product(&place, &stock.sku).await?;
    let after = stock
        .expected
        .checked_add(stock.delta)
        .filter(|after| *after >= 0)
        .ok_or_else(|| Problem::field("delta", "leads below 0, or to more than there can be"))?;
    let bound = product.units.reserved + product.units.sold;
    if after < bound {
        return Err(Problem::new(
            Code::StockCommitted,
            format!(
                "{bound} units of {} are held or sold, so its stock cannot go down to {after}.",
                stock.sku
            ),
        ));
    }
    let change = StockChange {
        sku: stock.sku.clone(),
        expected: stock.expected,
        delta: stock.delta,
        key: uuid::Uuid::new_v4().to_string(),
    };
    let detail = format!("{} from {} to {after}", stock.sku, stock.expected);
    let work = console.sales.change_stock(&sale, &change);
    console
        .carry_out(
            (&sale, &who, &from),
            (What::ChangeStock, detail, Some(reason)),
            work,
        )
        .await?;
    let units = Units {
        stock: after,
        available: after - bound,
        ..product.units
    };
    let product = ProductView { units, ..product };
    Ok(Json(Stocked { product }))
}

async fn product(place: &Arc<Place>, sku: &str) -> Result<ProductView, Problem> {
    let products = products::views(place).await?;
    let found = products.into_iter().find(|product| product.sku == sku);
    found.ok_or_else(|| Problem::not_found("product"))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Letter {
    id: String,
}

/// Sends a message to its topic once more.
pub(super) async fn replay(
    console: State<Console>,
    who: Administrator,
    from: From,
    which: SalePath,
    letter: Json<Letter>,
) -> Result<Json<order::LetterView>, Problem> {
    act(console, who, from, which, letter, Action::Replayed).await
}

/// Says that nobody will do anything about one.
pub(super) async fn discard(
    console: State<Console>,
    who: Administrator,
    from: From,
    which: SalePath,
    letter: Json<Letter>,
) -> Result<Json<order::LetterView>, Problem> {
    act(console, who, from, which, letter, Action::Discarded).await
}

async fn act(
    State(console): State<Console>,
    who: Administrator,
    from: From,
    Path(which): SalePath,
    Json(Letter { id }): Json<Letter>,
    action: Action,
) -> Result<Json<order::LetterView>, Problem> {
    let sale: SaleId = which.into();
    console.may_switch()?;
    let place = console.sales.place(&sale).await?;
    let what = match action {
        Action::Replayed => What::ReplayDeadLetter,
        Action::Discarded => What::DiscardDeadLetter,
    };
    let at = DateTime::from_millis(console.clock.now().as_millisecond());
    let (letters, outbox) = (DeadLetters::new(&place.database), Outbox::new(&place.database));
    let (transactions, by, one) = (place.transactions.clone(), who.id.clone(), id.clone());
    let work = async move {
        let acted = mongo::detached(async move {
            transactions
                .run(|session| {
                    let (letters, outbox, id, by) =
                        (letters.clone(), outbox.clone(), one.clone(), by.clone());
                    async move { letters.act(session, &outbox, &id, action, by.as_str(), at).await }.boxed()
                })
                .await
        });
        acted.await.map_err(undone)
    };
    let letter = console
        .carry_out((&sale, &who, &from), (what, id, None), work)
        .await?;
    Ok(Json(order::LetterView::from(letter)))
}

fn undone(error: Undone) -> Problem {
    match error {
        Undone::Unknown => Problem::not_found("dead letter"),
        Undone::NoText | Undone::TooLarge(_) => Problem::field("id", error.to_string()),
        Undone::Mongo(error) => busy(&error),
    }
}

/// The audits of a sale.
pub(super) fn audits(place: &Place, clock: &Clock) -> Audits {
    let store = inventory::store::Store::new(&place.database, place.transactions.clone());
    let on_the_way = OnTheWay::new(&place.database, place.kafka.clone(), &place.config);
    Audits::new(store, &place.database, on_the_way, clock.clone())
}

/// Begins an audit of a sale's books. It goes on after the answer, one at a time for each sale.
pub(super) async fn audit(
    State(console): State<Console>,
    who: Administrator,
    from: From,
    Path(which): SalePath,
) -> Result<(StatusCode, Json<Audited>), Problem> {
    let sale: SaleId = which.into();
    console.may_switch()?;
    let place = console.sales.place(&sale).await?;
    let audits = audits(&place, &console.clock);
    let begins = {
        let mut auditing = console.auditing.lock().unwrap_or_else(PoisonError::into_inner);
        auditing.insert(sale.clone())
    };
    if !begins {
        let last = audits.last().await.map_err(|error| busy(&error))?;
        return Ok((StatusCode::ACCEPTED, Json(Audited::of(last))));
    }
    let auditing = Arc::clone(&console.auditing);
    let ends = Ends {
        auditing,
        sale: sale.clone(),
    };
    let asked = async { audits.ask().await.map_err(|error: MongoError| busy(&error)) };
    let record = console
        .carry_out((&sale, &who, &from), (What::Audit, String::new(), None), asked)
        .await?;
    console.audits.spawn(async move {
        if let Err(error) = audits.audit_and_keep().await {
            tracing::warn!(%error, "what an audit has found could not be kept; ask for another one");
        }
        drop((ends, place));
    });
    Ok((StatusCode::ACCEPTED, Json(Audited::of(Some(record)))))
}

/// Lets the next audit of a sale begin, whatever became of this one.
struct Ends {
    auditing: Arc<std::sync::Mutex<std::collections::HashSet<SaleId>>>,
    sale: SaleId,
}

impl Drop for Ends {
    fn drop(&mut self) {
        let mut auditing = self.auditing.lock().unwrap_or_else(PoisonError::into_inner);
        auditing.remove(&self.sale);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_needed_and_bounded() {
        assert_eq!(checked(" too few couriers ").unwrap(), "too few couriers");
        assert!(checked("  ").unwrap_err().detail.contains("reason"));
        assert!(checked(&"x".repeat(501)).is_err());
    }
}
