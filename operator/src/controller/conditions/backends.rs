//! What is said of the backends: by the operator, and by the sale's own processes.

use super::{TOLD, first};
use crate::{backends::Look, controller::status::Finding, push::Receipts};
use crds::status::ConditionType;

/// The conditions that follow from a look at the backends.
pub fn of_backends(look: &Look) -> Vec<Finding> {
    use ConditionType as C;
    // While nobody has looked, as after a start of the operator, what was found before stands.
    let Some(unreachable) = &look.unreachable else {
        return Vec::new();
    };
    let reachable = match unreachable.as_slice() {
        [] => Finding::new(
            C::BackendsReachable,
            true,
            "AllAnswer",
            "MongoDB, Kafka and Redis answer",
        ),
        sentences => Finding::new(C::BackendsReachable, false, look.reason, sentences.join("; ")),
    };
    let topics = match (&look.ownership, &look.topics) {
        (Err(sentence), _) if unreachable.is_empty() => Some(Finding::new(
            C::TopicsReady,
            false,
            "PlaceRefused",
            sentence.as_str(),
        )),
        (_, Err(sentence)) => Some(Finding::new(
            C::TopicsReady,
            false,
            "TopicsMissing",
            sentence.as_str(),
        )),
        (_, Ok(Some(()))) => Some(Finding::new(
            C::TopicsReady,
            true,
            "TopicsExist",
            "every topic exists",
        )),
        // What was found before stands.
        (_, Ok(None)) => None,
    };
    [Some(reachable), topics].into_iter().flatten().collect()
}

/// What the sale's own processes say of their work, where they cannot do some of it: they know better than whoever looks from outside.
pub fn of_processes(receipts: &Receipts) -> Option<Finding> {
    let kind = ConditionType::BackendsReachable;
    let first_few: Vec<_> = receipts.failing.iter().take(TOLD).map(|one| first(one)).collect();
    (!first_few.is_empty()).then(|| Finding::new(kind, false, "ProcessesSay", first_few.join("; ")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        controller::{backends_secret::Unusable, bring::unusable},
        push::Heard,
    };

    /// Somebody who reads that nothing answers looks at the network.
    #[test]
    fn a_secret_that_may_not_be_used_is_no_backend_that_does_not_answer() {
        let refused = unusable(&Unusable::Plaintext("passwords would go".to_owned()));
        let [finding] = &of_backends(&refused)[..] else {
            panic!("{:?}", of_backends(&refused));
        };
        assert_eq!(finding.kind, ConditionType::BackendsReachable);
        assert!(!finding.holds);
        assert_eq!(
            (finding.reason, &*finding.message),
            ("PlaintextRefused", "passwords would go")
        );
    }

    /// It was seen that every gateway refused orders for want of Redis while all conditions were fine.
    #[test]
    fn what_processes_cannot_do_is_said_whatever_the_operator_sees() {
        let heard = |audience| Heard {
            in_force: audience,
            audience,
            failing: 0,
        };
        let mut all = Receipts {
            gateways: heard(2),
            orders: heard(1),
            audience: 3,
            ..Receipts::default()
        };
        assert!(of_processes(&all).is_none() && all.can_decide());
        all.failing = vec!["shoes-gateway-1: asking Redis has failed for 25 s: timeout".to_owned()];
        all.gateways.failing = 1;
        assert!(all.can_decide(), "the other one can");
        all.gateways.failing = 2;
        assert!(!all.can_decide());
        let said = of_processes(&all).unwrap();
        assert_eq!((said.holds, said.reason), (false, "ProcessesSay"));
        assert!(said.message.contains("asking Redis"), "{}", said.message);
    }
}
