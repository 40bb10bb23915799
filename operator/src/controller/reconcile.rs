//! The loop: one look at one sale, and one step.

use super::{
    context::Context,
    deletion,
    error::Error,
    fetch,
    host::{self, Holder},
    known::{doors, known_status},
    pace::{AFTER_CONFLICT, IDLE, SOON},
    round::Round,
    status::{self, Finding, Write},
    unreadable, validate,
};
use crate::{metrics::RECONCILE_SECONDS, rehearsal};
use crds::{FlashSale, Readable, ValidSale, status::ConditionType};
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

fn holder_of_its_host(context: &Context, sale: &FlashSale, valid: &ValidSale) -> Option<Holder> {
    valid.by_host.as_ref()?;
    let others = context.sales();
    let readable = others.iter().filter_map(|other| other.0.as_ref().ok());
    host::holder(sale, valid, readable)
}
