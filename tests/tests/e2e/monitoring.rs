//! What a Prometheus beside the sales makes of them: the chart's rules, and each query of its dashboards.

use super::sale::{OpenSale, ingress_port, spec};
use anyhow::{Context, Result, ensure};
use jiff::{SignedDuration, Timestamp};
use platform::tokens::Role;
use quicksale_tests::{
    cluster::{Cluster, command},
    world::eventually,
};
use serde_json::{Value, json};
use std::{cell::RefCell, time::Duration};

/// A rate needs two scrapes, which are five seconds apart, after something has happened; sales are settled in some more.
const SEEN: Duration = Duration::from_secs(150);

/// Shown while a sale drains, which may take less than the time between two scrapes; when that began stays.
const DRAINING: &str = "quicksale_sale_draining_since_timestamp_seconds";

/// Asks the cluster's Prometheus, through the ingress.
async fn ask(path: &str, parameters: &[(&str, &str)]) -> Result<Value> {
    let url = format!("http://127.0.0.1:{}/api/v1/{path}", ingress_port()?);
    let url = reqwest::Url::parse_with_params(&url, parameters)?;
    let request = reqwest::Client::new()
        .get(url)
        .header("host", "prometheus.localhost");
    let answer = request.send().await?;
    let status = answer.status();
    let mut said: Value = answer.json().await?;
    ensure!(
        said["status"] == "success",
        "{path} {parameters:?}: {status} {said}"
    );
    Ok(said["data"].take())
}

async fn has_data(query: &str) -> Result<bool> {
    let data = ask("query", &[("query", query)]).await?;
    Ok(data["result"].as_array().is_some_and(|found| !found.is_empty()))
}

/// The queries of all dashboards about one sale. Those that show what is wrong, or what is still to come, are empty where nothing is.
async fn queries(namespace: &str) -> Result<Vec<String>> {
    let script = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../tests/alerts/dashboard-queries.sh"
    );
    let listed = command("env", &[&format!("NAMESPACE={namespace}"), script], "").await?;
    let queries: Vec<String> = listed.lines().map(str::to_owned).collect();
    ensure!(queries.len() > 100, "{listed}");
    let may_be_empty =
        |query: &String| query.contains("ALERTS{") || query.contains(DRAINING) || query.ends_with("> 0");
    Ok(queries.into_iter().filter(|query| !may_be_empty(query)).collect())
}

#[tokio::test]
async fn each_query_of_the_dashboards_has_data_and_no_alert_fires_for_a_calm_sale() -> Result<()> {
    let cluster = Cluster::with_namespace("monitored").await?;
    let namespace = cluster.namespace.clone();
    let host = format!("{namespace}.localhost");
    let mut with_an_end = spec(&host);
    let in_an_hour = Timestamp::now() + SignedDuration::from_hours(1);
    with_an_end["closesAt"] = json!(in_an_hour.to_string());
    cluster.sell("units", &with_an_end).await?;
    let sale = OpenSale::of(cluster, "units", &host).await?;
    let shop = &sale.shop;
    // Somebody who hears of an order, and others: 50 units for one each, and then none.
    let _listening = shop.socket(&shop.token("buyer-0", Role::Buyer)?).await?;
    let left = RefCell::new(queries(&namespace).await?);
    let next = RefCell::new(0..);
    eventually(SEEN, "each query has data", async || {
        for _ in 0..3 {
            let buyer = format!("buyer-{}", next.borrow_mut().next().unwrap_or(0));
            shop.order(&buyer, "k", "UNIT", 1).await?;
        }
        let mut without = Vec::new();
        for query in left.take() {
            if !has_data(&query).await.with_context(|| query.clone())? {
                without.push(query);
            }
        }
        let found = without.is_empty();
        let said = format!("{} queries without data: {without:#?}", without.len());
        left.replace(without);
        ensure!(found, said);
        Ok(true)
    })
    .await?;
    no_alert_fires(&namespace).await?;
    every_rule_can_be_evaluated().await?;
    let now = Timestamp::now().to_string();
    sale.cluster.edit(sale.name, &json!({"closesAt": now})).await?;
    let of_this_sale = format!(r#"{DRAINING}{{sale_namespace="{namespace}"}}"#);
    eventually(SEEN, "the drain is shown", async || has_data(&of_this_sale).await).await?;
    sale.close().await
}

async fn no_alert_fires(namespace: &str) -> Result<()> {
    let firing = format!(r#"ALERTS{{namespace="{namespace}",alertstate="firing"}}"#);
    let firing = ask("query", &[("query", &firing)]).await?;
    ensure!(firing["result"] == json!([]), "{firing}");
    Ok(())
}

async fn every_rule_can_be_evaluated() -> Result<()> {
    let data = ask("rules", &[]).await?;
    let groups = data["groups"].as_array().context("no groups")?;
    let rules: Vec<&Value> = groups
        .iter()
        .filter_map(|group| group["rules"].as_array())
        .flatten()
        .collect();
    ensure!(rules.len() > 25, "{data}");
    let ill: Vec<_> = rules.iter().filter(|rule| rule["health"] != "ok").collect();
    ensure!(ill.is_empty(), "{ill:?}");
    Ok(())
}
