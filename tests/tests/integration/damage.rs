//! What somebody has written past the system: what is damaged waits alone until it is mended.

use super::payments::{ask, held, run_out};
use anyhow::{Context, Result, ensure};
use events::topics::partition_of;
use mongodb::bson::{DateTime, Document, doc};
use platform::tokens::Role;
use quicksale_tests::{
    scenarios::SETTLED,
    world::{World, eventually},
};
use sale::order::Confirmation;
use std::time::Duration;

/// How long it may take until inventory has been asked again, and has answered.
const ASKED_AGAIN: Duration = Duration::from_secs(90);

/// As after a version that wrote more than this one reads.
#[tokio::test]
async fn an_order_that_cannot_be_read_keeps_no_other_hold_from_ending() -> Result<()> {
    let world = World::start_with(Confirmation::Payment).await?;
    let shop = &world.shop;
    shop.product("HELD", 5, None).await?;
    let orders = world.database.collection::<Document>("orders");
    let unreadable = doc! {
        "_id": "unreadable", "userId": "nobody", "items": [], "totalAmount": 0_i64,
        "status": "PENDING", "inventoryStatus": "NEW-STATUS", "holdExpiresAt": DateTime::from_millis(0),
        "createdAt": DateTime::now(), "updatedAt": DateTime::now(),
    };
    orders.insert_one(unreadable).await?;
    for n in 0..3 {
        let order = held(&world, &format!("buyer-{n}"), "k", "HELD").await?;
        run_out(&world, &order).await?;
        eventually(SETTLED, "its hold has run out", async || {
            Ok(world
                .count_orders(doc! {"_id": &order, "status": "EXPIRED"})
                .await?
                == 1)
        })
        .await?;
    }
    eventually(SETTLED, "their units are back", async || {
        let product = shop.shown("HELD").await?;
        Ok(product["available"] == 5 && product["reserved"] == 0)
    })
    .await?;
    // Nor does it hinder a payment.
    let payment = shop.token("the-payment", Role::Service)?;
    let order = held(&world, "ada", "k", "HELD").await?;
    ask(&world, &order, "confirm", &payment).await?.expect(200)?;
    let as_before = doc! {"_id": "unreadable", "inventoryStatus": "NEW-STATUS"};
    ensure!(world.count_orders(as_before).await? == 1, "it was written over");
    world.check_conservation().await
}

/// Of a product whose units do not add up nothing is sold until they do.
#[tokio::test]
async fn a_product_whose_account_is_broken_keeps_no_other_from_being_sold() -> Result<()> {
    let world = World::start().await?;
    let shop = &world.shop;
    let broken = shop.product("BROKEN", 5, None).await?;
    shop.product("WHOLE", 50, None).await?;
    let place = async |user: &str, sku: &str| -> Result<String> {
        let placed = shop.order(user, "k", sku, 1).await?;
        let id = placed.expect(201)?.json["order"]["_id"].as_str();
        Ok(id.context("no _id")?.to_owned())
    };
    let products = world.database.collection::<Document>("products");
    let set_sold = async |sold: i64| -> Result<()> {
        let change = doc! {"$set": {"sold": sold}};
        let done = products.update_one(doc! {"_id": &broken}, change).await?;
        ensure!(done.modified_count == 1, "nothing was changed");
        Ok(())
    };
    set_sold(9).await?;
    let waits = place("ada", "BROKEN").await?;
    let mut others = Vec::new();
    for n in 0..16 {
        others.push(place(&format!("buyer-{n}"), "WHOLE").await?);
    }
    let partition = |order: &String| partition_of(order, world.config.kafka.partitions);
    ensure!(
        others.iter().any(|other| partition(other) == partition(&waits)),
        "none of 16 orders is behind the one that waits"
    );
    eventually(SETTLED, "orders on the other product are confirmed", async || {
        let confirmed = doc! {"_id": {"$in": &others}, "status": "CONFIRMED"};
        Ok(world.count_orders(confirmed).await? == 16)
    })
    .await?;
    eventually(SETTLED, "its units are sold", async || {
        let product = shop.shown("WHOLE").await?;
        Ok(product["sold"] == 16 && product["reserved"] == 0)
    })
    .await?;
    let is_pending = doc! {"_id": &waits, "status": "PENDING"};
    ensure!(world.count_orders(is_pending).await? == 1, "it did not wait");
    set_sold(0).await?;
    eventually(
        ASKED_AGAIN,
        "the order that has waited is confirmed",
        async || {
            let confirmed = doc! {"_id": &waits, "status": "CONFIRMED"};
            Ok(world.count_orders(confirmed).await? == 1)
        },
    )
    .await?;
    eventually(SETTLED, "its unit is sold", async || {
        let product = shop.shown("BROKEN").await?;
        Ok(product["sold"] == 1 && product["reserved"] == 0)
    })
    .await?;
    world.check_conservation().await
}
