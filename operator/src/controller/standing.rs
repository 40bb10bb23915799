//! What of the ways in stands because there may be buyers on it, whatever the platform and other sales say by now.

use super::{
    build::{INGRESS, Kind, LOAD_BALANCER, ROUTE, object_name},
    observed::Observed,
    pin::Buyers,
};
use crds::ValidSale;
use kube::{ResourceExt, core::DynamicObject};
use std::collections::BTreeSet;

/// The objects that lead to a sale from outside of the cluster.
const ENTRANCES: [(Kind, &str); 3] = [
    (Kind::Ingress, INGRESS),
    (Kind::HttpRoute, ROUTE),
    (Kind::Service, LOAD_BALANCER),
];

fn there<'a>(
    sale: &ValidSale,
    observed: &'a Observed,
    kind: Kind,
    suffix: &str,
) -> Option<&'a DynamicObject> {
    observed.child(kind, &object_name(&sale.id.name, suffix))
}

/// Whether what leads from the sale's host to it stays, though the host is another sale's.
pub(super) fn keeps_its_host(sale: &ValidSale, buyers: Buyers, observed: &Observed) -> bool {
    let host = |kind, suffix, pointer: &str| {
        there(sale, observed, kind, suffix)
            .and_then(|object| object.data.pointer(pointer))
            .and_then(|host| host.as_str())
    };
    let hosts = [
        host(Kind::Ingress, INGRESS, "/spec/rules/0/host"),
        host(Kind::HttpRoute, ROUTE, "/spec/hostnames/0"),
    ];
    let wanted = sale.by_host.as_ref().map(|wanted| wanted.host.as_str());
    buyers == Buyers::MayBeThere && wanted.is_some() && hosts.contains(&wanted)
}

/// Whether the sale's load balancer is made, or stays. One of another class goes first: Kubernetes changes none.
pub(super) fn may_have_its_load_balancer(
    sale: &ValidSale,
    buyers: Buyers,
    observed: &Observed,
    allowed: bool,
) -> bool {
    let standing = there(sale, observed, Kind::Service, LOAD_BALANCER);
    if buyers == Buyers::MayBeThere {
        return allowed || standing.is_some();
    }
    let wanted = sale
        .load_balancer
        .as_ref()
        .and_then(|wanted| wanted.class_name.as_deref());
    let is_of_another =
        |service: &DynamicObject| service.data["spec"]["loadBalancerClass"].as_str() != wanted;
    allowed && !standing.is_some_and(is_of_another)
}

/// The names of annotations that the ways in of an open sale have: some controllers make a way in anew where one is taken off.
pub(super) fn annotations(sale: &ValidSale, buyers: Buyers, observed: &Observed) -> BTreeSet<String> {
    if buyers != Buyers::MayBeThere {
        return BTreeSet::new();
    }
    let objects = ENTRANCES.into_iter();
    objects
        .filter_map(|(kind, suffix)| there(sale, observed, kind, suffix))
        .flat_map(|object| object.annotations().keys().cloned())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controller::entrance::tests::sale;
    use serde_json::{Value, json};

    fn observed(kind: Kind, suffix: &str, spec: &Value) -> Observed {
        let object = json!({"apiVersion": "v1", "kind": "X", "spec": spec,
            "metadata": {"name": format!("shoes-{suffix}"), "annotations": {"cert-manager.io/issuer": "le"}}});
        Observed {
            children: vec![(kind, serde_json::from_value(object).unwrap())],
            ..Observed::default()
        }
    }

    #[test]
    fn an_open_sale_keeps_the_host_that_leads_to_it() {
        let host = "shoes.example";
        let sale = sale(&json!({"ingress": {"host": host}}));
        let ingress = |host: &str| observed(Kind::Ingress, INGRESS, &json!({"rules": [{"host": host}]}));
        let route = observed(Kind::HttpRoute, ROUTE, &json!({"hostnames": [host]}));
        for there in [&ingress(host), &route] {
            assert!(keeps_its_host(&sale, Buyers::MayBeThere, there));
            assert!(
                !keeps_its_host(&sale, Buyers::NotYet, there)
                    && !keeps_its_host(&sale, Buyers::HaveGone, there)
            );
        }
        assert!(!keeps_its_host(
            &sale,
            Buyers::MayBeThere,
            &ingress("other.example")
        ));
        assert!(!keeps_its_host(&sale, Buyers::MayBeThere, &Observed::default()));
    }

    #[test]
    fn an_open_sale_keeps_its_load_balancer_whatever_is_allowed() {
        let sale = sale(&json!({"loadBalancer": {}}));
        let (there, nothing) = (
            observed(Kind::Service, LOAD_BALANCER, &json!({})),
            Observed::default(),
        );
        let may = |buyers, observed, allowed| may_have_its_load_balancer(&sale, buyers, observed, allowed);
        assert!(may(Buyers::MayBeThere, &there, false) && !may(Buyers::MayBeThere, &nothing, false));
        assert!(!may(Buyers::NotYet, &there, false) && !may(Buyers::HaveGone, &there, false));
        for buyers in [Buyers::NotYet, Buyers::MayBeThere, Buyers::HaveGone] {
            assert!(may(buyers, &there, true) && may(buyers, &nothing, true));
        }
    }

    #[test]
    fn a_load_balancer_of_another_class_goes_first_while_there_are_no_buyers() {
        let sale = sale(&json!({"loadBalancer": {"className": "internal"}}));
        let of = |class: &str| observed(Kind::Service, LOAD_BALANCER, &json!({"loadBalancerClass": class}));
        let may = |buyers, class| may_have_its_load_balancer(&sale, buyers, &of(class), true);
        assert!(may(Buyers::NotYet, "internal") && !may(Buyers::NotYet, "public"));
        assert!(may(Buyers::MayBeThere, "public"));
    }

    #[test]
    fn only_an_open_sale_keeps_annotations() {
        let sale = sale(&json!({"ingress": {"host": "shoes.example"}}));
        let there = observed(Kind::Ingress, INGRESS, &json!({}));
        assert!(annotations(&sale, Buyers::MayBeThere, &there).contains("cert-manager.io/issuer"));
        assert!(annotations(&sale, Buyers::NotYet, &there).is_empty());
    }
}
