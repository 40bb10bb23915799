//! Whose a host is. Two Ingresses with one host and the same paths are no error to Kubernetes; which of them a request takes is up to the
//! ingress controller. So the operator makes one for the first sale, and says to the others that the host is taken.

use super::status::Finding;
use crds::{FlashSale, FlashSaleStatus, ValidSale, status::ConditionType};
use jiff::Timestamp;
use kube::ResourceExt;
use sale::{SaleId, phase::Phase};

/// A sale that has the host which another one asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// The sale.
    pub sale: SaleId,
    /// The host.
    pub host: String,
    /// Until when buyers may read their orders there, once it has ended.
    pub until: Option<Timestamp>,
}

/// Who has the host that a sale asks for, if somebody else does. A sale has its host from its warm-up until its services are gone, and
/// of two that have begun it belongs to the one that began first.
pub fn holder<'a>(
    resource: &FlashSale,
    sale: &ValidSale,
    others: impl Iterator<Item = &'a FlashSale>,
    now: Timestamp,
) -> Option<Holder> {
    let host = &sale.ingress.as_ref()?.host;
    let begun = |resource: &FlashSale| {
        let status = resource.status.as_ref()?;
        let has_begun = status.phase() != Phase::Pending;
        let created = resource.creation_timestamp().map(|at| at.0);
        has_begun.then(|| (status.claimed_at, created, resource.uid()))
    };
    let mine = begun(resource);
    let has_it = |other: &'a FlashSale| {
        let theirs = begun(other)?;
        let same = other.spec.ingress.as_ref()?.host.eq_ignore_ascii_case(host);
        let comes_first = mine.as_ref().is_none_or(|mine| theirs < *mine);
        let valid = ValidSale::salvaged(other);
        let until = valid.and_then(|valid| kept_until(&valid, other.status.as_ref()));
        let has_it =
            same && comes_first && other.uid() != resource.uid() && until.is_none_or(|until| now < until);
        has_it.then_some((theirs, other, until))
    };
    // Of several it is the first, so that all say the same.
    let (_, other, until) = others.filter_map(has_it).min_by(|(a, ..), (b, ..)| a.cmp(b))?;
    Some(Holder {
        sale: SaleId {
            namespace: other.namespace().unwrap_or_default(),
            name: other.name_any(),
        },
        host: host.clone(),
        until,
    })
}

/// Until when a sale that has ended is there to be read.
fn kept_until(sale: &ValidSale, status: Option<&FlashSaleStatus>) -> Option<Timestamp> {
    let ended_at = status?.ended_at?;
    let kept = if sale.is_rehearsal() {
        std::time::Duration::ZERO
    } else {
        sale.retain_for
    };
    Some(ended_at.checked_add(kept).unwrap_or(Timestamp::MAX))
}

/// What is said of it; nothing of a sale that has no host.
pub fn finding(sale: &ValidSale, holder: Option<&Holder>) -> Option<Finding> {
    let kind = ConditionType::HostReady;
    let host = &sale.ingress.as_ref()?.host;
    Some(match holder {
        None => Finding::new(
            kind,
            true,
            "HostFree",
            format!("no other sale of this operator has {host}"),
        ),
        Some(holder) => {
            let until = match holder.until {
                Some(until) => format!(", whose orders can be read there until {until}"),
                None => String::new(),
            };
            let message = format!(
                "the host {host} is taken by the sale {} in {}{until}; this sale gets no Ingress while that is so: delete that sale, or \
                 give one of the two another host",
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

    fn sale(name: &str, host: &str, status: &serde_json::Value) -> FlashSale {
        serde_json::from_value(json!({
            "apiVersion": "quicksale.io/v1alpha1", "kind": "FlashSale",
            "metadata": {"name": name, "namespace": "shop", "uid": name, "generation": 1,
                "creationTimestamp": "2026-12-01T12:00:00Z"},
            "spec": {
                "products": [{"sku": "A", "name": "a", "price": "1.00", "stock": 1}],
                "ingress": {"host": host}, "retainFor": "1h",
            },
            "status": status,
        }))
        .unwrap()
    }

    fn held_by(sale: &FlashSale, other: &FlashSale, now: &str) -> Option<String> {
        let valid = ValidSale::try_from(sale).unwrap();
        let holder = holder(sale, &valid, [other, sale].into_iter(), now.parse().unwrap());
        let finding = finding(&valid, holder.as_ref()).unwrap();
        assert_eq!(finding.holds, holder.is_none());
        (!finding.holds).then_some(finding.message)
    }

    #[test]
    fn a_host_belongs_to_the_sale_that_began_first_until_nobody_reads_it_any_more() {
        let (noon, later) = ("2026-12-01T12:00:00Z", "2026-12-01T13:30:00Z");
        let live = json!({"phase": "Live", "claimedAt": "2026-12-01T11:00:00Z"});
        let warming = json!({"phase": "Warming", "claimedAt": "2026-12-01T11:30:00Z"});
        let ended = json!({"phase": "Ended", "claimedAt": "2026-12-01T11:00:00Z", "endedAt": noon});
        let first = sale("first", "shop.example.com", &live);
        let second = sale("second", "shop.example.com", &warming);
        assert_eq!(held_by(&first, &second, noon), None);
        let told = held_by(&second, &first, noon).unwrap();
        assert!(told.contains("taken by the sale first in shop;"), "{told}");
        let waits = sale("waits", "shop.example.com", &json!({"phase": "Pending"}));
        assert!(held_by(&waits, &first, noon).is_some());
        assert_eq!(held_by(&first, &waits, noon), None);
        let elsewhere = sale("elsewhere", "other.example.com", &live);
        assert_eq!(held_by(&waits, &elsewhere, noon), None);
        let over = sale("over", "shop.example.com", &ended);
        let told = held_by(&waits, &over, "2026-12-01T12:30:00Z").unwrap();
        assert!(told.contains("until 2026-12-01T13:00:00Z"), "{told}");
        assert_eq!(held_by(&waits, &over, later), None);
    }
}
