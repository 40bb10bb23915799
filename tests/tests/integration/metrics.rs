//! What a sale's processes tell Prometheus: everything from the first scrape on, and numbers that are those of the orders.

use anyhow::{Context, Result, ensure};
use quicksale_tests::{
    scenarios::SETTLED,
    shop::next_update,
    world::{SERVICES, World, eventually},
};
use std::{collections::BTreeMap, time::Duration};

/// Metrics that appear with the thing that they tell of: a product, a partition that was looked at.
const LATER: [&str; 5] = [
    "quicksale_units",
    "quicksale_lane_lag",
    "kafka_consumergroup_lag",
    "kafka_consumergroup_current_offset",
    "kafka_topic_partition_current_offset",
];
/// The relay looks every five seconds; some looks may fail on a busy machine.
const LOOKED: Duration = Duration::from_secs(30);

/// The names in the reference, by the heading of their part.
fn reference() -> BTreeMap<&'static str, Vec<&'static str>> {
    let reference = include_str!("../../../docs/metrics.md");
    let mut parts: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    let mut heading = "";
    for line in reference.lines() {
        if let Some(next) = line.strip_prefix("## ") {
            heading = next;
        }
        if let Some((name, _)) = line.strip_prefix("| `").and_then(|rest| rest.split_once('`')) {
            parts.entry(heading).or_default().push(name);
        }
    }
    parts
}

/// The parts of the reference that a service's process shows.
fn parts_of(service: &str) -> Result<&'static [&'static str]> {
    Ok(match service {
        "gateway" => &["Every process", "Certificates", "Audit trail", "Gateway"],
        "auth" => &["Every process", "Certificates", "Audit trail", "Database"],
        "order" => &[
            "Every process",
            "Certificates",
            "Database",
            "Lanes",
            "Audit trail",
            "Order",
        ],
        "inventory" => &["Every process", "Certificates", "Database", "Lanes", "Inventory"],
        "processor" => &["Every process", "Certificates", "Database", "Processor"],
        "notifier" => &["Every process", "Certificates", "Database", "Lanes", "Notifier"],
        other => anyhow::bail!("a service that the reference has no part for: {other}"),
    })
}

#[tokio::test]
async fn every_series_is_there_before_anything_has_happened() -> Result<()> {
    let world = World::start().await?;
    let reference = reference();
    for service in SERVICES {
        let page = world.metrics(service).await?;
        for part in parts_of(service)? {
            let names = reference.get(part).with_context(|| format!("no part {part}"))?;
            for name in names.iter().filter(|name| !LATER.contains(name)) {
                ensure!(
                    page.contains(&format!("# TYPE {name} ")),
                    "{service} does not show {name}:\n{page}"
                );
            }
        }
        for name in ["process_cpu_seconds_total", "process_open_fds", "process_max_fds"] {
            ensure!(
                page.contains(&format!("\n{name} ")),
                "{service} does not show {name}"
            );
        }
        // The other way round: nothing is shown that the reference does not know.
        let shown = page.lines().filter_map(|line| line.strip_prefix("# TYPE "));
        let names = shown.filter_map(|line| line.split(' ').next());
        for name in names.filter(|name| !name.starts_with("process_")) {
            let is_known = reference.values().flatten().any(|known| *known == name);
            ensure!(
                is_known,
                "{service} shows {name}, which docs/metrics.md does not know"
            );
        }
    }
    Ok(())
}

#[tokio::test]
async fn what_is_shown_is_what_has_become_of_the_orders() -> Result<()> {
    let world = World::start().await?;
    let shop = &world.shop;
    shop.product("COUNTED", 5, None).await?;
    let mut socket = shop
        .socket(&shop.token("ada", platform::tokens::Role::Buyer)?)
        .await?;
    for (user, quantity) in [("ada", 1), ("bob", 2)] {
        shop.order(user, "k", "COUNTED", quantity).await?.expect(201)?;
    }
    shop.order("eve", "k", "COUNTED", 3).await?;
    next_update(&mut socket).await?;

    let is = async |service: &str, series: &str, value: f64| -> Result<bool> {
        let found = world.metric(service, series).await?;
        ensure!(
            (found - value).abs() < f64::EPSILON,
            "{series} is {found}, not {value}"
        );
        Ok(true)
    };
    let ended = r#"quicksale_orders_ended_total{status="CONFIRMED"}"#;
    eventually(SETTLED, "both orders have ended", async || {
        is("order", ended, 2.0).await
    })
    .await?;
    for (service, series, value) in [
        ("order", "quicksale_orders_accepted_total", 2.0),
        (
            "order",
            r#"quicksale_order_end_duration_seconds_count{status="CONFIRMED"}"#,
            2.0,
        ),
        ("order", r#"quicksale_orders_ended_total{status="FAILED"}"#, 0.0),
        // Three of two units that are left.
        (
            "gateway",
            r#"quicksale_orders_refused_total{code="units_held"}"#,
            1.0,
        ),
        ("notifier", "quicksale_pushed_total", 1.0),
        ("notifier", "quicksale_push_delay_seconds_count", 1.0),
        ("notifier", "quicksale_sockets", 1.0),
    ] {
        is(service, series, value).await?;
    }
    // The notifier pushes first, and stores in its own time.
    eventually(SETTLED, "each has committed a batch", async || {
        for service in ["order", "inventory", "notifier"] {
            let committed = r#"quicksale_database_transaction_duration_seconds_count{end="committed"}"#;
            let committed = world.metric(service, committed).await?;
            let batches = world
                .metric_sum(service, "quicksale_lane_batch_records_count", "")
                .await?;
            let open = world
                .metric(service, r#"quicksale_database_connections{state="open"}"#)
                .await?;
            ensure!(
                committed > 0.0 && batches > 0.0 && open > 0.0,
                "{service}: {committed} {batches} {open}"
            );
        }
        Ok(true)
    })
    .await?;
    let placed = r#"quicksale_http_request_duration_seconds_count{method="POST",route="/api/orders",service="order",status="201"}"#;
    is("order", placed, 2.0).await?;
    eventually(LOOKED, "units and pending orders are shown", async || {
        Ok(is(
            "inventory",
            r#"quicksale_units{sku="COUNTED",state="available"}"#,
            2.0,
        )
        .await?
            && is(
                "inventory",
                r#"quicksale_units{sku="COUNTED",state="reserved"}"#,
                0.0,
            )
            .await?
            && is("inventory", r#"quicksale_units{sku="COUNTED",state="sold"}"#, 3.0).await?
            && is("order", "quicksale_orders_pending", 0.0).await?)
    })
    .await?;
    // 2 orders in 3 topics.
    is("processor", "quicksale_outbox_published_total", 6.0).await?;
    is("processor", "quicksale_outbox_relaying", 1.0).await?;
    Ok(())
}

#[tokio::test]
async fn a_group_that_stands_still_is_seen_to_lag() -> Result<()> {
    let world = World::start().await?;
    let shop = &world.shop;
    shop.product("LAGS", 5, None).await?;
    let lag = async |name: &str, group: &str| world.metric_sum("processor", name, group).await;
    let (ours, theirs) = ("quicksale_lane_lag", "kafka_consumergroup_lag");
    let (of_ours, of_theirs) = (r#"group="notifier""#, r#"consumergroup="notifier""#);
    world.freeze("notifier").await?;
    shop.order("ada", "k", "LAGS", 1).await?.expect(201)?;
    eventually(LOOKED, "its lag is shown, and that of nobody else", async || {
        let others = lag(ours, r#"group="order""#).await? + lag(ours, r#"group="inventory""#).await?;
        let names = world
            .metrics("processor")
            .await?
            .matches(&format!("{theirs}{{"))
            .count();
        // Three groups read two, one and one of the topics.
        let lanes = usize::try_from(world.config.kafka.partitions)? * 4;
        ensure!(names == lanes, "{names} of {lanes} lanes");
        Ok(lag(ours, of_ours).await? > 0.0 && lag(theirs, of_theirs).await? > 0.0 && others < 0.5)
    })
    .await?;
    world.thaw("notifier").await?;
    eventually(LOOKED, "it has caught up", async || {
        Ok(lag(ours, "").await? < 0.5 && lag(theirs, "").await? < 0.5)
    })
    .await
}
