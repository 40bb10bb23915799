//! The loop: one look at one sale, and one step.

use super::{
    backends_secret::{self, PlaintextConsent, Secrecy, Unusable},
    bring, cleanup, conditions,
    context::Context,
    control, deletion, ending, entrance,
    error::Error,
    evidence, fetch,
    host::{self, Holder},
    observed::Observed,
    pace::{self, AFTER_CONFLICT, AT_ONCE, Awaited, IDLE, SOON},
    pin::ALLOW_ANNOTATION,
    prepared::Preparation,
    rollout::{Aim, Rollout},
    status::{self, Finding, Write},
    story::{self, Chapter},
    trail::{self, Deed},
    unreadable, validate,
};
use crate::{
    calls::ServiceCalls,
    metrics::RECONCILE_SECONDS,
    phase::{self, Doors, Evidence, Schedule, Step},
    push::Receipts,
    rehearsal,
    signing_keys::ROTATE,
    watched::version,
};
use crds::{
    Component, FlashSale, FlashSaleStatus, Readable, ValidSale, status::ConditionType, valid::Invalid,
};
use jiff::Timestamp;
use kube::{
    ResourceExt,
    runtime::{controller::Action, events::EventType},
};
use platform::audit::Outcome;
use sale::{SaleId, phase::Phase};
use std::{collections::BTreeSet, sync::Arc, time::Instant};

/// Set to `true` on a FlashSale, it keeps what was made for the sale as it is. The doors are steered all the same.
pub const PAUSED_ANNOTATION: &str = "quicksale.io/paused";
/// A word in it opens a sale that is closed once more; each word does so once.
pub const REOPEN_ANNOTATION: &str = "quicksale.io/reopen";
/// The longest word that is remembered.
const LONGEST_WORD: usize = 256;

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
    match status::write(&context.client, &sale, &status, Write::Anyway).await {
        Ok(written) => written.into_iter().for_each(|sale| context.wrote(sale)),
        Err(error) => tracing::debug!(%error, "condition not written"),
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
    valid.ingress.as_ref()?;
    let others = context.sales();
    let readable = others.iter().filter_map(|other| other.0.as_ref().ok());
    host::holder(sale, valid, readable)
}

/// What the doors of a sale go by: what they were told last, written down or not, and whether there are any.
pub fn doors(context: &Context, sale: &FlashSale, observed: &Observed) -> Doors {
    let status = sale.status.as_ref();
    let rolled_out = status.and_then(|status| status.condition(ConditionType::WorkloadsReady));
    let has_sold = status.is_some_and(|status| status.opened_at.is_some());
    let was_complete = has_sold || rolled_out.is_some_and(|condition| condition.status == "True");
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

/// One look at a sale.
struct Round<'a> {
    context: &'a Context,
    sale: &'a FlashSale,
    valid: &'a ValidSale,
    /// What is wrong with the spec. Such a sale is steered by what is right in it, and otherwise left as it is.
    invalid: Option<&'a Invalid>,
    observed: &'a Observed,
    /// Who has the host, if that is another sale.
    holder: Option<Holder>,
    /// The open sale that the load of a rehearsal waits for.
    waits_for: Option<SaleId>,
    doors: Doors,
    deleting: bool,
    now: Timestamp,
}

impl Round<'_> {
    async fn step(&self, mut status: FlashSaleStatus) -> Result<Action, Error> {
        let Self {
            context,
            sale,
            valid,
            observed,
            deleting,
            now,
            ..
        } = *self;
        let schedule = schedule(valid, &status, &self.doors, now);
        if !deleting && !cleanup::is_held(sale) {
            cleanup::hold(context, sale).await?;
            return Ok(Action::requeue(AT_ONCE));
        }
        let phase = status.phase();
        let Some(mut rollout) = self.plan(&status, &schedule)? else {
            return Ok(Action::requeue(AT_ONCE));
        };
        status.pinned = rollout.pinned.clone().or(status.pinned);
        let outcome = rollout.carry_out(context, observed).await?;
        let claimant = cleanup::claimant(context, sale, &status);
        let claiming = phase == Phase::Pending
            && !deleting
            && !self.is_paused()
            && phase::is_time_to_warm_up(&schedule, now);
        let secrecy = self.secrecy();
        let look = if claiming {
            if status.claimed_at.is_none() && self.can_claim(secrecy.as_ref()) {
                return self.begin_to_claim(status).await;
            }
            Some(match secrecy.as_ref().and_then(Secrecy::refusal) {
                Some(sentence) => bring::unusable(&Unusable::Plaintext(sentence)),
                None => bring::place(context, valid, observed, &claimant).await,
            })
        } else {
            None
        };
        let selling = matches!(phase, Phase::Warming | Phase::Live | Phase::Draining);
        // Begun anew with each look while there is nothing to ask yet.
        let mut closing = context.take_closing(sale);
        let knowledge = if selling {
            let calls = |component| self.calls(component, &rollout.token);
            let known = async {
                let inventory = calls(Component::Inventory);
                let brought = bring::bring(context, valid, &status, observed, &claimant, &inventory).await;
                let question = evidence::Question {
                    http: &context.http,
                    sale: valid,
                    phase,
                    at: now,
                };
                evidence::gather(question, observed, brought, &mut closing, calls).await
            };
            // Reading takes a while, and what people have just changed should not wait for it; a sale that drains has no
            // buyers who wait for a change, and must come to its end.
            tokio::select! {
                known = known => Some(known),
                () = context.edited_since(sale), if phase != Phase::Draining => return Ok(Action::requeue(AT_ONCE)),
            }
        } else {
            None
        };
        let receipts = &outcome.receipts;
        let failure = outcome.failure.map(Error::from);
        let mut facts = Evidence {
            deleting,
            control_in_force: receipts.everywhere(),
            reopening: self.reopening(&status).is_some(),
            // The data of a rehearsal is gone with its end.
            can_reopen: !valid.is_rehearsal() || phase == Phase::Draining,
            ..Evidence::default()
        };
        let mut findings = Vec::new();
        if claiming || selling {
            findings.extend(secrecy.as_ref().map(Secrecy::finding));
        }
        if let Some(look) = &look {
            facts.claimed = look.ownership.is_ok();
            findings.extend(conditions::of_backends(look));
        }
        if let Some(known) = &knowledge {
            let rejected = status.orders.unwrap_or_default().rejected.unsigned_abs();
            let refused = context.refused(sale, rejected, receipts);
            known.record_numbers(&mut status, refused);
            findings.extend(conditions::of(known));
            findings.extend(conditions::of_processes(receipts));
            let unsettled = outcome.deployments_changed || failure.is_some();
            facts = known.facts(facts, unsettled, receipts);
            if let (Some(_), Phase::Live) = (valid.load, phase) {
                let looks = context.looked(sale, known.look.clone());
                let (rehearsed, finding) =
                    conditions::rehearsed(observed.load(self.waits_for.as_ref()), &valid.expect, &looks);
                facts.rehearsed = rehearsed.is_some();
                status.rehearsed = rehearsed;
                findings.push(finding);
            }
        }
        facts.units_offered = offers_units(valid, &status);
        let replicas = observed.replicas(&valid.id.name).into_iter();
        status.replicas = replicas
            .map(|(component, replicas)| (component.as_str().to_owned(), replicas))
            .collect();
        if phase == Phase::Ended {
            findings.push(conditions::afterwards(observed, &valid.id.name, &mut status));
        }
        let next = phase::next(phase, &schedule, &facts, now);
        let reopening_refused = phase::reopening_refused(phase, &schedule, &facts, now);
        self.take(next, &mut status, reopening_refused.is_some());
        status.host = host::held(valid, &status, self.holder.as_ref(), now);
        let host = host::finding(valid, self.holder.as_ref());
        // Nobody comes any more where it has ended.
        let entrance = match phase {
            Phase::Ended => None,
            _ => entrance::finding(valid, &context.settings.entrances, observed),
        };
        for (kind, said) in [
            (ConditionType::HostReady, &host),
            (ConditionType::EntranceReady, &entrance),
        ] {
            if said.is_none() {
                status::forget(&mut status, kind);
            }
        }
        let ways_in = [&host, &entrance].into_iter().flatten();
        let preparation = Preparation {
            phase: status.phase(),
            schedule: &schedule,
            claiming,
            facts: &facts,
            secret: bring::impediment(valid, context, observed),
            wrong_entrance: ways_in.into_iter().find(|said| !said.holds),
        };
        let waits_for_people = preparation.waits_for_people();
        findings.push(preparation.finding());
        findings.extend(host);
        findings.extend(entrance);
        findings.extend(conditions::clocks(receipts));
        findings.extend(conditions::control_in_force(receipts));
        let up_to_date = status.condition(ConditionType::UpToDate);
        let was_paused = up_to_date.is_some_and(|condition| condition.reason == conditions::PAUSED);
        if self.is_paused() {
            findings.push(conditions::paused());
        } else if selling || phase == Phase::Ended || was_paused {
            findings.push(conditions::up_to_date(&rollout.held));
        }
        findings.push(conditions::halted(control::halt(valid, &status), receipts));
        let hold = valid.reservation_ttl;
        findings.extend(conditions::settled(
            &status,
            knowledge.as_ref(),
            &facts,
            &receipts.silent,
            hold,
            now,
        ));
        findings.extend(self.summary(&status, &facts, &schedule, claiming, receipts, failure.as_ref()));
        let generation = valid.generation;
        status.observed_generation = Some(generation);
        status::record(&mut status, &findings, generation, now);
        status::note_what_is_missing(&mut status, now);
        let balanced = entrance::url(valid, observed);
        story::describe(valid, &schedule, &mut status, look.as_ref(), balanced, now);
        if let Some(invalid) = self.invalid {
            status.message = Some(validate::still_steered(invalid));
        }
        let mut failure = failure;
        if phase == Phase::Ended && status.report_ref.is_none() {
            let calls = |component| self.calls(component, &rollout.token);
            closing.go_on(&context.http, &calls, &observed.pods).await;
            let accepted = status.orders.unwrap_or_default().accepted;
            if closing.is_done(accepted, &observed.pods) {
                let report = ending::report(valid, &status, observed, closing.end());
                match ending::publish(context, sale, &rollout.seal, &report).await {
                    Ok(name) => status.report_ref = Some(name),
                    Err(error) => failure = failure.or(Some(error)),
                }
            }
        }
        let is_over = matches!(status.phase(), Phase::Draining | Phase::Ended);
        if is_over && closing.has_begun() && status.report_ref.is_none() {
            context.keep_closing(sale, closing);
        }
        if status.phase() == Phase::Ended {
            ending::finish(context, sale, valid, &mut status, observed, now).await?;
        }
        let before = observed.control(&valid.id.name);
        let chapter = Chapter {
            step: next,
            status: &status,
            documents: (before.as_ref(), &rollout.control),
            reopening_refused,
        };
        story::tell(context, sale, &chapter).await;
        let waits = pace::waits(sale.status.as_ref(), &status, context.written_ago(sale));
        if waits.is_none() {
            // A step that was decided on by a spec that somebody has changed meanwhile is not taken.
            let how = match next {
                Step::Stay => Write::Anyway,
                _ => Write::IfUnchanged,
            };
            let written = status::write(&context.client, sale, &status, how).await?;
            written.into_iter().for_each(|sale| context.wrote(sale));
        }
        if let Some(failure) = failure {
            return Err(failure);
        }
        let write_first = knowledge
            .as_ref()
            .is_some_and(|k| k.brought.catalogue.as_ref().is_ok_and(|c| c.must_write_first));
        if next != Step::Stay || write_first {
            return Ok(Action::requeue(AT_ONCE));
        }
        let serving = observed.serving();
        let can_answer = serving.contains(&Component::Inventory) || serving.contains(&Component::Order);
        let unheard = receipts.unheard > 0 || (receipts.audience > 0 && !facts.control_in_force);
        let is_awaited = match status.phase() {
            Phase::Warming => !facts.ready_to_sell(),
            Phase::Draining => true,
            // One that is deleted goes once its report is written.
            Phase::Ended if status.report_ref.is_none() || deleting => return Ok(Action::requeue(SOON)),
            Phase::Pending | Phase::Live | Phase::Ended => false,
        };
        let awaited = match (unheard || (is_awaited && can_answer), can_answer) {
            _ if waits_for_people => Awaited::People,
            (true, _) => Awaited::Answer,
            (false, false) => Awaited::Pods,
            (false, true) => Awaited::Nothing,
        };
        let pause = pace::pause(&status, &schedule, valid.retain_for, awaited, now);
        Ok(Action::requeue(
            waits.map_or(pause, |wait| wait.min(pause).max(AT_ONCE)),
        ))
    }

    fn plan(&self, status: &FlashSaleStatus, schedule: &Schedule) -> Result<Option<Rollout>, Error> {
        let annotations = self.sale.annotations();
        let asked_for_key = annotations.get(ROTATE).map(String::as_str);
        let aim = Aim {
            sale: self.valid,
            status,
            schedule,
            deleting: self.deleting,
            asked_for_key,
            version: version(self.sale),
            host_is_taken: self.holder.is_some(),
            load_waits: self.waits_for.is_some(),
            may_roll_out: annotations
                .get(ALLOW_ANNOTATION)
                .is_some_and(|word| word == "true"),
        };
        let mut rollout = Rollout::prepare(self.context, &aim, self.observed, self.now)?;
        if let Some(rollout) = &mut rollout
            && (self.invalid.is_some() || self.is_paused())
        {
            rollout.only_steer(self.observed);
        }
        Ok(rollout)
    }

    /// Whether somebody wants the sale's objects left alone. One that is deleted goes all the same.
    fn is_paused(&self) -> bool {
        let word = self.sale.annotations().get(PAUSED_ANNOTATION);
        word.is_some_and(|word| word == "true") && !self.deleting
    }

    fn calls(&self, component: Component, token: &str) -> ServiceCalls {
        let replica = self.observed.replica(component);
        ServiceCalls::new(&self.context.http, component, replica, token)
    }

    /// How safe passwords are on their way to the backends, as far as the Secret is there.
    fn secrecy(&self) -> Option<Secrecy> {
        let consent = self.consent();
        let backends = self.observed.backends.as_ref()?;
        Some(Secrecy::of(backends, consent))
    }

    fn consent(&self) -> PlaintextConsent {
        PlaintextConsent::of(self.valid, self.context.settings.plaintext_passwords)
    }

    fn can_claim(&self, secrecy: Option<&Secrecy>) -> bool {
        secrecy.and_then(Secrecy::refusal).is_none()
            && backends_secret::operators(self.observed.backends.as_ref(), self.consent()).is_ok()
    }

    /// Written down before it is done: from now on there may be something to delete.
    async fn begin_to_claim(&self, mut status: FlashSaleStatus) -> Result<Action, Error> {
        status.phase.get_or_insert_default();
        status.claimed_at = Some(self.now);
        let written = status::write(&self.context.client, self.sale, &status, Write::Anyway).await?;
        written.into_iter().for_each(|sale| self.context.wrote(sale));
        trail::record(self.sale, Deed::Claim, Outcome::Done);
        Ok(Action::requeue(AT_ONCE))
    }

    /// The word that asks to reopen the sale, if it was not acted on yet.
    fn reopening(&self, status: &FlashSaleStatus) -> Option<String> {
        let word = self.sale.annotations().get(REOPEN_ANNOTATION)?;
        let word: String = word.chars().take(LONGEST_WORD).collect();
        (!word.is_empty() && status.reopened_by.as_deref() != Some(&word)).then_some(word)
    }

    /// Writes a step down.
    fn take(&self, step: Step, status: &mut FlashSaleStatus, reopening_refused: bool) {
        let word = self.reopening(status);
        status.phase.get_or_insert(Phase::Pending);
        match step {
            Step::Stay => {}
            Step::DecideOpening(at) => status.opens_at = Some(at),
            Step::Enter(phase) => {
                status.phase = Some(phase);
                match phase {
                    Phase::Draining => status.draining_since = Some(self.now),
                    Phase::Ended => status.ended_at = Some(self.now),
                    Phase::Pending | Phase::Warming | Phase::Live => {}
                }
            }
            Step::Reopen => {
                status.phase = Some(Phase::Live);
                (status.draining_since, status.ended_at) = (None, None);
                status.report_ref = None;
            }
        }
        // A word that was refused was heard as well; and one of before the end is none for after it.
        if step == Step::Reopen
            || reopening_refused
            || !matches!(status.phase(), Phase::Draining | Phase::Ended)
        {
            status.reopened_by = word.or(status.reopened_by.take());
        }
    }

    fn summary(
        &self,
        status: &FlashSaleStatus,
        facts: &Evidence,
        schedule: &Schedule,
        claiming: bool,
        receipts: &Receipts,
        failure: Option<&Error>,
    ) -> [Finding; 2] {
        let serving: BTreeSet<_> = self.observed.serving();
        let failure = match (failure, self.invalid) {
            (Some(error), _) => Some((error.reason(), error.to_string())),
            (None, Some(invalid)) => Some(("InvalidSpec", validate::still_steered(invalid))),
            (None, None) => None,
        };
        let mut summary = conditions::Summary {
            evidence: facts,
            schedule,
            serving: &serving,
            can_decide: receipts.can_decide(),
            processes_work: receipts.failing.is_empty(),
            claiming,
            host_is_taken: self.holder.is_some(),
            failure,
            missing_for: std::time::Duration::ZERO,
        };
        let lapses = status.phase() == Phase::Live && !summary.is_complete();
        summary.missing_for = self.context.missing_for(self.sale, lapses);
        summary.findings(status, self.now)
    }
}

/// Whether what is written offers units that nobody has bought.
fn offers_units(sale: &ValidSale, status: &FlashSaleStatus) -> bool {
    sale.products.iter().any(|product| {
        let known = status.products.iter().find(|p| p.sku == product.sku.as_str());
        known.is_none_or(|known| product.stock > known.sold + known.reserved)
    })
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

    #[test]
    fn a_sale_offers_units_where_more_are_written_than_bought() {
        let sold = |sold, reserved| FlashSaleStatus {
            products: vec![crds::status::ProductStatus {
                sku: "A".into(),
                stock: 5,
                sold,
                reserved,
                ..Default::default()
            }],
            ..FlashSaleStatus::default()
        };
        assert!(!offers_units(&sale(&products(5)), &sold(4, 1)));
        assert!(offers_units(&sale(&products(6)), &sold(4, 1)));
        assert!(offers_units(&sale(&products(5)), &sold(3, 1)));
        assert!(offers_units(&sale(&products(5)), &FlashSaleStatus::default()));
    }
}
