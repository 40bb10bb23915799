//! The ways in beside an Ingress: an HTTPRoute in a cluster that learns only later what that is, and a load balancer. There is nobody here
//! who would serve either, so the test says what their controllers would. On kind `e2e::ways_in` goes through both.

use super::{chart::installed, marks::passing_sale, operator::sale_in_the_making};
use anyhow::{Context, Result, ensure};
use crds::FlashSale;
use k8s_openapi::api::{apps::v1::Deployment, core::v1::Service, networking::v1::Ingress};
use kube::{
    Api,
    api::{Patch, PatchParams},
    core::{ApiResource, DynamicObject},
};
use quicksale_tests::{
    cluster::{Cluster, command, small_sale},
    world::eventually,
};
use serde_json::{Value, json};
use std::time::Duration;

const SOON: Duration = Duration::from_secs(45);

fn routes(cluster: &Cluster) -> Api<DynamicObject> {
    let resource = ApiResource {
        group: "gateway.networking.k8s.io".into(),
        version: "v1".into(),
        api_version: "gateway.networking.k8s.io/v1".into(),
        kind: "HTTPRoute".into(),
        plural: "httproutes".into(),
    };
    Api::namespaced_with(cluster.client.clone(), &cluster.namespace, &resource)
}

/// Waits until a condition of the sale has this status and reason, and a message with these words.
async fn says(cluster: &Cluster, name: &str, [kind, status, reason, words]: [&str; 4]) -> Result<()> {
    eventually(
        SOON,
        &format!("{kind} is {status}, {reason}: {words}"),
        async || {
            let now = cluster.sale(name).await?.status.unwrap_or_default();
            let found = now.conditions.into_iter().find(|c| c.type_ == kind);
            Ok(found.is_some_and(|c| c.status == status && c.reason == reason && c.message.contains(words)))
        },
    )
    .await
}

async fn url(cluster: &Cluster, name: &str) -> Result<String> {
    Ok(cluster
        .sale(name)
        .await?
        .status
        .and_then(|status| status.url)
        .unwrap_or_default())
}

/// The definition of HTTPRoutes, as the authors of the Gateway API release it.
async fn define_routes() -> Result<()> {
    let definitions =
        std::env::var("QUICKSALE_GATEWAY_API_CRDS")
        .context("set QUICKSALE_GATEWAY_API_CRDS to the directory with the definitions of the Gateway API, as hack/test.sh does")?;
    let file = format!("{definitions}/gateway.networking.k8s.io_httproutes.yaml");
    command("kubectl", &["apply", "--server-side", "--filename", &file], "")
        .await
        .map(drop)
}

#[tokio::test]
async fn a_route_is_made_as_soon_as_the_cluster_knows_what_one_is() -> Result<()> {
    installed().await?;
    let definition = "httproutes.gateway.networking.k8s.io";
    command(
        "kubectl",
        &["delete", "crd", "--ignore-not-found", definition],
        "",
    )
    .await?;
    let mut spec = passing_sale();
    spec["ingress"] = json!({
        "host": "routed.example.com", "https": true, "parentRef": {"name": "front", "namespace": "edge"},
        "annotations": {"cert-manager.io/issuer": "le"},
    });
    let cluster = sale_in_the_making("routed", &spec).await?;
    says(
        &cluster,
        "shoes",
        ["Degraded", "True", "ApplyFailed", "the definition of this kind"],
    )
    .await?;
    says(
        &cluster,
        "shoes",
        [
            "EntranceReady",
            "False",
            "GatewayApiMissing",
            "install the definitions",
        ],
    )
    .await?;
    let deployments = cluster.api::<Deployment>();
    ensure!(
        deployments.get_opt("shoes-gateway").await?.is_some(),
        "what has nothing to do with it waits for it"
    );
    define_routes().await?;
    let routes = routes(&cluster);
    eventually(Duration::from_secs(120), "the route is made", async || {
        Ok(matches!(routes.get_opt("shoes-route").await, Ok(Some(_))))
    })
    .await?;
    let route = routes.get("shoes-route").await?;
    ensure!(
        route.data["spec"]["parentRefs"][0]["namespace"] == "edge",
        "{}",
        route.data["spec"]
    );
    let annotations = route.metadata.annotations.clone().unwrap_or_default();
    ensure!(
        annotations
            .get("cert-manager.io/issuer")
            .is_some_and(|value| value == "le")
    );
    ensure!(cluster.api::<Ingress>().get_opt("shoes-ingress").await?.is_none());
    says(
        &cluster,
        "shoes",
        [
            "EntranceReady",
            "False",
            "AwaitingGateway",
            "describe gateway front",
        ],
    )
    .await?;
    says(
        &cluster,
        "shoes",
        ["Prepared", "False", "AwaitingGateway", "describe gateway front"],
    )
    .await?;
    let said = |status: &str, message: &str| {
        json!({"status": {"parents": [{
            "parentRef": {"name": "front", "namespace": "edge"}, "controllerName": "example.com/gateways",
            "conditions": [{"type": "Accepted", "status": status, "reason": "X", "message": message,
                "lastTransitionTime": "2026-01-01T00:00:00Z", "observedGeneration": 1}],
        }]}})
    };
    let tell = async |status: Value| {
        routes
            .patch_status("shoes-route", &PatchParams::default(), &Patch::Merge(status))
            .await
    };
    tell(said("False", "no listener takes routed.example.com")).await?;
    says(
        &cluster,
        "shoes",
        [
            "EntranceReady",
            "False",
            "RouteRefused",
            "no listener takes routed.example.com",
        ],
    )
    .await?;
    tell(said("True", "taken")).await?;
    says(
        &cluster,
        "shoes",
        ["EntranceReady", "True", "LeadsHere", "edge/front"],
    )
    .await?;
    ensure!(url(&cluster, "shoes").await? == "https://routed.example.com");
    // One that somebody deletes comes back, as everything does.
    routes
        .delete("shoes-route", &kube::api::DeleteParams::default())
        .await?;
    eventually(SOON, "the route is back", async || {
        Ok(routes.get_opt("shoes-route").await?.is_some())
    })
    .await?;
    // Another way in takes the place of this one, as long as there are no buyers.
    let back = json!({"ingress": {"parentRef": null, "https": null}});
    cluster.edit("shoes", &back).await?;
    eventually(SOON, "an Ingress is there, and no route", async || {
        let ingress = cluster.api::<Ingress>().get_opt("shoes-ingress").await?;
        Ok(ingress.is_some() && routes.get_opt("shoes-route").await?.is_none())
    })
    .await?;
    eventually(SOON, "nothing is said of a Gateway any more", async || {
        let status = cluster.sale("shoes").await?.status.unwrap_or_default();
        Ok(status
            .conditions
            .iter()
            .all(|condition| condition.type_ != "EntranceReady"))
    })
    .await?;
    cluster.leave().await
}

#[tokio::test]
async fn a_load_balancer_is_where_it_says_and_goes_when_nobody_asks_for_it() -> Result<()> {
    let mut spec = passing_sale();
    spec["loadBalancer"] = json!({"port": 8080, "sourceRanges": ["203.0.113.0/24"]});
    let cluster = sale_in_the_making("balanced", &spec).await?;
    let services = cluster.api::<Service>();
    says(
        &cluster,
        "shoes",
        ["EntranceReady", "False", "AwaitingAddress", "shoes-load-balancer"],
    )
    .await?;
    let made = services
        .get("shoes-load-balancer")
        .await?
        .spec
        .unwrap_or_default();
    ensure!(
        made.type_.as_deref() == Some("LoadBalancer")
            && made.external_traffic_policy.as_deref() == Some("Local")
    );
    ensure!(url(&cluster, "shoes").await?.contains("shoes-gateway"));
    let address = json!({"status": {"loadBalancer": {"ingress": [{"ip": "203.0.113.9"}]}}});
    services
        .patch_status(
            "shoes-load-balancer",
            &PatchParams::default(),
            &Patch::Merge(address),
        )
        .await?;
    says(
        &cluster,
        "shoes",
        ["EntranceReady", "True", "LeadsHere", "203.0.113.9"],
    )
    .await?;
    eventually(SOON, "the sale says where it is", async || {
        Ok(url(&cluster, "shoes").await? == "http://203.0.113.9:8080")
    })
    .await?;
    cluster.edit("shoes", &json!({"loadBalancer": null})).await?;
    eventually(SOON, "it is taken away", async || {
        Ok(services.get_opt("shoes-load-balancer").await?.is_none())
    })
    .await?;
    cluster.leave().await
}

#[tokio::test]
async fn an_annotation_that_the_platform_does_not_allow_is_left_out_and_told_of() -> Result<()> {
    installed().await?;
    let cluster = Cluster::with_namespace("annotated").await?;
    let mut spec = small_sale();
    spec["opensAt"] = json!("2126-12-01T12:00:00Z");
    let snippet = "nginx.ingress.kubernetes.io/configuration-snippet";
    spec["ingress"] = json!({"host": format!("{}.example.com", cluster.namespace), "annotations": {snippet: "return 200;"}});
    cluster.sell("shoes", &spec).await?;
    // Days before it warms up.
    for kind in ["EntranceReady", "Prepared"] {
        says(&cluster, "shoes", [kind, "False", "AnnotationRefused", snippet]).await?;
    }
    let sales = cluster.api::<FlashSale>();
    let warm = Patch::Merge(json!({"spec": {"opensAt": null}}));
    sales.patch("shoes", &PatchParams::default(), &warm).await?;
    let ingresses = cluster.api::<Ingress>();
    eventually(SOON, "the Ingress is made", async || {
        Ok(ingresses.get_opt("shoes-ingress").await?.is_some())
    })
    .await?;
    let annotations = ingresses.get("shoes-ingress").await?.metadata.annotations;
    ensure!(!annotations.unwrap_or_default().contains_key(snippet));
    cluster.leave().await
}
