//! Whether a sale is prepared, as far as that can be known by now: the answer to "would this sale open here?", days before it does.

use super::status::Finding;
use crate::phase::{self, Evidence, Schedule};
use crds::status::ConditionType;
use sale::phase::Phase;

/// What the answer follows from.
#[derive(Debug)]
pub struct Preparation<'a> {
    /// Where the sale stands.
    pub phase: Phase,
    /// When it opens.
    pub schedule: &'a Schedule,
    /// Whether its warm-up waits for the backends.
    pub claiming: bool,
    /// What is known.
    pub facts: &'a Evidence,
    /// Why the Secret with the backends cannot be used, as a reason and a sentence.
    pub secret: Option<(&'static str, String)>,
    /// What is wrong with a way in, if anything is.
    pub wrong_entrance: Option<&'a Finding>,
}

impl Preparation<'_> {
    /// The condition.
    pub fn finding(&self) -> Finding {
        let finding =
            |holds, reason, message: &str| Finding::new(ConditionType::Prepared, holds, reason, message);
        match (self.phase, &self.secret, self.wrong_entrance) {
            (Phase::Live | Phase::Draining | Phase::Ended, _, _) => {
                finding(true, "Opened", "the sale was opened")
            }
            (Phase::Pending, Some((reason, sentence)), _) => finding(false, reason, sentence),
            (_, _, Some(wrong)) => finding(false, wrong.reason, &wrong.message),
            (Phase::Pending, None, None) if self.claiming => finding(
                false,
                "WaitingForBackends",
                "the warm-up begins once backends, topics and database are there and the sale's own",
            ),
            (Phase::Pending, None, None) => {
                let begins = phase::warm_up_begins(self.schedule);
                let begins = begins.map_or_else(String::new, |at| format!(" at {at}"));
                let message = format!(
                    "the spec is valid, its Secret names the backends, and nobody has its host; the backends are asked when the warm-up \
                     begins{begins}"
                );
                finding(true, "Scheduled", &message)
            }
            (Phase::Warming, _, None) if self.facts.ready_to_sell() && self.facts.control_in_force => {
                finding(true, "AllThere", "everything that the opening needs is there")
            }
            (Phase::Warming, _, None) => finding(
                false,
                "WarmingUp",
                "backends, topics, services and catalogue are being made ready; see the other conditions",
            ),
        }
    }

    /// Whether nothing happens before somebody has put something right.
    pub fn waits_for_people(&self) -> bool {
        self.phase == Phase::Pending && !self.claiming && !self.finding().holds
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_sale_that_waits_is_prepared_as_far_as_that_can_be_known() {
        let schedule = Schedule {
            opens_at: Some("2026-12-01T12:00:00Z".parse().unwrap()),
            closes_at: None,
            warm_up: Duration::from_secs(600),
            decided: None,
            opened_at: None,
        };
        let there = Evidence {
            backends_reachable: true,
            topics_ready: true,
            workloads_ready: true,
            catalogue_ready: true,
            control_in_force: true,
            ..Evidence::default()
        };
        let not_yet = Evidence {
            workloads_ready: false,
            ..there
        };
        let taken = Finding::new(ConditionType::HostReady, false, "HostTaken", "taken");
        let missing = Some(("SecretMissing", "make it".to_owned()));
        let of = |phase, claiming, facts, secret: &Option<(&'static str, String)>, wrong_entrance| {
            let preparation = Preparation {
                phase,
                schedule: &schedule,
                claiming,
                facts,
                secret: secret.clone(),
                wrong_entrance,
            };
            let found = preparation.finding();
            (found.holds, found.reason, preparation.waits_for_people())
        };
        let nothing = Evidence::default();
        assert_eq!(
            of(Phase::Pending, false, &nothing, &None, None),
            (true, "Scheduled", false)
        );
        assert_eq!(
            of(Phase::Pending, false, &nothing, &missing, None),
            (false, "SecretMissing", true)
        );
        assert_eq!(
            of(Phase::Pending, false, &nothing, &None, Some(&taken)),
            (false, "HostTaken", true)
        );
        assert_eq!(
            of(Phase::Pending, true, &nothing, &None, None),
            (false, "WaitingForBackends", false)
        );
        assert_eq!(
            of(Phase::Warming, false, &not_yet, &None, None),
            (false, "WarmingUp", false)
        );
        assert_eq!(
            of(Phase::Warming, false, &there, &None, None),
            (true, "AllThere", false)
        );
        assert_eq!(
            of(Phase::Warming, false, &there, &None, Some(&taken)),
            (false, "HostTaken", false)
        );
        assert_eq!(
            of(Phase::Live, false, &nothing, &missing, Some(&taken)),
            (true, "Opened", false)
        );
    }
}
