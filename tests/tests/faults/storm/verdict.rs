//! What was answered and told, against what became of the orders.

use super::{
    buyers::{Deal, Ware},
    listeners::Heard,
};
use anyhow::{Context, Result, ensure};
use futures::TryStreamExt;
use mongodb::bson::{Document, doc};
use quicksale_tests::world::World;
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fmt,
};

/// How orders have ended.
#[derive(Debug, Default)]
pub(super) struct Ends {
    accepted: usize,
    by_status: BTreeMap<String, usize>,
}

impl fmt::Display for Ends {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of = |status: &str| self.by_status.get(status).copied().unwrap_or(0);
        write!(
            f,
            "{} | {} | {} | {} | {}",
            self.accepted,
            of("CONFIRMED"),
            of("FAILED"),
            of("CANCELLED"),
            of("EXPIRED")
        )
    }
}

/// What the order's word must be for the end that it has come to.
fn end_of(verb: &str) -> &'static str {
    match verb {
        "confirm" => "CONFIRMED",
        "cancel" => "CANCELLED",
        _ => "FAILED",
    }
}

pub(super) async fn check(world: &World, wares: &[Ware], deals: &[Deal], heard: &[Heard]) -> Result<Ends> {
    let orders: Vec<Document> = world
        .database
        .collection::<Document>("orders")
        .find(doc! {})
        .await?
        .try_collect()
        .await?;
    let status: HashMap<String, String> = orders
        .iter()
        .map(|order| {
            Ok((
                order.get_str("_id")?.to_owned(),
                order.get_str("status")?.to_owned(),
            ))
        })
        .collect::<Result<_>>()?;
    let all_deals = || deals.iter().chain(heard.iter().flat_map(|one| &one.deals));
    answers(&status, all_deals())?;
    keys(&orders, all_deals())?;
    limits(wares, &orders)?;
    told(world, &status).await?;
    sockets(&status, heard)?;
    let late = accepted_after_a_refusal(&orders, all_deals())?;
    for one in &late {
        println!("{one}");
    }
    let late = late.len();
    if late > 0 {
        println!("{late} orders were accepted by a try whose repeat had been refused");
    }
    let mut ends = Ends {
        accepted: all_deals().filter(|deal| deal.order.is_some()).count(),
        ..Ends::default()
    };
    for status in status.into_values() {
        *ends.by_status.entry(status).or_default() += 1;
    }
    Ok(ends)
}

/// Who heard 201 has an order that has ended; who heard that it is paid, cancelled or called off has one that is.
fn answers<'d>(status: &HashMap<String, String>, deals: impl Iterator<Item = &'d Deal>) -> Result<()> {
    for deal in deals {
        let Some(order) = &deal.order else {
            continue;
        };
        let end = status
            .get(order)
            .with_context(|| format!("accepted and gone: {deal:?}"))?;
        ensure!(end != "PENDING", "{deal:?} has not ended");
        for word in &deal.words {
            match word.status {
                200 => ensure!(end == end_of(word.verb), "{deal:?} is {end}"),
                409 => ensure!(
                    word.order_status.as_ref() == Some(end) && end != end_of(word.verb),
                    "{deal:?} is {end}"
                ),
                0 => {}
                other => anyhow::bail!("{deal:?}: {other}"),
            }
        }
    }
    Ok(())
}

/// Each key has one order at the most, and each order a key that somebody has used.
fn keys<'d>(orders: &[Document], deals: impl Iterator<Item = &'d Deal>) -> Result<()> {
    let used: BTreeSet<(&str, &str)> = deals
        .map(|deal| (deal.user.as_str(), deal.key.as_str()))
        .collect();
    let mut seen = BTreeSet::new();
    for order in orders {
        let key = (order.get_str("userId")?, order.get_str("idempotencyKey")?);
        ensure!(used.contains(&key), "nobody has asked for {order}");
        ensure!(seen.insert(key), "a second order of {key:?}: {order}");
    }
    Ok(())
}

/// Orders of keys that were refused: the try that they come from had got no answer, and was under way.
fn accepted_after_a_refusal<'d>(
    orders: &[Document],
    deals: impl Iterator<Item = &'d Deal>,
) -> Result<Vec<String>> {
    let refused: HashMap<(&str, &str), &Deal> = deals
        .filter(|deal| deal.refused.is_some())
        .map(|deal| ((deal.user.as_str(), deal.key.as_str()), deal))
        .collect();
    let mut late = Vec::new();
    for order in orders {
        let key = (order.get_str("userId")?, order.get_str("idempotencyKey")?);
        if let Some(deal) = refused.get(&key) {
            let accepted = order.get_datetime("createdAt")?.try_to_rfc3339_string()?;
            late.push(format!(
                "accepted at {accepted} by the clock of its process: {deal:?}"
            ));
        }
    }
    Ok(late)
}

/// Nobody has bought more than he may.
fn limits(wares: &[Ware], orders: &[Document]) -> Result<()> {
    let mut bought: BTreeMap<(String, String), i64> = BTreeMap::new();
    for order in orders
        .iter()
        .filter(|order| order.get_str("status").is_ok_and(|status| status == "CONFIRMED"))
    {
        for item in order.get_array("items")? {
            let item = item.as_document().context("no item")?;
            let key = (
                order.get_str("userId")?.to_owned(),
                item.get_str("sku")?.to_owned(),
            );
            *bought.entry(key).or_default() += item.get_i64("quantity")?;
        }
    }
    for ((user, sku), units) in bought {
        let limit = wares
            .iter()
            .find(|ware| ware.sku == sku)
            .and_then(|ware| ware.limit);
        ensure!(
            limit.is_none_or(|limit| units <= i64::from(limit)),
            "{user} has bought {units} of {sku}"
        );
    }
    Ok(())
}

/// Every order that has ended has one notification of that, and none of another end.
async fn told(world: &World, status: &HashMap<String, String>) -> Result<()> {
    let notifications: Vec<Document> = world
        .database
        .collection::<Document>("notifications")
        .find(doc! {"status": {"$ne": "PENDING"}})
        .await?
        .try_collect()
        .await?;
    let mut told: HashMap<&str, Vec<&str>> = HashMap::new();
    for notification in &notifications {
        told.entry(notification.get_str("orderId")?)
            .or_default()
            .push(notification.get_str("status")?);
    }
    for (order, end) in status {
        let heard = told.get(order.as_str()).map(Vec::as_slice).unwrap_or_default();
        ensure!(
            heard == [end.as_str()],
            "order {order} is {end}, and its buyer was told {heard:?}"
        );
    }
    Ok(())
}

/// Who listens hears how each order ends, and nothing afterwards.
fn sockets(status: &HashMap<String, String>, heard: &[Heard]) -> Result<()> {
    for one in heard {
        ensure!(one.twice == 0, "{} updates came twice on one socket", one.twice);
        for order in one.deals.iter().filter_map(|deal| deal.order.as_ref()) {
            let updates = one.statuses.get(order).map(Vec::as_slice).unwrap_or_default();
            let end = status.get(order).context("gone")?;
            let ends: BTreeSet<&str> = updates
                .iter()
                .map(String::as_str)
                .filter(|status| *status != "PENDING")
                .collect();
            ensure!(
                ends == BTreeSet::from([end.as_str()]),
                "order {order} is {end}, and the socket said {updates:?}"
            );
        }
    }
    Ok(())
}
