//! Whose a host is. Two Ingresses with one host and the same paths are no error to Kubernetes; which of them a request takes is up to the
//! ingress controller. So the operator makes one for one sale, and says to the others that the host is taken.

use super::status::Finding;
use crds::{
    FlashSale, FlashSaleStatus, ValidSale,
    status::{ConditionType, HeldHost},
};
use jiff::Timestamp;
use kube::ResourceExt;
use sale::{SaleId, phase::Phase};

/// A sale that has the host which another one asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// The sale.
    pub sale: SaleId,
}

/// Who comes first, the smaller one: a sale that is open before one that warms up, then whoever has had the host for longer, then whoever
/// was made first.
type Rank = (bool, Timestamp, Option<Timestamp>, Option<String>);

fn is_open(status: &FlashSaleStatus) -> bool {
    matches!(status.phase(), Phase::Live | Phase::Draining)
}

fn rank(sale: &FlashSale, host: &str) -> Rank {
    let status = sale.status.as_ref();
    let held = status.and_then(|status| status.host.as_ref());
    let since = held
        .filter(|held| held.name == host)
        .map_or(Timestamp::MAX, |held| held.since);
    let is_open = status.is_some_and(is_open);
    (
        !is_open,
        since,
        sale.creation_timestamp().map(|at| at.0),
        sale.uid(),
    )
}

/// Who has the host that a sale asks for, if somebody else does. One that warms up has it from when its Ingress is made, one that is open
/// until it has settled; of one that has ended nobody needs it who could buy, so it gives way to the next.
pub fn holder<'a>(
    resource: &FlashSale,
    sale: &ValidSale,
    others: impl Iterator<Item = &'a FlashSale>,
) -> Option<Holder> {
    let host = &sale.by_host.as_ref()?.host;
    let mine = rank(resource, host);
    let is_over = resource
        .status
        .as_ref()
        .is_some_and(|status| status.phase() == Phase::Ended);
    let has_it = |other: &'a FlashSale| {
        let status = other.status.as_ref()?;
        let asks = other.spec.ingress.as_ref()?.host == *host;
        let held = status.host.as_ref().is_some_and(|held| held.name == *host);
        let holds = asks && (is_open(status) || (held && status.phase() == Phase::Warming));
        let theirs = rank(other, host);
        (holds && other.uid() != resource.uid() && (is_over || theirs < mine)).then_some((theirs, other))
    };
    // Of several it is the first, so that all say the same.
    let (_, other) = others.filter_map(has_it).min_by(|(a, _), (b, _)| a.cmp(b))?;
    Some(Holder {
        sale: SaleId {
            namespace: other.namespace().unwrap_or_default(),
            name: other.name_any(),
        },
    })
}

/// What is written down of the host: since when the sale has it, where it has begun and nobody else has.
pub fn held(
    sale: &ValidSale,
    status: &FlashSaleStatus,
    holder: Option<&Holder>,
    now: Timestamp,
) -> Option<HeldHost> {
    let host = &sale.by_host.as_ref()?.host;
    let has_begun = matches!(
        status.phase(),
        Phase::Warming | Phase::Live | Phase::Draining | Phase::Ended
    );
    let before = status.host.as_ref().filter(|held| held.name == *host);
    (has_begun && holder.is_none()).then(|| HeldHost {
        name: host.clone(),
        since: before.map_or(now, |held| held.since),
    })
}

/// What is said of it; nothing of a sale that has no host.
pub fn finding(sale: &ValidSale, holder: Option<&Holder>) -> Option<Finding> {
    let kind = ConditionType::HostReady;
    let host = &sale.by_host.as_ref()?.host;
    Some(match holder {
        None => Finding::new(
            kind,
            true,
            "HostFree",
            format!("no other sale of this operator has {host}"),
        ),
        Some(holder) => {
            let message = format!(
                "the host {host} is taken by the sale {} in {}; this sale gets no way in by it while that is so: wait for its end, or give one \
                 of the two another host",
                holder.sale.name, holder.sale.namespace
            );
            Finding::new(kind, false, "HostTaken", message)
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const HOST: &str = "shop.example.com";

    fn sale(name: &str, host: &str, phase: &str, held_since: Option<i64>) -> FlashSale {
        let held =
            held_since.map(|second| json!({"name": HOST, "since": Timestamp::from_second(second).unwrap()}));
        serde_json::from_value(json!({
            "apiVersion": "quicksale.io/v1alpha1", "kind": "FlashSale",
            "metadata": {"name": name, "namespace": "shop", "uid": name, "generation": 1,
                "creationTimestamp": "2026-12-01T12:00:00Z"},
            "spec": {"products": [{"sku": "A", "name": "a", "price": "1.00", "stock": 1}], "ingress": {"host": host}},
            "status": {"phase": phase, "host": held},
        }))
        .unwrap()
    }

    fn taken(sale: &FlashSale, other: &FlashSale) -> bool {
        let valid = ValidSale::try_from(sale).unwrap();
        let holder = holder(sale, &valid, [other, sale].into_iter());
        let finding = finding(&valid, holder.as_ref()).unwrap();
        assert_eq!(finding.holds, holder.is_none());
        holder.is_some()
    }

    #[test]
    fn of_two_that_warm_up_the_host_is_whose_it_was_first() {
        let (first, second) = (
            sale("first", HOST, "Warming", Some(1)),
            sale("second", HOST, "Warming", Some(2)),
        );
        assert!(!taken(&first, &second) && taken(&second, &first));
        let later = sale("later", HOST, "Warming", None);
        assert!(taken(&later, &second) && !taken(&second, &later));
        let waits = sale("waits", HOST, "Pending", None);
        assert!(taken(&waits, &first) && !taken(&first, &waits));
        assert!(!taken(
            &waits,
            &sale("elsewhere", "other.example.com", "Live", None)
        ));
    }

    /// Whoever began to warm up earlier, or for a month, does not take the host away from a sale that is open.
    #[test]
    fn an_open_sale_keeps_its_host_and_takes_it_from_one_that_warms_up() {
        let (open, warm) = (
            sale("open", HOST, "Live", Some(9)),
            sale("warm", HOST, "Warming", Some(1)),
        );
        assert!(!taken(&open, &warm) && taken(&warm, &open));
        let opens = sale("opens", HOST, "Live", None);
        assert!(!taken(&opens, &warm) && taken(&opens, &open));
    }

    #[test]
    fn a_sale_that_has_ended_gives_way_to_the_next() {
        let (over, next) = (
            sale("over", HOST, "Ended", Some(1)),
            sale("next", HOST, "Warming", Some(5)),
        );
        assert!(!taken(&next, &over) && taken(&over, &next));
        assert!(!taken(&over, &sale("waits", HOST, "Pending", None)));
    }

    #[test]
    fn another_host_is_held_from_when_it_is_asked_for() {
        let resource = sale("shoes", HOST, "Warming", Some(1));
        let valid = ValidSale::try_from(&resource).unwrap();
        let mut status = resource.status.unwrap();
        let at = |second| Timestamp::from_second(second).unwrap();
        let since =
            |status: &FlashSaleStatus, holder| held(&valid, status, holder, at(7)).map(|held| held.since);
        assert_eq!(since(&status, None), Some(at(1)));
        status.host = Some(HeldHost {
            name: "old.example.com".into(),
            since: at(1),
        });
        assert_eq!(since(&status, None), Some(at(7)));
        let holder = Holder {
            sale: valid.id.clone(),
        };
        assert_eq!(since(&status, Some(&holder)), None);
        status.phase = Some(Phase::Pending);
        assert_eq!(since(&status, None), None);
    }
}
