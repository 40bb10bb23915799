//! The reconciliation of one FlashSale.
//!
//! ```text
//! fetch ─> validate ─> control document ─> build ─> apply + push ─> prune ─> evidence ─> phase ─> status
//! ```
//! Objects are built for the phase that the status names, then evidence decides on the next one, which is written
//! down before anything is built for it. So a reconciliation can end anywhere, and the next one goes on from what is
//! written. Nothing else remembers anything: the memory of the process holds only caches.

pub mod apply;
pub mod backends_secret;
pub mod build;
pub mod cleanup;
pub mod context;
pub mod control;
pub mod error;
pub mod evidence;
pub mod fetch;
pub mod prune;
pub mod rollout;
pub mod status;
pub mod trail;
pub mod unreadable;
pub mod validate;

use crate::{
    backends::Look,
    metrics::RECONCILE_SECONDS,
    phase::{self, Deletion, Evidence, Schedule, Step},
    signing_keys::ROTATE,
};
use backends_secret::{PlaintextConsent, Secrecy, Unusable};
use context::Context;
use control::Halt;
use crds::{FlashSale, FlashSaleStatus, Readable, ValidSale, status::ConditionType};
use error::Error;
use evidence::Knowledge;
use fetch::Observed;
use jiff::Timestamp;
use kube::{
    Resource, ResourceExt,
    runtime::{controller::Action, events::EventType},
};
use platform::audit::Outcome;
use rollout::Rollout;
use sale::phase::Phase;
use status::Finding;
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use trail::Deed;

/// How soon to look again when something was just written that the next look needs.
const AT_ONCE: Duration = Duration::from_millis(20);
/// How soon to look again when somebody else was faster.
const AFTER_CONFLICT: Duration = Duration::from_millis(200);
/// How soon to look again while something is awaited.
const SOON: Duration = Duration::from_secs(1);
/// How soon to look again at an open sale, whose numbers move.
const LIVE: Duration = Duration::from_secs(3);
/// How soon to look again when nothing is expected to happen.
const IDLE: Duration = Duration::from_secs(60);

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
    if let Err(error) = status::write(&context.client, &sale, &status).await {
        tracing::debug!(%error, "condition not written");
    }
}

async fn reconcile_newest(cached: &Readable, context: &Context) -> Result<Action, Error> {
    let Some(sale) = fetch::newest(&context.client, cached).await? else {
        return Ok(Action::await_change());
    };
    let sale = match sale.0 {
        Ok(sale) => sale,
        Err(invalid) => {
            unreadable::handle(context, &invalid).await?;
            return Ok(Action::requeue(IDLE));
        }
    };
    let now = context.clock.now();
    let observed = fetch::fetch(context, &sale, now).await?;
    if let Some(backends) = &observed.backends {
        context.remember(&sale, backends);
    }
    let deleting = sale.meta().deletion_timestamp.is_some();
    let phase = status_of(&sale, &observed, now).phase();
    let mut valid = validate::validate(&sale);
    // A sale that is open has shown that its topics are its own.
    if deleting || matches!(phase, Phase::Pending | Phase::Warming) {
        let others = context.sales();
        let readable = others.iter().filter_map(|other| other.0.as_ref().ok());
        valid = valid.and_then(|valid| validate::owns_its_topics(&sale, valid, readable));
    }
    if deleting && let Some(action) = delete(context, &sale, valid.as_ref().ok(), &observed).await? {
        return Ok(action);
    }
    match valid {
        Ok(valid) => step(context, &sale, &valid, &observed).await,
        Err(invalid) => {
            validate::report(context, &sale, &invalid).await?;
            Ok(Action::requeue(IDLE))
        }
    }
}

/// The status as it was written. Where somebody has emptied it, the phase comes from the control document that the
/// services hold: a sale that is open must not begin anew.
fn status_of(sale: &FlashSale, observed: &Observed, now: Timestamp) -> FlashSaleStatus {
    let mut status = sale.status.clone().unwrap_or_default();
    if status.phase.is_none()
        && let Some(document) = observed.control(&sale.name_any())
    {
        tracing::warn!(namespace = sale.namespace(), sale = sale.name_any(), phase = %document.phase, "the status was empty");
        status.phase = Some(document.phase);
        status.opens_at = status.opens_at.or(document.opens_at);
        match document.phase {
            Phase::Draining => status.draining_since = status.draining_since.or(Some(now)),
            Phase::Ended => status.ended_at = status.ended_at.or(Some(now)),
            Phase::Pending | Phase::Warming | Phase::Live => {}
        }
    }
    status
}

/// Cleans up after a deleted sale, or answers `None` while its orders are still to be settled.
async fn delete(
    context: &Context,
    sale: &FlashSale,
    valid: Option<&ValidSale>,
    observed: &Observed,
) -> Result<Option<Action>, Error> {
    if !cleanup::is_held(sale) {
        return Ok(Some(Action::await_change()));
    }
    let now = context.clock.now();
    let status = status_of(sale, observed, now);
    if let (Some(valid), false) = (valid, cleanup::is_forced(sale)) {
        let deleted_at = sale.meta().deletion_timestamp.as_ref().map_or(now, |time| time.0);
        match phase::deletion(
            status.phase(),
            &schedule(valid, &status),
            status.draining_since,
            deleted_at,
            now,
        ) {
            Deletion::Drain => return Ok(None),
            Deletion::CleanUp => {}
            Deletion::GiveUpDraining => {
                let note = "orders were still settling when the time for it was over; the sale is deleted regardless";
                context
                    .event(
                        sale,
                        EventType::Warning,
                        "Drain",
                        "DrainTimedOut",
                        note.to_owned(),
                    )
                    .await;
            }
        }
    }
    if !cleanup::clean_up(context, sale, valid, &status, observed, now).await? {
        return Ok(Some(Action::requeue(SOON)));
    }
    cleanup::release(context, sale).await?;
    Ok(Some(Action::await_change()))
}

/// How safe passwords are on their way to the backends, as far as the Secret is there.
fn secrecy(context: &Context, sale: &ValidSale, observed: &Observed) -> Option<Secrecy> {
    let consent = PlaintextConsent::of(sale, context.settings.plaintext_passwords);
    let backends = observed.backends.as_ref()?;
    Some(Secrecy::of(backends, consent))
}

fn schedule(sale: &ValidSale, status: &FlashSaleStatus) -> Schedule {
    Schedule {
        opens_at: sale.opens_at,
        closes_at: sale.closes_at,
        warm_up: sale.warm_up,
        opened_at: status.opens_at,
    }
}

async fn step(
    context: &Context,
    sale: &FlashSale,
    valid: &ValidSale,
    observed: &Observed,
) -> Result<Action, Error> {
    let now = context.clock.now();
    let mut status = status_of(sale, observed, now);
    // An opening that was taken out of the spec; one that we decided on is never in the future.
    if valid.opens_at.is_none() && status.opens_at.is_some_and(|at| at > now) {
        status.opens_at = None;
    }
    let deleting = sale.meta().deletion_timestamp.is_some();
    if !deleting {
        cleanup::hold(context, sale).await?;
    }
    let phase = status.phase();
    let asked_for_key = sale.annotations().get(ROTATE).map(String::as_str);
    let rollout = Rollout::prepare(context, valid, &status, observed, deleting, asked_for_key, now)?;
    let outcome = rollout.carry_out(context, observed).await?;
    let failure = outcome.failure.map(Error::from);
    let claimant = cleanup::claimant(context, sale, &status);
    let claiming =
        phase == Phase::Pending && !deleting && phase::is_time_to_warm_up(&schedule(valid, &status), now);
    let secrecy = secrecy(context, valid, observed);
    let look = if claiming {
        let refusal = secrecy.as_ref().and_then(Secrecy::refusal);
        let consent = PlaintextConsent::of(valid, context.settings.plaintext_passwords);
        let usable =
            refusal.is_none() && backends_secret::operators(observed.backends.as_ref(), consent).is_ok();
        if status.claimed_at.is_none() && usable {
            // Written down before it is done: from now on there may be something to delete.
            status.phase.get_or_insert_default();
            status.claimed_at = Some(now);
            status::write(&context.client, sale, &status).await?;
            trail::record(sale, Deed::Claim, Outcome::Done);
            return Ok(Action::requeue(AT_ONCE));
        }
        Some(match refusal {
            Some(sentence) => evidence::unusable(&Unusable::Plaintext(sentence)),
            None => evidence::look(context, valid, observed, &claimant, &rollout.backends_hash).await,
        })
    } else {
        None
    };
    let selling = matches!(phase, Phase::Warming | Phase::Live | Phase::Draining);
    let knowledge = if selling {
        let known = evidence::gather(
            context,
            valid,
            &status,
            observed,
            &claimant,
            &rollout.backends_hash,
            &rollout.token,
        );
        // Reading takes a while, and what people have just changed should not wait for it; a sale that drains has no
        // buyers who wait for a change, and must come to its end.
        tokio::select! {
            known = known => Some(known),
            () = context.edited_since(sale), if phase != Phase::Draining => return Ok(Action::requeue(AT_ONCE)),
        }
    } else {
        None
    };
    let mut findings = vec![halted(control::halt(valid, &status))];
    if claiming || selling {
        findings.extend(secrecy.as_ref().map(Secrecy::finding));
    }
    let mut evidence = Evidence {
        deleting,
        control_in_force: outcome.receipts.everywhere(),
        ..Evidence::default()
    };
    if let Some(look) = &look {
        evidence.claimed = look.ownership.is_ok();
        findings.extend(evidence::of_backends(look));
    }
    if let Some(known) = &knowledge {
        known.record_numbers(&mut status, &outcome.receipts);
        findings.extend(known.findings());
        let unsettled = outcome.deployments_changed || failure.is_some();
        evidence = evidence_of(known, evidence, unsettled);
        // An order process that was not heard of may still commit what it began by an older document.
        evidence.settled &= outcome.receipts.silent_orders == 0;
    }
    if phase == Phase::Ended {
        findings.push(evidence::afterwards(observed, &valid.id.name, &mut status));
    }
    let next = phase::next(phase, &schedule(valid, &status), &evidence, now);
    take(next, &mut status, now);
    findings.extend(summary(&status, &evidence, claiming, failure.as_ref()));
    describe(valid, &mut status, look.as_ref());
    if status.phase() == Phase::Ended {
        finish(context, sale, valid, &mut status, observed, now).await?;
    }
    let generation = valid.generation;
    status.observed_generation = Some(generation);
    status::record(&mut status, &findings, generation, now);
    status::write(&context.client, sale, &status).await?;
    tell(context, sale, &status, next).await;
    if let Some(failure) = failure {
        return Err(failure);
    }
    let write_first = knowledge
        .as_ref()
        .is_some_and(|k| k.catalogue.as_ref().is_ok_and(|c| c.must_write_first));
    Ok(Action::requeue(if next != Step::Stay || write_first {
        AT_ONCE
    } else {
        pause(
            &status,
            &schedule(valid, &status),
            outcome.receipts.unheard > 0 || !evidence.control_in_force,
            now,
        )
    }))
}

fn evidence_of(known: &Knowledge, evidence: Evidence, unsettled: bool) -> Evidence {
    let catalogue = known.catalogue.as_ref().ok();
    Evidence {
        backends_reachable: known.backends.unreachable.as_ref().is_some_and(Vec::is_empty),
        claimed: known.backends.ownership.is_ok(),
        topics_ready: known.backends.topics == Ok(Some(())),
        // What was read before a Deployment was changed, or while one was refused, says nothing about it.
        workloads_ready: known.rolled_out.len() == crds::Component::ALL.len() && !unsettled,
        catalogue_ready: catalogue.is_some_and(|c| c.is_ready()),
        sold_out: catalogue.is_some_and(|c| c.sold_out),
        settled: known.settlement.as_ref().is_ok_and(|s| s.is_settled()),
        ..evidence
    }
}

/// Writes a step down.
fn take(step: Step, status: &mut FlashSaleStatus, now: Timestamp) {
    status.phase.get_or_insert(Phase::Pending);
    match step {
        Step::Stay => {}
        Step::DecideOpening(at) => status.opens_at = Some(at),
        Step::Enter(phase) => {
            status.phase = Some(phase);
            match phase {
                Phase::Draining => status.draining_since = Some(now),
                Phase::Ended => status.ended_at = Some(now),
                Phase::Pending | Phase::Warming | Phase::Live => {}
            }
        }
    }
}

/// The report, and the end of a rehearsal's data.
async fn finish(
    context: &Context,
    resource: &FlashSale,
    sale: &ValidSale,
    status: &mut FlashSaleStatus,
    observed: &Observed,
    now: Timestamp,
) -> Result<(), Error> {
    let report = build::report::report(sale, status);
    apply::apply(&context.client, &sale.id.namespace, observed, &report).await?;
    status.report_ref = Some(crds::traffic::LocalReference { name: report.name });
    let workloads_gone = observed.pods.is_empty() && observed.images(&sale.id.name).is_empty();
    if sale.is_rehearsal() && status.data_wiped_at.is_none() && workloads_gone {
        let remembered = context.remembered(resource);
        let backends = observed.backends.as_ref().or(remembered.as_ref());
        cleanup::wipe(context, resource, sale, status, backends).await?;
        status.data_wiped_at = Some(now);
    }
    Ok(())
}

fn halted(halt: Option<Halt>) -> Finding {
    let (reason, sentence) = match halt {
        Some(Halt::OnRequest) => (
            "OnRequest",
            "spec.halted is set: new orders are refused, accepted ones settle",
        ),
        Some(Halt::BooksDiffer) => (
            "BooksDiffer",
            "the books differ, as StockConserved says: new orders are refused until they agree; set \
             spec.onAuditDifference to Continue to sell on",
        ),
        None => ("NotRequested", "spec.halted is not set"),
    };
    Finding::new(ConditionType::Halted, halt.is_some(), reason, sentence)
}

/// Ready and Degraded follow from the others.
fn summary(
    status: &FlashSaleStatus,
    evidence: &Evidence,
    claiming: bool,
    failure: Option<&Error>,
) -> [Finding; 2] {
    let complete = evidence.ready_to_sell() && evidence.control_in_force;
    let (ready, reason, message) = match status.phase() {
        Phase::Pending if claiming => (
            false,
            "WaitingForBackends",
            "the warm-up begins once backends, topics and database are there and the sale's own",
        ),
        Phase::Pending => (false, "WaitingForWarmUp", "the warm-up has not begun"),
        Phase::Warming if complete => (
            false,
            "WaitingForOpening",
            "everything is ready; waiting for the opening time",
        ),
        Phase::Warming => (
            false,
            "WarmingUp",
            "backends, topics, services and catalogue are being made ready",
        ),
        Phase::Live if complete => (true, "Open", "orders are taken"),
        Phase::Live => (
            false,
            "Impaired",
            "the sale is open and something is missing; see the other conditions",
        ),
        Phase::Draining => (false, "Draining", "no new orders; accepted ones are settling"),
        Phase::Ended => (true, "Ended", "every order is settled"),
    };
    let impaired = status.phase() == Phase::Live && !complete;
    let degraded = match failure {
        // In the words of the report that follows, or the condition would change to and fro.
        Some(error) => Finding::new(ConditionType::Degraded, true, error.reason(), error.to_string()),
        None if impaired => Finding::new(ConditionType::Degraded, true, "Impaired", message),
        None => Finding::new(
            ConditionType::Degraded,
            false,
            "AsExpected",
            "nothing that should work is missing",
        ),
    };
    [
        Finding::new(ConditionType::Ready, ready, reason, message),
        degraded,
    ]
}

/// What people read first.
fn describe(sale: &ValidSale, status: &mut FlashSaleStatus, look: Option<&Look>) {
    if sale.opens_at.is_some() {
        status.opens_at = sale.opens_at;
    }
    status.closes_at = sale.closes_at.or(status.draining_since);
    status.stock = status.stock.or(Some(sale.total_stock()));
    status.sold = status.sold.or(Some(0));
    status.url = Some(match &sale.ingress {
        Some(ingress) if ingress.tls_secret_name.is_some() => format!("https://{}", ingress.host),
        Some(ingress) => format!("http://{}", ingress.host),
        None => build::service_url(sale, crds::Component::Gateway),
    });
    let units = format!(
        "{} of {} units sold",
        status.sold.unwrap_or(0),
        status.stock.unwrap_or(0)
    );
    status.message = Some(match status.phase() {
        Phase::Pending => match look.map(|look| &look.ownership) {
            Some(Err(sentence)) => format!("Waiting for its backends: {sentence}."),
            _ => "Waiting for the warm-up to begin.".to_owned(),
        },
        Phase::Warming => "Warming up.".to_owned(),
        Phase::Live if control::halt(sale, status).is_some() => format!("Halted; {units}."),
        Phase::Live => format!("Open; {units}."),
        Phase::Draining => format!("Closed, accepted orders are settling; {units}."),
        Phase::Ended => format!("Ended; {units}."),
    });
}

/// Events for what changed: they are the story that `kubectl describe` tells.
async fn tell(context: &Context, sale: &FlashSale, status: &FlashSaleStatus, step: Step) {
    let before = sale.status.clone().unwrap_or_default();
    for condition in &status.conditions {
        let old = before
            .conditions
            .iter()
            .find(|c| c.type_ == condition.type_)
            .map(|c| c.status.as_str());
        let told = !matches!(condition.type_.as_str(), "Ready" | "Degraded" | "Halted");
        let (was, is) = (old == Some("True"), condition.status == "True");
        // What is not ready at first is no news, unless it is something that others have to provide.
        let news = was != is || (old.is_none() && condition.type_ == "BackendsReachable");
        if told && news {
            let planned = is || status.phase() == Phase::Ended;
            let type_ = if planned {
                EventType::Normal
            } else {
                EventType::Warning
            };
            let reason = if is { &condition.type_ } else { &condition.reason };
            context
                .event(sale, type_, "Look", reason, condition.message.clone())
                .await;
        }
    }
    if let Step::Enter(phase) = step {
        let note = status.message.clone().unwrap_or_default();
        context
            .event(sale, EventType::Normal, "EnterPhase", phase.as_str(), note)
            .await;
        trail::record(sale, Deed::Enter(phase), Outcome::Done);
    }
}

/// How long nothing is expected to happen.
fn pause(status: &FlashSaleStatus, schedule: &Schedule, unheard: bool, now: Timestamp) -> Duration {
    let until = |at: Timestamp| at.duration_since(now).unsigned_abs().max(AT_ONCE);
    let ahead = |at: Option<Timestamp>| at.filter(|at| *at > now).map_or(IDLE, until);
    match status.phase() {
        Phase::Pending if phase::is_time_to_warm_up(schedule, now) => SOON,
        Phase::Pending => ahead(phase::warm_up_begins(schedule)).min(IDLE),
        Phase::Warming | Phase::Draining => SOON,
        Phase::Live if unheard => SOON,
        Phase::Live => ahead(schedule.closes_at).min(LIVE),
        Phase::Ended => IDLE,
    }
}
