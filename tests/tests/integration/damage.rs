//! What somebody has written past the system: what is damaged waits alone until it is mended.

use anyhow::{Context, Result, ensure};
use events::{Message, Payload, outbox::Outbox, topics::partition_of};
use futures::future::try_join_all;
use jiff::Timestamp;
use mongodb::bson::{DateTime, Document, doc};
use platform::tokens::Role;
use quicksale_tests::{
    orders::{ask, held, run_out},
    scenarios::SETTLED,
    world::{World, eventually},
};
use sale::{
    OrderId, UserId,
    order::{Confirmation, InventoryOutcome},
};
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

/// Nobody knows then which number is Ada's next.
#[tokio::test]
async fn a_number_that_cannot_be_read_keeps_no_other_customer_from_ordering() -> Result<()> {
    let world = World::start().await?;
    let shop = &world.shop;
    shop.product("MANY", 100, None).await?;
    shop.order("ada", "first", "MANY", 1).await?.expect(201)?;
    let orders = world.database.collection::<Document>("orders");
    let no_number = doc! {"$set": {"turn": 1.5}};
    orders.update_one(doc! {"userId": "ada"}, no_number).await?;
    for round in 0..5 {
        let others = try_join_all((0..5).map(async |n| {
            let placed = shop.order(&format!("buyer-{round}-{n}"), "k", "MANY", 1).await?;
            placed.expect(201).map(drop)
        }));
        // With theirs, as like as not in one batch.
        let key = format!("again-{round}");
        let (others, ada) = tokio::join!(others, shop.order("ada", &key, "MANY", 1));
        others?;
        ada?.expect_problem(503, "busy")?;
    }
    Ok(())
}

/// Neither where inventory has something to say of it, nor where its key comes again, nor where its customer is counted.
#[tokio::test]
async fn an_order_that_cannot_be_read_keeps_no_other_from_being_placed_and_confirmed() -> Result<()> {
    let world = World::start().await?;
    let shop = &world.shop;
    shop.product("GOOD", 100, Some(2)).await?;
    let (of_ada, orders) = (
        OrderId::derive(&UserId::new("ada"), "strange"),
        world.database.collection::<Document>("orders"),
    );
    let strange = doc! {
        "_id": of_ada.as_str(), "userId": "ada", "status": "PENDING", "items": "of another kind",
        "createdAt": DateTime::now(), "updatedAt": DateTime::now(),
    };
    orders.insert_one(strange).await?;
    let held = Payload::InventoryResult(InventoryOutcome::Reserved { expires_at: None });
    let told = Message::new(of_ada, Timestamp::now(), None, held);
    let mut session = world.database.client().start_session().await?;
    session.start_transaction().await?;
    let outbox = Outbox::new(&world.database);
    outbox.append(&mut session, &[told]).await?;
    session.commit_transaction().await?;
    eventually(SETTLED, "inventory has said something of it", async || {
        let waiting = world.database.collection::<Document>("outbox");
        Ok(waiting.count_documents(doc! {}).await? == 0)
    })
    .await?;
    // Enough for every lane. Hers cannot be counted.
    let (strange, hers, others) = tokio::join!(
        shop.order("ada", "strange", "GOOD", 1),
        shop.order("ada", "another", "GOOD", 1),
        try_join_all((0..20).map(|n| async move { shop.order(&format!("buyer-{n}"), "k", "GOOD", 1).await }))
    );
    strange?.expect_problem(503, "busy")?;
    hers?.expect_problem(503, "busy")?;
    for placed in others? {
        placed.expect(201)?;
    }
    eventually(SETTLED, "the others have their units", async || {
        Ok(world.count_orders(doc! {"status": "CONFIRMED"}).await? == 20)
    })
    .await
}

/// What is to be said and cannot be read keeps the sale from being settled, and no other message waiting.
#[tokio::test]
async fn a_message_in_the_outbox_that_cannot_be_read_keeps_no_other_waiting() -> Result<()> {
    let world = World::start().await?;
    let shop = &world.shop;
    shop.product("SAID", 20, None).await?;
    let outbox = world.database.collection::<Document>("outbox");
    // Before all others, and behind them.
    for id in ["0", "zzz"] {
        outbox.insert_one(doc! {"_id": id, "type": 7, "key": "k"}).await?;
    }
    let buyers = (0..20).map(|n| async move { shop.order(&format!("buyer-{n}"), "k", "SAID", 1).await });
    for placed in try_join_all(buyers).await? {
        placed.expect(201)?;
    }
    eventually(SETTLED, "all are sold", async || {
        Ok(shop.shown("SAID").await?["sold"] == 20)
    })
    .await?;
    eventually(SETTLED, "the outbox holds what nobody can read", async || {
        Ok(world.settlement().await?["outbox"] == 2)
    })
    .await?;
    outbox.delete_many(doc! {"type": 7}).await?;
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
    // The gate would close soon if the account were broken before.
    world.freeze("processor").await?;
    let waits = place("ada", "BROKEN").await?;
    set_sold(9).await?;
    world.thaw("processor").await?;
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
