//! Whether what leads to a sale from outside of the cluster is there, as far as somebody says so: a Gateway of its route, a load balancer of
//! its address. Of an Ingress nobody says anything that could be relied on.

use super::{
    build::{Kind, LOAD_BALANCER, ROUTE, object_name},
    observed::Observed,
    status::Finding,
};
use crate::allowed_entrances::AllowedEntrances;
use crds::{ValidSale, by_host::ByHost, status::ConditionType, traffic::ParentReference};
use kube::core::DynamicObject;
use serde_json::Value;

/// What the sale asks for and the platform does not allow; `None` where it allows everything.
fn refusal(sale: &ValidSale, entrances: &AllowedEntrances) -> Option<Finding> {
    let finding =
        |reason, message: String| Finding::new(ConditionType::EntranceReady, false, reason, message);
    let gateway = sale.by_host.as_ref().and_then(ByHost::gateway);
    if gateway.is_some() && !entrances.gateway_api {
        return Some(finding(
            "GatewayApiOff",
            "spec.ingress.parentRef asks for an HTTPRoute, and the platform allows none: set entrances.gatewayApi in the operator's chart, or \
             before the sale opens leave parentRef out for an Ingress"
                .to_owned(),
        ));
    }
    if sale.load_balancer.is_some() && !entrances.load_balancers {
        return Some(finding(
            "LoadBalancersOff",
            "the platform allows no spec.loadBalancer: set entrances.loadBalancers in the operator's chart, or before the sale opens leave \
             it out"
                .to_owned(),
        ));
    }
    let written = [
        (
            "spec.ingress",
            sale.by_host.as_ref().map(|wanted| &wanted.annotations),
        ),
        (
            "spec.loadBalancer",
            sale.load_balancer.as_ref().map(|wanted| &wanted.annotations),
        ),
    ];
    let refused = written.into_iter().find_map(|(field, annotations)| {
        let mut names = annotations?.keys();
        Some((field, names.find(|name| !entrances.allow(name))?))
    });
    refused.map(|(field, name)| {
        finding(
            "AnnotationRefused",
            format!(
                "the platform allows no annotation {name} in {field}, so it was left out: add what its name begins with to \
                 entrances.annotations of the operator's chart, or take it out of {field}"
            ),
        )
    })
}

/// What is said of it; nothing of a sale that asks for neither a Gateway nor a load balancer. Before it warms up only what the platform
/// refuses, or lacks.
pub fn finding(sale: &ValidSale, entrances: &AllowedEntrances, observed: &Observed) -> Option<Finding> {
    if let Some(refusal) = refusal(sale, entrances) {
        return Some(refusal);
    }
    let there = |kind, suffix| observed.child(kind, &object_name(&sale.id.name, suffix));
    let gateway = sale.by_host.as_ref().and_then(ByHost::gateway);
    let route = gateway.and_then(|gateway| {
        let namespace = gateway.namespace.as_deref().unwrap_or(&sale.id.namespace);
        if observed.knows_no_routes {
            return Some(Err((
                "GatewayApiMissing",
                "the cluster does not know HTTPRoutes, as spec.ingress.parentRef asks for one: install the definitions of the Gateway API"
                    .to_owned(),
            )));
        }
        Some(of_route(gateway, namespace, there(Kind::HttpRoute, ROUTE)?))
    });
    let wanted = sale.load_balancer.as_ref();
    let balancer = wanted.and_then(|_| Some(of_load_balancer(there(Kind::Service, LOAD_BALANCER)?)));
    let said: Result<Vec<String>, _> = route.into_iter().chain(balancer).collect();
    let kind = ConditionType::EntranceReady;
    match said {
        Ok(sentences) if sentences.is_empty() => None,
        Ok(sentences) => Some(Finding::new(kind, true, "LeadsHere", sentences.join(", and "))),
        Err((reason, sentence)) => Some(Finding::new(kind, false, reason, sentence)),
    }
}

/// Good news as a sentence; or a reason and a sentence.
type Said = Result<String, (&'static str, String)>;

/// What the Gateway's controller has written of the route.
fn of_route(gateway: &ParentReference, namespace: &str, route: &DynamicObject) -> Said {
    let name = format!("{namespace}/{}", gateway.name);
    let parents = route.data["status"]["parents"].as_array().into_iter().flatten();
    // What was said of another Gateway, or of the route before it was edited, says nothing of this one.
    let is_meant = |parent: &&Value| {
        let parent = &parent["parentRef"];
        let its_namespace = parent["namespace"]
            .as_str()
            .or(route.metadata.namespace.as_deref());
        parent["name"] == gateway.name.as_str()
            && its_namespace == Some(namespace)
            && gateway
                .section_name
                .as_deref()
                .is_none_or(|section| parent["sectionName"] == section)
    };
    let generation = route.metadata.generation.unwrap_or(0);
    let conditions: Vec<&Value> = parents
        .filter(is_meant)
        .filter_map(|parent| parent["conditions"].as_array())
        .flatten()
        .filter(|condition| {
            condition["observedGeneration"]
                .as_i64()
                .is_none_or(|seen| seen >= generation)
        })
        .collect();
    let is = |kind: &str, status: &str| {
        let mut conditions = conditions.iter();
        conditions.find(|condition| condition["type"] == kind && condition["status"] == status)
    };
    let said = |condition: &Value| {
        let message = condition["message"]
            .as_str()
            .filter(|message| !message.is_empty());
        let reason = condition["reason"].as_str();
        message.or(reason).unwrap_or("it does not say why").to_owned()
    };
    if let Some(refused) = is("Accepted", "False") {
        let message = format!(
            "the Gateway {name} does not take the sale's HTTPRoute: {}",
            said(refused)
        );
        return Err(("RouteRefused", message));
    }
    if let Some(unresolved) = is("ResolvedRefs", "False") {
        let message = format!(
            "the Gateway {name} takes the sale's HTTPRoute and cannot reach what it leads to: {}",
            said(unresolved)
        );
        return Err(("RouteUnresolved", message));
    }
    match is("Accepted", "True") {
        Some(_) => Ok(format!("the Gateway {name} takes the sale's HTTPRoute")),
        None => Err((
            "AwaitingGateway",
            format!(
                "no Gateway has taken the sale's HTTPRoute yet: kubectl --namespace {namespace} describe gateway {} says whether it is there, \
                 and whether its controller runs",
                gateway.name
            ),
        )),
    }
}

fn of_load_balancer(service: &DynamicObject) -> Said {
    match address(service) {
        Some(address) => Ok(format!("the load balancer has the address {address}")),
        None => Err((
            "AwaitingAddress",
            format!(
                "the load balancer has no address yet: kubectl --namespace {} describe service {} says what it waits for",
                service.metadata.namespace.as_deref().unwrap_or_default(),
                service.metadata.name.as_deref().unwrap_or_default()
            ),
        )),
    }
}

fn address(service: &DynamicObject) -> Option<&str> {
    let first = &service.data["status"]["loadBalancer"]["ingress"][0];
    first["hostname"].as_str().or(first["ip"].as_str())
}

/// The address of the sale's load balancer as a URL, once it has one.
pub fn url(sale: &ValidSale, observed: &Observed) -> Option<String> {
    let port = sale.load_balancer.as_ref()?.port;
    let service = observed.child(Kind::Service, &object_name(&sale.id.name, LOAD_BALANCER))?;
    let address = address(service)?;
    let host = match address.contains(':') {
        true => format!("[{address}]"),
        false => address.to_owned(),
    };
    Some(match port {
        80 => format!("http://{host}"),
        port => format!("http://{host}:{port}"),
    })
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crds::FlashSale;
    use serde_json::json;

    /// A sale with these fields in its spec.
    pub(in crate::controller) fn sale(more: &Value) -> ValidSale {
        let mut sale = json!({
            "apiVersion": "quicksale.io/v1alpha1", "kind": "FlashSale",
            "metadata": {"name": "shoes", "namespace": "shop", "uid": "u", "generation": 1},
            "spec": {"products": [{"sku": "A", "name": "a", "price": "1.00", "stock": 1}]},
        });
        for (field, value) in more.as_object().unwrap() {
            sale["spec"][field] = value.clone();
        }
        ValidSale::try_from(&serde_json::from_value::<FlashSale>(sale).unwrap()).unwrap()
    }

    fn by_gateway() -> ValidSale {
        sale(&json!({"ingress": {"host": "a.example", "parentRef": {"name": "front", "namespace": "edge"}}}))
    }

    fn observed(kind: Kind, name: &str, status: &Value) -> Observed {
        let object = json!({"apiVersion": "v1", "kind": "X", "metadata": {"name": name, "namespace": "shop"}, "status": status});
        Observed {
            children: vec![(kind, serde_json::from_value(object).unwrap())],
            ..Observed::default()
        }
    }

    fn all() -> AllowedEntrances {
        AllowedEntrances {
            annotations: vec![String::new()],
            gateway_api: true,
            load_balancers: true,
        }
    }

    fn reason(sale: &ValidSale, entrances: &AllowedEntrances, observed: &Observed) -> Option<&'static str> {
        finding(sale, entrances, observed).map(|finding| finding.reason)
    }

    #[test]
    fn what_the_platform_does_not_allow_is_said_before_anything_is_made() {
        let nothing = Observed::default();
        let few: AllowedEntrances = r#"{"annotations": ["cert-manager.io/"]}"#.parse().unwrap();
        assert_eq!(reason(&by_gateway(), &few, &nothing), Some("GatewayApiOff"));
        assert_eq!(reason(&by_gateway(), &all(), &nothing), None);
        let balanced = sale(&json!({"loadBalancer": {}}));
        assert_eq!(reason(&balanced, &few, &nothing), Some("LoadBalancersOff"));
        let annotated =
            |name: &str| sale(&json!({"ingress": {"host": "a.example", "annotations": {name: "x"}}}));
        let refused = finding(&annotated("nginx.org/snippet"), &few, &nothing).unwrap();
        let words = "no annotation nginx.org/snippet in spec.ingress";
        assert!(refused.message.contains(words), "{}", refused.message);
        assert_eq!(reason(&annotated("cert-manager.io/issuer"), &few, &nothing), None);
    }

    #[test]
    fn a_cluster_that_knows_no_routes_is_told_of() {
        let observed = Observed {
            knows_no_routes: true,
            ..Observed::default()
        };
        assert_eq!(
            reason(&by_gateway(), &all(), &observed),
            Some("GatewayApiMissing")
        );
        let by_ingress = sale(&json!({"ingress": {"host": "a.example"}}));
        assert_eq!(reason(&by_ingress, &all(), &observed), None);
    }

    #[test]
    fn a_route_is_as_its_gateway_says() {
        let told = |status: &Value| {
            let finding = finding(
                &by_gateway(),
                &all(),
                &observed(Kind::HttpRoute, "shoes-route", status),
            )
            .unwrap();
            (finding.holds, finding.reason, finding.message)
        };
        let parent = |kind: &str, status: &str| {
            json!({"parents": [{"parentRef": {"name": "front", "namespace": "edge"}, "conditions": [
                {"type": kind, "status": status, "reason": "NoMatchingParent", "message": "no listener takes a.example"},
            ]}]})
        };
        assert_eq!(told(&json!({})).1, "AwaitingGateway");
        let elsewhere = json!({"parents": [{"parentRef": {"name": "front", "namespace": "other"}, "conditions": [
            {"type": "Accepted", "status": "True"},
        ]}]});
        assert_eq!(told(&elsewhere).1, "AwaitingGateway");
        let taken = told(&parent("Accepted", "True"));
        assert_eq!((taken.0, taken.1), (true, "LeadsHere"));
        assert!(taken.2.contains("edge/front"), "{}", taken.2);
        // Of what others add nothing follows, nor from a controller that does not know yet.
        for (kind, status) in [("PartiallyInvalid", "False"), ("Accepted", "Unknown")] {
            assert_eq!(told(&parent(kind, status)).1, "AwaitingGateway");
        }
        for (kind, reason) in [("Accepted", "RouteRefused"), ("ResolvedRefs", "RouteUnresolved")] {
            let refused = told(&parent(kind, "False"));
            assert_eq!((refused.0, refused.1), (false, reason));
            assert!(refused.2.contains("no listener takes a.example"), "{}", refused.2);
        }
    }

    #[test]
    fn a_load_balancer_is_there_when_it_has_an_address() {
        let told = |port: u16, status: &Value| {
            let sale = sale(&json!({"loadBalancer": {"port": port}}));
            let observed = observed(Kind::Service, "shoes-load-balancer", status);
            (reason(&sale, &all(), &observed), url(&sale, &observed))
        };
        let at = |field: &str, value: &str| json!({"loadBalancer": {"ingress": [{field: value}]}});
        assert_eq!(told(80, &json!({})), (Some("AwaitingAddress"), None));
        let here = Some("LeadsHere");
        assert_eq!(
            told(80, &at("ip", "203.0.113.5")),
            (here, Some("http://203.0.113.5".into()))
        );
        assert_eq!(
            told(8080, &at("hostname", "lb.example")),
            (here, Some("http://lb.example:8080".into()))
        );
        assert_eq!(
            told(80, &at("ip", "2001:db8::1")),
            (here, Some("http://[2001:db8::1]".into()))
        );
    }

    #[test]
    fn of_several_ways_the_one_that_is_not_there_is_told_of() {
        let both = sale(&json!({
            "ingress": {"host": "a.example", "parentRef": {"name": "front"}}, "loadBalancer": {},
        }));
        let mut observed = observed(
            Kind::HttpRoute,
            "shoes-route",
            &json!({"parents": [{"parentRef": {"name": "front"}, "conditions": [{"type": "Accepted", "status": "True"}]}]}),
        );
        let service =
            json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "shoes-load-balancer"}});
        observed
            .children
            .push((Kind::Service, serde_json::from_value(service).unwrap()));
        assert_eq!(reason(&both, &all(), &observed), Some("AwaitingAddress"));
    }
}
