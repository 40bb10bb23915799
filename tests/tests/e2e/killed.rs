//! The life of a sale whose operator is killed in every phase: it opens, sells, drains, ends, is reported and goes all the same, and no
//! order is lost on the way.

use super::sale::{OpenSale, spec};
use anyhow::{Context, Result, ensure};
use crds::FlashSale;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, ListParams},
};
use platform::tokens::Role;
use quicksale_tests::{cluster::Cluster, world::eventually};
use reqwest::Method;
use sale::phase::Phase;
use serde_json::{Value, json};
use std::{cell::RefCell, time::Duration};
use uuid::Uuid;

/// How long the cluster may take for what needs new pods, an operator among them.
const ROLLED_OUT: Duration = Duration::from_secs(150);
/// Units of the sale.
const UNITS: usize = 5;

/// Ends all operators at once, without notice.
async fn kill_the_operators(cluster: &Cluster) -> Result<()> {
    let pods: Api<Pod> = Api::namespaced(cluster.client.clone(), "quicksale-system");
    // Those that were killed a moment ago may have nobody in their place yet.
    eventually(ROLLED_OUT, "an operator is there, and killed", async || {
        let all = pods.list(&ListParams::default()).await?.items;
        let names = all.iter().map(ResourceExt::name_any);
        let operators: Vec<_> = names
            .filter(|name| name.starts_with("quicksale-operator-"))
            .collect();
        for operator in &operators {
            let at_once = DeleteParams::default().grace_period(0);
            match pods.delete(operator, &at_once).await {
                Err(kube::Error::Api(gone)) if gone.is_not_found() => {}
                deleted => drop(deleted?),
            }
        }
        Ok(!operators.is_empty())
    })
    .await
}

/// Waits for a phase, or one after it, and kills the operators in it.
async fn killed_in(cluster: &Cluster, phase: Phase) -> Result<()> {
    eventually(ROLLED_OUT, &format!("the sale is {phase}"), async || {
        let status = cluster.sale("units").await?.status.unwrap_or_default();
        // A drain of a moment may be over before anybody looks.
        Ok(status.phase() == phase || (phase == Phase::Draining && status.phase() == Phase::Ended))
    })
    .await?;
    kill_the_operators(cluster).await
}

/// The id of an order that was accepted.
async fn bought(sale: &OpenSale, buyer: &str) -> Result<String> {
    let answer = sale
        .shop
        .order_patiently(buyer, &Uuid::new_v4().to_string(), "UNIT", 1)
        .await?;
    let id = answer.expect(201)?.json["order"]["_id"].as_str();
    Ok(id.context("no id")?.to_owned())
}

async fn lives(prefix: &str, confirmation: &str) -> Result<()> {
    let cluster = Cluster::with_namespace(prefix).await?;
    let host = format!("{}.localhost", cluster.namespace);
    // Each phase before the opening lasts until the test has it end: how long pods take to start is nothing that it is about.
    let far = Timestamp::from_second(Timestamp::now().as_second() + 3600)?;
    let mut spec = spec(&host);
    spec["opensAt"] = json!(far);
    spec["warmUp"] = json!("10s");
    spec["confirmation"] = json!(confirmation);
    spec["reservationTtl"] = json!("20s");
    spec["products"][0]["stock"] = json!(UNITS);
    cluster.sell("units", &spec).await?;
    killed_in(&cluster, Phase::Pending).await?;
    cluster.edit("units", &json!({"warmUp": "2h"})).await?;
    killed_in(&cluster, Phase::Warming).await?;
    eventually(ROLLED_OUT, "everything is ready but the time", async || {
        let status = cluster.sale("units").await?.status.unwrap_or_default();
        let prepared = status.conditions.iter().find(|c| c.type_ == "Prepared");
        Ok(prepared.is_some_and(|c| c.reason == "AllThere"))
    })
    .await?;
    let opens = Timestamp::from_second(Timestamp::now().as_second() + 20)?;
    cluster.edit("units", &json!({"opensAt": opens})).await?;
    killed_in(&cluster, Phase::Live).await?;
    let sale = OpenSale::of(cluster, "units", &host).await?;
    let is_paid = confirmation == "Payment";
    let orders = RefCell::new(Vec::new());
    for buyer in 0..UNITS {
        let order = bought(&sale, &format!("buyer-{buyer}")).await?;
        // The last one does not pay, so its unit goes back, and to one more.
        if is_paid && buyer + 1 < UNITS {
            confirm(&sale, &order).await?;
        }
        orders.borrow_mut().push(order);
    }
    if is_paid {
        eventually(
            ROLLED_OUT,
            "the unit that nobody paid for goes to another",
            async || {
                let buyer = Uuid::new_v4().to_string();
                let answer = sale.shop.order_patiently(&buyer, &buyer, "UNIT", 1).await?;
                let Some(order) = answer.json["order"]["_id"]
                    .as_str()
                    .filter(|_| answer.status == 201)
                else {
                    return Ok(false);
                };
                confirm(&sale, order).await?;
                orders.borrow_mut().push(order.to_owned());
                Ok(true)
            },
        )
        .await?;
    }
    killed_in(&sale.cluster, Phase::Draining).await?;
    killed_in(&sale.cluster, Phase::Ended).await?;
    let report = report(&sale).await?;
    let accepted = orders.borrow().len();
    let (paid, unpaid) = (UNITS, accepted - UNITS);
    ensure!(
        report["orders"]["accepted"] == accepted
            && report["orders"]["byStatus"]["CONFIRMED"] == paid
            && report["products"][0]["sold"] == UNITS
            && (unpaid == 0 || report["orders"]["byStatus"]["EXPIRED"] == unpaid)
            && report["audit"]["result"] == "agrees",
        "{report:#}"
    );
    let opened = sale.resource().await?.status.unwrap_or_default().opened_at;
    ensure!(
        opened == Some(opens),
        "it opened at {opened:?}, and was to open at {opens}"
    );
    sale.cluster
        .api::<FlashSale>()
        .delete("units", &DeleteParams::default())
        .await?;
    kill_the_operators(&sale.cluster).await?;
    eventually(ROLLED_OUT, "the sale is gone", async || {
        Ok(sale.cluster.api::<FlashSale>().get_opt("units").await?.is_none())
    })
    .await?;
    sale.cluster.leave().await
}

async fn confirm(sale: &OpenSale, order: &str) -> Result<()> {
    let token = sale.shop.token("the-provider", Role::Service)?;
    let path = format!("/api/orders/{order}/confirm");
    eventually(ROLLED_OUT, "the order can be paid", async || {
        let answer = sale.shop.send(Method::POST, &path, Some(&token), None).await?;
        Ok(answer.status == 200)
    })
    .await
}

/// The one report of the sale. Whoever was killed has not left a second one.
async fn report(sale: &OpenSale) -> Result<Value> {
    eventually(ROLLED_OUT, "the report is written", async || {
        Ok(sale
            .resource()
            .await?
            .status
            .unwrap_or_default()
            .report_ref
            .is_some())
    })
    .await?;
    let selected = ListParams::default().labels("quicksale.io/report=units");
    let reports = sale.cluster.api::<ConfigMap>().list(&selected).await?.items;
    ensure!(reports.len() == 1, "{} reports", reports.len());
    let data = reports
        .into_iter()
        .next()
        .and_then(|map| map.data)
        .context("no data")?;
    Ok(serde_json::from_str(
        data.get("report.json").context("no report.json")?,
    )?)
}

#[tokio::test]
async fn a_sale_outlives_its_operator_in_every_phase() -> Result<()> {
    lives("killed", "Automatic").await
}

#[tokio::test]
async fn a_sale_with_payment_outlives_its_operator_in_every_phase() -> Result<()> {
    lives("killedpaid", "Payment").await
}
