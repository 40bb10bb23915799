//! The console of the installation, by way of the ingress: with the rights and the network that the chart gives it.

use super::sale::{OpenSale, admin, ingress_port};
use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::ResourceExt;
use quicksale_tests::{console::Console, scenarios::SETTLED, world::eventually};
use sale::SaleId;
use serde_json::{Value, json};

/// It shows a sale with its processes, orders and messages, halts it, reopens it, and changes its stock, all of which the operator
/// carries out.
pub(crate) async fn shows_and_steers(sale: &OpenSale) -> Result<()> {
    let console = logged_in(sale).await?;
    looks(sale, &console).await?;
    steers(sale, &console).await
}

/// It shows the report of a sale that has ended, as it was written, and the sale's page leads there.
pub(crate) async fn shows_the_report(sale: &OpenSale, report: &ConfigMap) -> Result<()> {
    let console = logged_in(sale).await?;
    eventually(SETTLED, "the sale's page leads to its report", async || {
        Ok(console.look("").await?["report"] == report.name_any())
    })
    .await?;
    let shown = console.get(&format!("{}/report", console.sale)).await?;
    let written = report.data.as_ref().and_then(|data| data.get("report.json"));
    ensure!(
        shown.expect(200)?.headers["content-type"] == "application/json" && Some(&shown.text) == written,
        "{}",
        shown.text
    );
    Ok(())
}

async fn logged_in(sale: &OpenSale) -> Result<Console> {
    let id = SaleId {
        namespace: sale.cluster.namespace.clone(),
        name: sale.name.to_owned(),
    };
    let console = Console::at("console.localhost", ingress_port()?, &id)?;
    let admin = admin(&sale.cluster).await?;
    console.log_in(&admin.email, &admin.password).await?.expect(200)?;
    Ok(console)
}

async fn looks(sale: &OpenSale, console: &Console) -> Result<()> {
    let found = console
        .get(&format!("/api/sales?search={}", sale.cluster.namespace))
        .await?;
    let found = &found.expect(200)?.json["items"];
    ensure!(found[0]["phase"] == "Live" && found[0]["stock"] == 50, "{found}");
    let user = uuid::Uuid::new_v4().to_string();
    let placed = sale
        .shop
        .order_patiently(&user, "seen-in-the-console", "UNIT", 1)
        .await?;
    let order = placed.expect(201)?.json["order"]["_id"]
        .as_str()
        .context("no id")?
        .to_owned();
    eventually(SETTLED, "the order is confirmed and shown", async || {
        let found = console
            .look(&format!("/orders?user={user}&key=seen-in-the-console"))
            .await?;
        Ok(found["items"][0]["_id"] == order.as_str() && found["items"][0]["status"] == "CONFIRMED")
    })
    .await?;
    let whole = console.look(&format!("/orders/{order}")).await?;
    let place = &whole["places"][0];
    let messages = console
        .look(&format!(
            "/topics/order.created/{}?key={order}&time={}",
            place["partition"],
            place["time"].as_str().unwrap_or_default()
        ))
        .await?;
    ensure!(
        messages["items"][0]["value"]["orderId"] == order.as_str(),
        "{messages}"
    );
    eventually(SETTLED, "every process is looked at", async || {
        let shown = console.look("").await?;
        let processes = shown["processes"].as_array().cloned().unwrap_or_default();
        Ok(processes.len() >= 7
            && processes
                .iter()
                .all(|process| process["scraped"] == true && process["ready"] == true))
    })
    .await?;
    let conditions = console.look("").await?["conditions"].clone();
    ensure!(conditions.to_string().contains("WorkloadsReady"), "{conditions}");
    let report = console.get(&format!("{}/report", console.sale)).await?;
    report.expect_problem(404, "not_found")?;
    let story = console.look("/story").await?;
    ensure!(
        story["items"].to_string().contains("The FlashSale was made."),
        "{story}"
    );
    Ok(())
}

async fn steers(sale: &OpenSale, console: &Console) -> Result<()> {
    console
        .act("/halt", json!({"reason": "a test"}))
        .await?
        .expect(200)?;
    ensure!(sale.resource().await?.spec.halted);
    let refusal = async || {
        let user = uuid::Uuid::new_v4().to_string();
        let answer = sale.shop.order(&user, "k", "UNIT", 2).await?;
        Ok::<Value, anyhow::Error>(answer.json["code"].clone())
    };
    eventually(SETTLED, "orders are refused", async || {
        Ok(refusal().await? == "sale_halted")
    })
    .await?;
    console
        .act("/reopen", json!({"reason": "a test"}))
        .await?
        .expect(200)?;
    // Two are more than a customer may buy, so nothing is bought by asking.
    eventually(SETTLED, "orders are taken", async || {
        Ok(refusal().await? == "customer_limit")
    })
    .await?;
    for (delta, before) in [(1, 50), (-1, 51)] {
        let change = json!({"sku": "UNIT", "delta": delta, "expected": before, "reason": "a test"});
        console.act("/stock", change.clone()).await?.expect(200)?;
        eventually(SETTLED, "the operator has brought the stock", async || {
            Ok(sale.shop.shown("UNIT").await?["stock"] == before + delta)
        })
        .await?;
        console
            .act("/stock", change)
            .await?
            .expect_problem(409, "stale_version")?;
    }
    Ok(())
}
