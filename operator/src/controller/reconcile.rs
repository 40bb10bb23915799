//! The loop: one look at one sale, and one step.

use super::{
    context::Context,
    deletion,
    error::Error,
    fetch,
    host::{self, Holder},
    observed::Observed,
    pace::{AFTER_CONFLICT, IDLE, SOON},
    round::Round,
    status::{self, Finding, Write},
    unreadable, validate,
};
use crate::{
    metrics::RECONCILE_SECONDS,
    phase::{self, Doors, Schedule},
    rehearsal,
};
use crds::{FlashSale, FlashSaleStatus, Readable, ValidSale, status::ConditionType};
use jiff::Timestamp;
use kube::{
    ResourceExt,
    runtime::{controller::Action, events::EventType},
};
use sale::phase::Phase;
use std::{sync::Arc, time::Instant};

/// Brings one sale a step further.
///
/// # Errors
/// [`Error`], which the caller answers with a wait.
pub async fn reconcile(cached: Arc<Readable>, context: Arc<Context>) -> Result<Action, Error> {
    let began = Instant::now();
    let result = match Box::pin(reconcile_newest(&cached, &context)).await {
        // Somebody else has changed the object meanwhile: that is no failure, and the next round sees the change.
        Err(Error::Api(error)) if error.is_conflict() => Ok(Action::requeue(AFTER_CONFLICT)),
        result => result,
    };
    let label = result.as_ref().map_or_else(Error::reason, |_| "ok");
    RECONCILE_SECONDS
        .with_label_values(&[label])
        .observe(began.elapsed().as_secs_f64());
    match &result {
        Ok(_) => context.succeeded(cached.as_ref()),
        Err(error) => report_failure(&context, &cached, error).await,
    }
    result
}

/// What to do after an error: wait, on a schedule of the sale's own.
#[expect(
    clippy::needless_pass_by_value,
    reason = "the controller passes these by value"
)]
pub fn after_error(sale: Arc<Readable>, error: &Error, context: Arc<Context>) -> Action {
    let wait = context.wait_after_error(sale.as_ref());
    tracing::warn!(
        namespace = sale.namespace(), sale = sale.name_any(), reason = error.reason(), %error, ?wait,
        "reconciliation failed; trying again"
    );
    Action::requeue(wait)
}

async fn report_failure(context: &Context, cached: &Readable, error: &Error) {
    let sentence = error.to_string();
    context
        .event(
            cached,
            EventType::Warning,
            "Reconcile",
            error.reason(),
            sentence.clone(),
        )
        .await;
    // The condition is a courtesy too: where the API server is the problem, it cannot be written either.
    let newest = fetch::newest(&context.client, cached).await;
    let Some(sale) = newest.ok().flatten().and_then(|sale| sale.0.ok()) else {
        return;
    };
    let mut status = sale.status.clone().unwrap_or_default();
    let degraded = Finding::new(ConditionType::Degraded, true, error.reason(), sentence);
    status::record(
        &mut status,
        &[degraded],
        sale.metadata.generation.unwrap_or(0),
        context.clock.now(),
    );
    if let Err(error) = status::write(context, &sale, &status, Write::Anyway).await {
        tracing::debug!(%error, "condition not written");
    }
}

async fn reconcile_newest(cached: &Readable, context: &Context) -> Result<Action, Error> {
    if context.has_gone(cached) {
        return Ok(Action::await_change());
    }
    let shown = context.shown(cached);
    let sale = match context.newest(shown.as_deref().unwrap_or(cached)) {
        Some(sale) => sale,
        None => match fetch::newest(&context.client, cached).await? {
            Some(sale) => sale,
            None => return Ok(Action::await_change()),
        },
    };
    let sale = match sale.0 {
        Ok(sale) => sale,
        Err(invalid) => {
            let pause = match unreadable::handle(context, &invalid).await? {
                true => IDLE,
                false => SOON,
            };
            return Ok(Action::requeue(pause));
        }
    };
    let Some(observed) = fetch::fetch(context, &sale, context.clock.now()).await? else {
        tracing::debug!(sale = sale.name_any(), "not all of its objects are known yet");
        return Ok(Action::requeue(SOON));
    };
    if let Some(backends) = &observed.backends {
        context.remember(&sale, backends);
    }
    // Reading may have taken seconds, in which a door may have opened.
    let now = context.clock.now();
    let deleting = deletion::is_asked_for(&sale);
    let status = known_status(context, &sale, &observed, now);
    let mut checked = validate::validate(&sale);
    // A sale that is open has shown that its topics are its own.
    if deleting || matches!(status.phase(), Phase::Pending | Phase::Warming) {
        let others = context.sales();
        let readable = others.iter().filter_map(|other| other.0.as_ref().ok());
        checked = checked.and_then(|valid| validate::owns_its_topics(&sale, valid, readable));
    }
    let (valid, invalid) = match checked {
        Ok(valid) => (valid, None),
        Err(invalid) => match ValidSale::salvaged(&sale) {
            Some(valid) => (valid, Some(invalid)),
            None => {
                validate::report(context, &sale, &invalid).await?;
                return Ok(Action::requeue(IDLE));
            }
        },
    };
    let doors = doors(context, &sale, &observed);
    if deleting
        && let Some(action) = deletion::attend(context, &sale, &valid, &status, &observed, &doors).await?
    {
        return Ok(action);
    }
    match invalid {
        // Nothing was made for it, and nothing is.
        Some(invalid) if status.phase() == Phase::Pending => {
            validate::report(context, &sale, &invalid).await?;
            Ok(Action::requeue(IDLE))
        }
        invalid => {
            let look = Round {
                context,
                sale: &sale,
                valid: &valid,
                invalid: invalid.as_ref(),
                observed: &observed,
                holder: holder_of_its_host(context, &sale, &valid),
                waits_for: rehearsal::beside(
                    &valid,
                    context.sales().iter().filter_map(|other| other.0.as_ref().ok()),
                ),
                doors,
                deleting,
                now,
            };
            look.step(status).await
        }
    }
}

/// The status as it was written, with the facts that have come since. Where somebody has emptied it, the phase comes from the
/// control document that the services hold: a sale that is open must not begin anew.
pub fn known_status(
    context: &Context,
    sale: &FlashSale,
    observed: &Observed,
    now: Timestamp,
) -> FlashSaleStatus {
    let mut status = sale.status.clone().unwrap_or_default();
    let name = sale.name_any();
    if status.phase.is_none()
        && let Some(document) = observed.control(&name)
    {
        tracing::warn!(namespace = sale.namespace(), sale = name, phase = %document.phase, "the status was empty");
        status.phase = Some(document.phase);
        status.opens_at = status.opens_at.or(document.opens_at);
        if !matches!(document.phase, Phase::Pending | Phase::Warming) {
            status.opened_at = status.opened_at.or(document.opens_at);
        }
        match document.phase {
            Phase::Draining => status.draining_since = status.draining_since.or(Some(now)),
            Phase::Ended => status.ended_at = status.ended_at.or(Some(now)),
            Phase::Pending | Phase::Warming | Phase::Live => {}
        }
    }
    let doors = doors(context, sale, observed);
    // Of a sale that sells, or has sold, nobody may have written down since when.
    let has_sold = matches!(status.phase, Some(Phase::Live | Phase::Draining));
    let since = status.opened_at.or_else(|| {
        let told = status.opens_at.or(doors.told);
        told.filter(|_| has_sold && doors.exist)
    });
    status.opened_at = phase::opened(since, &doors, now);
    status
}

fn holder_of_its_host(context: &Context, sale: &FlashSale, valid: &ValidSale) -> Option<Holder> {
    valid.by_host.as_ref()?;
    let others = context.sales();
    let readable = others.iter().filter_map(|other| other.0.as_ref().ok());
    host::holder(sale, valid, readable)
}

/// What the doors of a sale go by: what they were told last, written down or not, and whether there are any.
pub fn doors(context: &Context, sale: &FlashSale, observed: &Observed) -> Doors {
    let status = sale.status.as_ref();
    let rolled_out = status.and_then(|status| status.condition(ConditionType::WorkloadsReady));
    let has_sold = status.is_some_and(|status| status.opened_at.is_some());
    let was_complete = has_sold || rolled_out.is_some_and(|condition| condition.holds() == Some(true));
    let written = observed.doors(&sale.name_any(), was_complete);
    let told = context.told.last(&sale.uid().unwrap_or_default());
    let newer = told.filter(|told| {
        let document = observed.control(&sale.name_any());
        document.is_none_or(|written| written.version < told.document.version)
    });
    match newer {
        Some(told) => Doors {
            told: told.document.opens_at,
            closed: told.document.closed,
            exist: written.exist,
        },
        None => written,
    }
}

/// What spec, status and doors say about time.
pub fn schedule(sale: &ValidSale, status: &FlashSaleStatus, doors: &Doors, now: Timestamp) -> Schedule {
    // An opening that was taken out of the spec is none any more; one that we decided on is never in the future.
    let decided = status.opens_at.filter(|at| sale.opens_at.is_none() && *at <= now);
    Schedule {
        opens_at: phase::standing_opening(doors, now).or(sale.opens_at),
        closes_at: sale.closes_at,
        warm_up: sale.warm_up,
        decided,
        opened_at: status.opened_at,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn sale(spec: &serde_json::Value) -> ValidSale {
        let sale: FlashSale = serde_json::from_value(json!({
            "apiVersion": "quicksale.io/v1alpha1", "kind": "FlashSale",
            "metadata": {"name": "laptops", "namespace": "shop", "uid": "u"}, "spec": spec,
        }))
        .unwrap();
        ValidSale::try_from(&sale).unwrap()
    }

    fn products(stock: i64) -> serde_json::Value {
        json!({"products": [{"sku": "A", "name": "a", "price": "1.00", "stock": stock}]})
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    /// The moment that the operator has decided on lies ahead again; an open sale stays open, and one that is not decides anew.
    #[test]
    fn a_clock_that_steps_back_closes_no_open_sale() {
        let status = |opened_at| FlashSaleStatus {
            opens_at: Some(at(100)),
            opened_at,
            ..FlashSaleStatus::default()
        };
        let opening = |status: &FlashSaleStatus, now| {
            schedule(&sale(&products(1)), status, &Doors::default(), at(now)).opening()
        };
        assert_eq!(opening(&status(Some(at(100))), 99), Some(at(100)));
        assert_eq!(opening(&status(None), 100), Some(at(100)));
        assert_eq!(opening(&status(None), 99), None);
    }
}
