//! What is said of the services: whether they are rolled out, and run what is written.

use crate::controller::{
    evidence::ready,
    observed::Observed,
    obstacle::{self, Obstacle},
    status::Finding,
};
use crds::{
    Component, FlashSaleStatus,
    names::{ALLOW_ROLLOUT_ANNOTATION, PAUSED_ANNOTATION},
    status::ConditionType,
};
use std::collections::{BTreeMap, BTreeSet};

pub(super) fn workloads(
    rolled_out: &BTreeSet<Component>,
    hindered: &BTreeMap<Component, Obstacle>,
) -> Finding {
    let kind = ConditionType::WorkloadsReady;
    let missing = Component::ALL.into_iter().filter(|c| !rolled_out.contains(c));
    let missing: Vec<_> = missing.collect();
    if missing.is_empty() {
        return Finding::new(kind, true, "RolledOut", "every service is rolled out");
    }
    let in_the_way: BTreeMap<_, _> = missing
        .iter()
        .filter_map(|component| Some((*component, hindered.get(component)?.clone())))
        .collect();
    let others = missing
        .iter()
        .filter(|component| !in_the_way.contains_key(component));
    let others: Vec<_> = others.map(|component| component.as_str()).collect();
    let others = match others.as_slice() {
        [] => String::new(),
        others => format!("waiting for {}", others.join(", ")),
    };
    match obstacle::tell(&in_the_way) {
        None => Finding::new(kind, false, "RollingOut", others),
        Some((reason, sentence)) if others.is_empty() => Finding::new(kind, false, reason, sentence),
        Some((reason, sentence)) => Finding::new(kind, false, reason, format!("{sentence}. Also {others}")),
    }
}

/// What is known of a sale that is over: whether the services that readers need are there.
pub fn afterwards(observed: &Observed, sale: &str, status: &mut FlashSaleStatus) -> Finding {
    let rolled_out = observed.rolled_out(sale);
    status.ready = Some(ready(&rolled_out));
    if !observed.has_services(sale) {
        let message = "the services were removed: nobody reads this sale any more";
        return Finding::new(ConditionType::WorkloadsReady, false, "Removed", message);
    }
    workloads(&rolled_out, &observed.hindered(sale))
}

/// Pods keep what the sale was opened with.
pub const ROLLOUT_HELD: &str = "RolloutHeld";

/// Whether the pods run what is written. What would start those of an open sale anew waits.
pub fn up_to_date(held: &[Component]) -> Finding {
    let kind = ConditionType::UpToDate;
    if held.is_empty() {
        return Finding::new(kind, true, "AsWritten", "the pods run what is written");
    }
    let names: Vec<_> = held.iter().map(|component| component.as_str()).collect();
    let message = format!(
        "the pods of {} keep what the sale was opened with; for what is written now they would start anew, which waits for the next sale: set \
         the annotation {}=true to do it now",
        names.join(", "),
        ALLOW_ROLLOUT_ANNOTATION
    );
    Finding::new(kind, false, ROLLOUT_HELD, message)
}

/// The reason of a sale whose objects are to be left alone.
pub const PAUSED: &str = "Paused";

/// What is said of a sale whose objects are to be left alone.
pub fn paused() -> Finding {
    let message = format!(
        "none of its objects and products is made, changed or put right while the annotation {PAUSED_ANNOTATION}=true is there; it is opened, halted, closed \
         and settled all the same. Take the annotation away to go on"
    );
    Finding::new(ConditionType::UpToDate, false, PAUSED, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services_that_are_awaited_are_told_with_what_hinders_them() {
        let all: BTreeSet<_> = Component::ALL.into_iter().collect();
        assert!(workloads(&all, &BTreeMap::new()).holds);
        let but_two: BTreeSet<_> = Component::ALL.into_iter().skip(2).collect();
        let [first, second] = [Component::ALL[0], Component::ALL[1]];
        let says = |hindered: &BTreeMap<_, _>| {
            let finding = workloads(&but_two, hindered);
            assert!(!finding.holds);
            (finding.reason, finding.message)
        };
        let plain = format!("waiting for {}, {}", first.as_str(), second.as_str());
        assert_eq!(says(&BTreeMap::new()), ("RollingOut", plain));
        let quota = Obstacle::of_refused_pods(&"exceeded quota: q".repeat(100));
        let (reason, message) = says(&BTreeMap::from([(second, quota)]));
        assert_eq!(reason, "QuotaExceeded");
        let begins = format!(
            "{}: the namespace's quota or limit range allows no pod (exceeded quota: q",
            second.as_str()
        );
        assert!(message.starts_with(&begins), "{message}");
        let ends = format!(
            "; raise it, or ask for less in spec.services. Also waiting for {}",
            first.as_str()
        );
        assert!(message.ends_with(&ends), "{message}");
        assert!(message.len() < 600, "{message}");
    }
}
