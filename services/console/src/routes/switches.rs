//! What administrators change. Each deed is written down before it is done, with a reason, and needs the installation's leave.

use super::SalePath;
use crate::{
    Console, Switches,
    deeds::{Intent, What},
    place::Place,
    problems::busy,
    products::{self, ProductView},
    sales::{
        Doors, StockChange,
        view::{Halt, Summary, Units},
    },
    session::{Administrator, Sender},
};
use axum::extract::State;
use events::{
    dead_letters::{Action, DeadLetters, Undone},
    outbox::Outbox,
};
use futures::FutureExt;
use mongodb::bson::DateTime;
use platform::{
    backends::mongo,
    http::{
        Json, Path,
        problem::{Code, Problem},
    },
};
use sale::SaleId;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, sync::Arc};

/// The longest id of a letter: its parts are names and numbers.
const LONGEST_ID: usize = 200;
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
    pub(super) fn may_switch(&self) -> Result<(), Problem> {
        match self.switches {
            Switches::Allowed => Ok(()),
            Switches::Withheld => Err(Problem::new(
                Code::Forbidden,
                "This console may only look: whoever installed it has not given it the switches.",
            )),
        }
    }

    /// Does something to a sale, and writes it down. It goes on where whoever asked does not wait for it: a deed has an end, and a line in the
    /// audit trail.
    pub(super) async fn carry_out<T: Send + 'static>(
        &self,
        (sale, who, from): (&SaleId, Administrator, Sender),
        (what, detail, reason): (What, String, Option<String>),
        work: impl Future<Output = Result<T, Problem>> + Send + 'static,
    ) -> Result<T, Problem> {
        self.may_switch()?;
        let intent = Intent {
            sale: sale.clone(),
            who,
            from: from.0.address,
            request_id: from.0.request_id,
            what,
            detail,
            reason,
        };
        let (deeds, now) = (self.deeds.clone(), self.clock.now());
        let done = self
            .under_way
            .spawn(async move { deeds.carry_out(intent, now, work).await });
        done.await.map_err(|error| Problem::internal(&error))?
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
    from: Sender,
    which: SalePath,
    reason: Json<Reason>,
) -> Result<Json<Switched>, Problem> {
    set_doors(console, who, from, which, reason, Doors::Halted).await
}

/// Takes them again.
pub(super) async fn reopen(
    console: State<Console>,
    who: Administrator,
    from: Sender,
    which: SalePath,
    reason: Json<Reason>,
) -> Result<Json<Switched>, Problem> {
    set_doors(console, who, from, which, reason, Doors::Open).await
}

async fn set_doors(
    State(console): State<Console>,
    who: Administrator,
    from: Sender,
    Path(which): SalePath,
    Json(reason): Json<Reason>,
    doors: Doors,
) -> Result<Json<Switched>, Problem> {
    let (sale, reason): (SaleId, _) = (which.into(), checked(&reason.reason)?);
    console.may_switch()?;
    let what = match doors {
        Doors::Halted => What::Halt,
        Doors::Open => What::Reopen,
    };
    let (sales, of) = (console.sales.clone(), sale.clone());
    let work = async move { sales.set_doors(&of, doors).await };
    console
        .carry_out((&sale, who, from), (what, String::new(), Some(reason)), work)
        .await?;
    let known = console.sales.find(&sale).await?;
    let halted_before = known.summary.halt;
    // A watch may be a moment behind what was just changed.
    let summary = Summary {
        halt_requested: doors == Doors::Halted,
        halt: match (doors, halted_before) {
            (_, Halt::BooksDiffer) => Halt::BooksDiffer,
            (Doors::Halted, _) => Halt::OnRequest,
            (Doors::Open, _) => Halt::No,
        },
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
    from: Sender,
    Path(which): SalePath,
    Json(stock): Json<Stock>,
) -> Result<Json<Stocked>, Problem> {
    let (sale, reason): (SaleId, _) = (which.into(), checked(&stock.reason)?);
    console.may_switch()?;
    if stock.delta == 0 {
        return Err(Problem::field("delta", "is 0, which changes nothing"));
    }
    let known = console.sales.find(&sale).await?;
    let place = console.sales.place(&sale).await?;
    let product = product(&place, &stock.sku, &known.declared_stock).await?;
    let changed = |from: i64| {
        from.checked_add(stock.delta)
            .filter(|to| *to >= 0)
            .ok_or_else(|| Problem::field("delta", "leads below 0, or to more than there can be"))
    };
    let (after, declared) = (changed(product.units.stock)?, changed(stock.expected)?);
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
    let detail = format!("{} from {} to {after}", stock.sku, product.units.stock);
    let (sales, of) = (console.sales.clone(), sale.clone());
    let work = async move { sales.change_stock(&of, &change).await };
    console
        .carry_out(
            (&sale, who, from),
            (What::ChangeStock, detail, Some(reason)),
            work,
        )
        .await?;
    let units = Units {
        stock: after,
        available: after - bound,
        ..product.units
    };
    Ok(Json(Stocked {
        product: ProductView {
            units,
            declared_stock: declared,
            ..product
        },
    }))
}

async fn product(
    place: &Arc<Place>,
    sku: &str,
    declared: &BTreeMap<String, i64>,
) -> Result<ProductView, Problem> {
    let products = products::views(place, declared).await?;
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
    from: Sender,
    which: SalePath,
    letter: Json<Letter>,
) -> Result<Json<order::LetterView>, Problem> {
    act(console, who, from, which, letter, Action::Replayed).await
}

/// Says that nobody will do anything about one.
pub(super) async fn discard(
    console: State<Console>,
    who: Administrator,
    from: Sender,
    which: SalePath,
    letter: Json<Letter>,
) -> Result<Json<order::LetterView>, Problem> {
    act(console, who, from, which, letter, Action::Discarded).await
}

async fn act(
    State(console): State<Console>,
    who: Administrator,
    from: Sender,
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
    if id.len() > LONGEST_ID {
        return Err(Problem::not_found("dead letter"));
    }
    let at = DateTime::from_millis(console.clock.now().as_millisecond());
    let (by, one) = (who.id.clone(), id.clone());
    let work = async move {
        let (letters, outbox) = (DeadLetters::new(&place.database), Outbox::new(&place.database));
        let acting = mongo::detached(async move {
            let transactions = &place.transactions;
            let acted = transactions.run(|session| {
                let (letters, outbox, id, by) = (letters.clone(), outbox.clone(), one.clone(), by.clone());
                async move { letters.act(session, &outbox, &id, action, by.as_str(), at).await }.boxed()
            });
            place.change(acted).await
        });
        acting.await.map_err(undone)
    };
    let letter = console
        .carry_out((&sale, who, from), (what, id, None), work)
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
