//! One round of the loop: what is wanted is brought in force, everybody is asked how things are, the next step follows from that, and the
//! status says all of it.

use super::{
    backends_secret::{self, PlaintextConsent, Secrecy, Unusable},
    bring, cleanup,
    closing::Closing,
    conditions,
    context::Context,
    control, ending, entrance,
    error::Error,
    evidence::{self, Knowledge},
    host::{self, Holder},
    known::{offers_units, schedule},
    observed::Observed,
    pace::{self, AT_ONCE, Awaited, SOON},
    prepared::Preparation,
    rollout::{Aim, Outcome, Rollout},
    status::{self, Finding, Write},
    story::{self, Chapter},
    trail::{self, Deed},
    validate,
};
use crate::{
    backends::Look,
    calls::ServiceCalls,
    catalogue::Because,
    ownership::Claimant,
    phase::{self, Doors, Evidence, Schedule, Step},
    push::Receipts,
    watched::version,
};
use crds::{
    Component, FlashSale, FlashSaleStatus, ValidSale,
    names::{ALLOW_ROLLOUT_ANNOTATION, PAUSED_ANNOTATION, REOPEN_ANNOTATION, ROTATE_ANNOTATION, says_true},
    status::ConditionType,
    valid::Invalid,
};
use jiff::Timestamp;
use kube::{ResourceExt, runtime::controller::Action};
use platform::audit;
use sale::{SaleId, phase::Phase};
use std::{collections::BTreeSet, time::Duration};

/// The longest word that is remembered.
const LONGEST_WORD: usize = 256;

/// One look at a sale.
pub(super) struct Round<'a> {
    pub(super) context: &'a Context,
    pub(super) sale: &'a FlashSale,
    pub(super) valid: &'a ValidSale,
    /// What is wrong with the spec. Such a sale is steered by what is right in it, and otherwise left as it is.
    pub(super) invalid: Option<&'a Invalid>,
    pub(super) observed: &'a Observed,
    /// Who has the host, if that is another sale.
    pub(super) holder: Option<Holder>,
    /// The open sale that the load of a rehearsal waits for.
    pub(super) waits_for: Option<SaleId>,
    pub(super) doors: Doors,
    pub(super) deleting: bool,
    pub(super) now: Timestamp,
}

/// What is known in a round beside the objects of the cluster.
struct Learned {
    /// Where the sale stood as the round began.
    phase: Phase,
    schedule: Schedule,
    /// Whether its warm-up waits for the backends.
    claiming: bool,
    secrecy: Option<Secrecy>,
    /// What the backends say of its place in them, while it claims that.
    place: Option<Look>,
    /// What its processes say, while it sells.
    knowledge: Option<Knowledge>,
    /// Who goes by the control document.
    receipts: Receipts,
    /// Whether a Deployment was written.
    deployments_changed: bool,
    /// What could not be brought in force.
    failure: Option<Error>,
}

impl Learned {
    /// Whether it sells, or has orders without an end.
    fn selling(&self) -> bool {
        matches!(self.phase, Phase::Warming | Phase::Live | Phase::Draining)
    }

    /// Whether the catalogue waits for the status to be written.
    fn must_write_first(&self) -> bool {
        let catalogue = self.knowledge.as_ref().map(|known| &known.brought.catalogue);
        catalogue.is_some_and(|catalogue| catalogue.as_ref().is_ok_and(|c| c.must_write_first))
    }
}

/// What follows from it.
struct Judged {
    facts: Evidence,
    step: Step,
    reopening_refused: Option<&'static str>,
    /// Whether nothing happens before somebody has put something right.
    waits_for_people: bool,
}

impl Round<'_> {
    /// Brings the sale a step further.
    ///
    /// # Errors
    /// [`Error`]; what could be done was done.
    pub(super) async fn step(&self, mut status: FlashSaleStatus) -> Result<Action, Error> {
        let Self {
            context,
            sale,
            observed,
            ..
        } = *self;
        if !self.deleting && !cleanup::is_held(sale) {
            cleanup::hold(context, sale).await?;
            return Ok(Action::requeue(AT_ONCE));
        }
        let schedule = schedule(self.valid, &status, &self.doors, self.now);
        let Some(mut rollout) = self.plan(&status, &schedule)? else {
            return Ok(Action::requeue(AT_ONCE));
        };
        status.pinned = rollout.pinned.clone().or(status.pinned);
        let outcome = rollout.carry_out(context, observed).await?;
        if self.is_claiming(&status, &schedule)
            && status.claimed_at.is_none()
            && self.can_claim(self.secrecy().as_ref())
        {
            return self.begin_to_claim(status).await;
        }
        // Begun anew with each look while there is nothing to ask yet.
        let mut closing = context.take_closing(sale);
        let learned = self.learn(&status, schedule, &rollout.token, outcome, &mut closing);
        let Some(mut learned) = learned.await else {
            return Ok(Action::requeue(AT_ONCE));
        };
        let judged = self.judge(&learned, &rollout.held, &mut status);
        let unwritten = self.close(&rollout, closing, &mut status).await?;
        let failure = learned.failure.take().or(unwritten);
        let waits = self.write_down(&judged, &rollout, &status).await?;
        match failure {
            Some(failure) => Err(failure),
            None => Ok(self.next_look(&learned, &judged, &status, waits)),
        }
    }

    fn plan(&self, status: &FlashSaleStatus, schedule: &Schedule) -> Result<Option<Rollout>, Error> {
        let annotations = self.sale.annotations();
        let asked_for_key = annotations.get(ROTATE_ANNOTATION).map(String::as_str);
        let aim = Aim {
            sale: self.valid,
            status,
            schedule,
            deleting: self.deleting,
            asked_for_key,
            version: version(self.sale),
            host_is_taken: self.holder.is_some(),
            load_waits: self.waits_for.is_some(),
            may_roll_out: says_true(self.sale, ALLOW_ROLLOUT_ANNOTATION),
        };
        let mut rollout = Rollout::prepare(self.context, &aim, self.observed, self.now)?;
        if let Some(rollout) = &mut rollout
            && self.only_steered_because().is_some()
        {
            rollout.only_steer(self.observed);
        }
        Ok(rollout)
    }

    /// Asks everybody who may know something. `None` where somebody has edited the sale meanwhile.
    async fn learn(
        &self,
        status: &FlashSaleStatus,
        schedule: Schedule,
        token: &str,
        outcome: Outcome,
        closing: &mut Closing,
    ) -> Option<Learned> {
        let claimant = cleanup::claimant(self.context, self.sale, status);
        let secrecy = self.secrecy();
        let mut learned = Learned {
            phase: status.phase(),
            claiming: self.is_claiming(status, &schedule),
            schedule,
            secrecy,
            place: None,
            knowledge: None,
            receipts: outcome.receipts,
            deployments_changed: outcome.deployments_changed,
            failure: outcome.failure.map(Error::from),
        };
        if learned.claiming {
            learned.place = Some(match learned.secrecy.as_ref().and_then(Secrecy::refusal) {
                Some(sentence) => bring::unusable(&Unusable::Plaintext(sentence)),
                None => bring::place(self.context, self.valid, self.observed, &claimant).await,
            });
        }
        if learned.selling() {
            let known = self.ask(status, &claimant, token, closing);
            // Reading takes a while, and what people have just changed should not wait for it; a sale that drains has no
            // buyers who wait for a change, and must come to its end.
            learned.knowledge = tokio::select! {
                known = known => Some(known),
                () = self.context.edited_since(self.sale), if learned.phase != Phase::Draining => return None,
            };
        }
        Some(learned)
    }

    /// Brings what lies outside of the API server, and asks the processes.
    async fn ask(
        &self,
        status: &FlashSaleStatus,
        claimant: &Claimant,
        token: &str,
        closing: &mut Closing,
    ) -> Knowledge {
        let calls = |component| self.calls(component, token);
        let inventory = calls(Component::Inventory);
        let goods = (&inventory, self.only_steered_because());
        let brought = bring::bring(self.context, self.valid, status, self.observed, claimant, goods).await;
        let question = evidence::Question {
            http: &self.context.http,
            sale: self.valid,
            phase: status.phase(),
            at: self.now,
        };
        evidence::gather(question, self.observed, brought, closing, calls).await
    }

    /// Decides on the next step, and says in the status what is known.
    fn judge(&self, learned: &Learned, held: &[Component], status: &mut FlashSaleStatus) -> Judged {
        let mut findings = Vec::new();
        let facts = self.facts(learned, status, &mut findings);
        let step = phase::next(learned.phase, &learned.schedule, &facts, self.now);
        let reopening_refused = phase::reopening_refused(learned.phase, &learned.schedule, &facts, self.now);
        self.take(step, status, reopening_refused.is_some());
        let ways_in = self.of_the_ways_in(learned, status);
        let preparation = Preparation {
            phase: status.phase(),
            schedule: &learned.schedule,
            claiming: learned.claiming,
            facts: &facts,
            secret: bring::impediment(self.valid, self.context, self.observed),
            wrong_entrance: ways_in.iter().find(|said| !said.holds),
        };
        let waits_for_people = preparation.waits_for_people();
        findings.push(preparation.finding());
        findings.extend(ways_in);
        self.of_what_is_steered(learned, &facts, held, status, &mut findings);
        findings.extend(self.summary(learned, &facts, status));
        let generation = self.valid.generation;
        status.observed_generation = Some(generation);
        status::record(status, &findings, generation, self.now);
        status::note_what_is_missing(status, self.now);
        let balanced = entrance::url(self.valid, self.observed);
        let place = learned.place.as_ref();
        story::describe(self.valid, &learned.schedule, status, place, balanced, self.now);
        if let Some(invalid) = self.invalid {
            status.message = Some(validate::still_steered(invalid));
        }
        Judged {
            facts,
            step,
            reopening_refused,
            waits_for_people,
        }
    }

    /// The facts that a step follows from; numbers go into the status, and what the facts come from into the findings.
    fn facts(
        &self,
        learned: &Learned,
        status: &mut FlashSaleStatus,
        findings: &mut Vec<Finding>,
    ) -> Evidence {
        let (valid, observed, receipts) = (self.valid, self.observed, &learned.receipts);
        let mut facts = Evidence {
            deleting: self.deleting,
            control_in_force: receipts.everywhere(),
            reopening: self.reopening(status).is_some(),
            // The data of a rehearsal is gone with its end.
            can_reopen: !valid.is_rehearsal() || learned.phase == Phase::Draining,
            ..Evidence::default()
        };
        if learned.claiming || learned.selling() {
            findings.extend(learned.secrecy.as_ref().map(Secrecy::finding));
        }
        if let Some(place) = &learned.place {
            facts.claimed = place.ownership.is_ok();
            findings.extend(conditions::of_backends(place));
        }
        if let Some(known) = &learned.knowledge {
            let rejected = status.orders.unwrap_or_default().rejected.unsigned_abs();
            let refused = self.context.refused(self.sale, rejected, receipts);
            known.record_numbers(status, refused);
            findings.extend(conditions::of(known));
            findings.extend(conditions::of_processes(receipts));
            let unsettled = learned.deployments_changed || learned.failure.is_some();
            facts = known.facts(facts, unsettled, receipts);
            if let (Some(_), Phase::Live) = (valid.load, learned.phase) {
                let looks = self.context.looked(self.sale, known.look.clone());
                let (rehearsed, finding) =
                    conditions::rehearsed(observed.load(self.waits_for.as_ref()), &valid.expect, &looks);
                facts.rehearsed = rehearsed.is_some();
                status.rehearsed = rehearsed;
                findings.push(finding);
            }
        }
        facts.units_offered = offers_units(valid, status);
        let replicas = observed.replicas(&valid.id.name).into_iter();
        status.replicas = replicas
            .map(|(component, replicas)| (component.as_str().to_owned(), replicas))
            .collect();
        if learned.phase == Phase::Ended {
            findings.push(conditions::afterwards(observed, &valid.id.name, status));
        }
        facts
    }

    /// Whether buyers find the sale.
    fn of_the_ways_in(&self, learned: &Learned, status: &mut FlashSaleStatus) -> Vec<Finding> {
        status.host = host::held(self.valid, status, self.holder.as_ref(), self.now);
        let host = host::finding(self.valid, self.holder.as_ref());
        // Nobody comes any more where it has ended.
        let entrance = match learned.phase {
            Phase::Ended => None,
            _ => entrance::finding(self.valid, &self.context.settings.entrances, self.observed),
        };
        for (kind, said) in [
            (ConditionType::HostReady, &host),
            (ConditionType::EntranceReady, &entrance),
        ] {
            if said.is_none() {
                status::forget(status, kind);
            }
        }
        [host, entrance].into_iter().flatten().collect()
    }

    /// Whether what people ask for is in force.
    fn of_what_is_steered(
        &self,
        learned: &Learned,
        facts: &Evidence,
        held: &[Component],
        status: &FlashSaleStatus,
        findings: &mut Vec<Finding>,
    ) {
        let receipts = &learned.receipts;
        findings.extend(conditions::clocks(receipts));
        findings.extend(conditions::control_in_force(receipts));
        let up_to_date = status.condition(ConditionType::UpToDate);
        let was_paused = up_to_date.is_some_and(|condition| condition.reason == conditions::PAUSED);
        if self.is_paused() {
            findings.push(conditions::paused());
        } else if learned.selling() || learned.phase == Phase::Ended || was_paused {
            findings.push(conditions::up_to_date(held));
        }
        findings.push(conditions::halted(control::halt(self.valid, status), receipts));
        findings.extend(conditions::settled(
            status,
            learned.knowledge.as_ref(),
            facts,
            &receipts.silent,
            self.valid.reservation_ttl,
            self.now,
        ));
    }

    fn summary(&self, learned: &Learned, facts: &Evidence, status: &FlashSaleStatus) -> [Finding; 2] {
        let serving: BTreeSet<_> = self.observed.serving();
        let failure = match (&learned.failure, self.invalid) {
            (Some(error), _) => Some((error.reason(), error.to_string())),
            (None, Some(invalid)) => Some(("InvalidSpec", validate::still_steered(invalid))),
            (None, None) => None,
        };
        let mut summary = conditions::Summary {
            evidence: facts,
            schedule: &learned.schedule,
            serving: &serving,
            can_decide: learned.receipts.can_decide(),
            processes_work: learned.receipts.failing.is_empty(),
            claiming: learned.claiming,
            host_is_taken: self.holder.is_some(),
            failure,
            missing_for: Duration::ZERO,
        };
        let lapses = status.phase() == Phase::Live && !summary.is_complete();
        summary.missing_for = self.context.missing_for(self.sale, lapses);
        summary.findings(status, self.now)
    }

    /// Puts the report of a sale that has ended together, and wipes a rehearsal. Returns why the report could not be written.
    async fn close(
        &self,
        rollout: &Rollout,
        mut closing: Closing,
        status: &mut FlashSaleStatus,
    ) -> Result<Option<Error>, Error> {
        let Self {
            context,
            sale,
            valid,
            observed,
            ..
        } = *self;
        let mut unwritten = None;
        if status.phase() == Phase::Ended && status.report_ref.is_none() {
            let calls = |component| self.calls(component, &rollout.token);
            closing.go_on(&context.http, &calls, &observed.pods).await;
            let accepted = status.orders.unwrap_or_default().accepted;
            if closing.is_done(accepted, &observed.pods) {
                let report = ending::report(valid, status, observed, closing.end());
                match ending::publish(context, sale, &rollout.seal, &report).await {
                    Ok(name) => status.report_ref = Some(name),
                    Err(error) => unwritten = Some(error),
                }
            }
        }
        let is_over = matches!(status.phase(), Phase::Draining | Phase::Ended);
        if is_over && closing.has_begun() && status.report_ref.is_none() {
            context.keep_closing(sale, closing);
        }
        if status.phase() == Phase::Ended && self.only_steered_because().is_none() {
            ending::finish(context, sale, valid, status, observed, self.now).await?;
        }
        Ok(unwritten)
    }

    /// Tells what is new, and writes the status unless that can wait; returns for how long it waits.
    async fn write_down(
        &self,
        judged: &Judged,
        rollout: &Rollout,
        status: &FlashSaleStatus,
    ) -> Result<Option<Duration>, Error> {
        let (context, sale) = (self.context, self.sale);
        let before = self.observed.control(&self.valid.id.name);
        let chapter = Chapter {
            step: judged.step,
            status,
            documents: (before.as_ref(), &rollout.control),
            reopening_refused: judged.reopening_refused,
        };
        story::tell(context, sale, &chapter).await;
        let waits = pace::waits(sale.status.as_ref(), status, context.written_ago(sale));
        if waits.is_none() {
            // A step that was decided on by a spec that somebody has changed meanwhile is not taken.
            let how = match judged.step {
                Step::Stay => Write::Anyway,
                _ => Write::IfUnchanged,
            };
            status::write(context, sale, status, how).await?;
        }
        Ok(waits)
    }

    fn next_look(
        &self,
        learned: &Learned,
        judged: &Judged,
        status: &FlashSaleStatus,
        waits: Option<Duration>,
    ) -> Action {
        if judged.step != Step::Stay || learned.must_write_first() {
            return Action::requeue(AT_ONCE);
        }
        let (receipts, facts) = (&learned.receipts, &judged.facts);
        let serving = self.observed.serving();
        let can_answer = serving.contains(&Component::Inventory) || serving.contains(&Component::Order);
        let unheard = receipts.unheard > 0 || (receipts.audience > 0 && !facts.control_in_force);
        let is_awaited = match status.phase() {
            Phase::Warming => !facts.ready_to_sell(),
            Phase::Draining => true,
            // One that is deleted goes once its report is written.
            Phase::Ended if status.report_ref.is_none() || self.deleting => return Action::requeue(SOON),
            Phase::Pending | Phase::Live | Phase::Ended => false,
        };
        let awaited = match (unheard || (is_awaited && can_answer), can_answer) {
            _ if judged.waits_for_people => Awaited::People,
            (true, _) => Awaited::Answer,
            (false, false) => Awaited::Pods,
            (false, true) => Awaited::Nothing,
        };
        let (valid, schedule) = (self.valid, &learned.schedule);
        let pause = pace::pause(status, schedule, valid.retain_for, awaited, self.now);
        Action::requeue(waits.map_or(pause, |wait| wait.min(pause).max(AT_ONCE)))
    }

    /// Whether somebody wants the sale's objects left alone. One that is deleted goes all the same.
    fn is_paused(&self) -> bool {
        says_true(self.sale, PAUSED_ANNOTATION) && !self.deleting
    }

    /// Why the sale is only opened, halted, closed and settled, if it is: somebody wants it so, or its spec does not say what else it should be.
    fn only_steered_because(&self) -> Option<Because> {
        match self.invalid {
            _ if self.is_paused() => Some(Because::Paused),
            Some(_) => Some(Because::Invalid),
            None => None,
        }
    }

    /// Whether its warm-up waits for the backends.
    fn is_claiming(&self, status: &FlashSaleStatus, schedule: &Schedule) -> bool {
        status.phase() == Phase::Pending
            && !self.deleting
            && !self.is_paused()
            && phase::is_time_to_warm_up(schedule, self.now)
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
        status::write(self.context, self.sale, &status, Write::Anyway).await?;
        trail::record(self.sale, Deed::Claim, audit::Outcome::Done);
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
}
