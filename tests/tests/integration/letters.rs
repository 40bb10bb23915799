//! Dead letters: which groups write them, what becomes of the order that one is about, and what a replay brings.

use anyhow::{Context, Result, ensure};
use events::topics::{Topic, partition_of};
use futures::future::try_join_all;
use mongodb::bson::{Binary, Document, doc, spec::BinarySubtype};
use platform::tokens::Role;
use quicksale_tests::{
    records::produce,
    scenarios::SETTLED,
    unsaid,
    world::{World, eventually},
};
use reqwest::Method;
use serde_json::json;
use std::time::Duration;

/// Less than the half minute after which an order that has no answer is asked about again anyway.
const BEFORE_IT_IS_ASKED_AGAIN: Duration = Duration::from_secs(20);

/// Places an order whose message to inventory is lost before it is sent, and returns the order's id and the message.
async fn lost_order(world: &World, user: &str) -> Result<(String, String)> {
    world.freeze("processor").await?;
    let placed = world.shop.order(user, "k", "P", 1).await?;
    let order = placed.expect(201)?.json["order"]["_id"].as_str();
    let order = order.context("no _id")?.to_owned();
    let mut lost = unsaid::lose(&world.database, std::slice::from_ref(&order), Topic::OrderCreated).await?;
    let message = lost.pop().context("nothing is said of it")?;
    world.thaw("processor").await?;
    Ok((order, message))
}

/// What is no message costs no group anything that comes behind it, whoever reads it.
#[tokio::test]
async fn every_group_sets_aside_what_is_no_message_and_goes_on() -> Result<()> {
    let world = World::start().await?;
    world.shop.product("P", 50, None).await?;
    let stranger = json!({
        "v": 1, "id": uuid::Uuid::now_v7().to_string(), "orderId": "somebodys", "at": "2026-12-01T12:00:00Z",
        "type": "order.created", "data": {"userId": "ada", "items": []},
    });
    let values = [
        None,
        Some(b"no message".to_vec()),
        Some(stranger.to_string().into_bytes()),
        Some(vec![0xff; 300]),
    ];
    for topic in [Topic::InventoryResult, Topic::OrderStatus] {
        for (partition, value) in (0..).zip(&values) {
            produce(&world, topic, partition, None, value.clone()).await?;
        }
    }
    let letters = world.database.collection::<Document>("dead_letters");
    for (group, service, topic) in [
        ("order", "order", Topic::InventoryResult),
        ("inventory", "inventory", Topic::OrderStatus),
        ("notifier", "notifier", Topic::OrderStatus),
    ] {
        let plain = topic.plain_name();
        eventually(
            SETTLED,
            &format!("{group} has set aside four of {plain}"),
            async || {
                let of_group = doc! {"group": group, "topic": plain};
                Ok(letters.count_documents(of_group).await? == 4)
            },
        )
        .await?;
        let counted = format!("quicksale_dead_letters_total{{group=\"{group}\",topic=\"{plain}\"}}");
        eventually(SETTLED, &format!("{counted} is 4"), async || {
            Ok(world.metric(service, &counted).await? == 4.0)
        })
        .await?;
    }
    let shop = &world.shop;
    let buyers = (0..20).map(|n| async move { shop.order(&format!("buyer-{n}"), "k", "P", 1).await });
    for placed in try_join_all(buyers).await? {
        placed.expect(201)?;
    }
    eventually(SETTLED, "all are confirmed, and all are told", async || {
        let told = world.database.collection::<Document>("notifications");
        let confirmed = doc! {"status": "CONFIRMED"};
        Ok(
            world.count_orders(confirmed.clone()).await? == 20
                && told.count_documents(confirmed).await? == 20,
        )
    })
    .await?;
    ensure!(
        letters.count_documents(doc! {}).await? == 12,
        "there are other letters"
    );
    world.check_conservation().await
}

/// Who cannot read what an order asks for says so, and the order ends.
#[tokio::test]
async fn an_order_that_nobody_can_read_fails_and_holds_nothing() -> Result<()> {
    let world = World::start().await?;
    world.shop.product("P", 5, None).await?;
    let (order, _) = lost_order(&world, "ada").await?;
    let partition = partition_of(&order, world.config.kafka.partitions);
    let value = Some(b"no message".to_vec());
    produce(&world, Topic::OrderCreated, partition, Some(&order), value).await?;
    eventually(BEFORE_IT_IS_ASKED_AGAIN, "the order has failed", async || {
        let failed = doc! {"_id": &order, "status": "FAILED", "reason": "unprocessable"};
        Ok(world.count_orders(failed).await? == 1)
    })
    .await?;
    let product = world.shop.shown("P").await?;
    ensure!(product["reserved"] == 0 && product["available"] == 5, "{product}");
    let letters = world.database.collection::<Document>("dead_letters");
    ensure!(letters.count_documents(doc! {"key": &order}).await? == 1);
    world.check_conservation().await
}

/// The letter is made to hold a message that can be read, as it would be for a process of a later version.
#[tokio::test]
async fn a_replay_sends_what_the_letter_holds_and_the_letter_says_who_did_it() -> Result<()> {
    let world = World::start().await?;
    let shop = &world.shop;
    shop.product("P", 5, None).await?;
    let letters = world.database.collection::<Document>("dead_letters");
    produce(&world, Topic::OrderCreated, 0, None, Some(b"no message".to_vec())).await?;
    eventually(SETTLED, "there is a letter", async || {
        Ok(letters.count_documents(doc! {}).await? == 1)
    })
    .await?;
    let (order, message) = lost_order(&world, "ada").await?;
    let payload = Binary {
        subtype: BinarySubtype::Generic,
        bytes: message.into_bytes(),
    };
    let change = doc! {"$set": {"key": &order, "payload": payload}};
    let letter = letters.find_one_and_update(doc! {}, change).await?;
    let letter = letter.context("it is gone")?.get_str("_id")?.to_owned();
    let admin = shop.token("an-admin", Role::Admin)?;
    let which = json!({"id": letter});
    shop.send(
        Method::POST,
        "/api/dead-letters/replay",
        Some(&admin),
        Some(which),
    )
    .await?
    .expect(200)?;
    eventually(BEFORE_IT_IS_ASKED_AGAIN, "the order is confirmed", async || {
        Ok(world
            .count_orders(doc! {"_id": &order, "status": "CONFIRMED"})
            .await?
            == 1)
    })
    .await?;
    let replayed = doc! {"_id": &letter, "deeds.0.what": "replayed", "deeds.0.who": "an-admin"};
    ensure!(
        letters.count_documents(replayed).await? == 1,
        "nobody knows that it was replayed"
    );
    eventually(SETTLED, "its unit is sold", async || {
        Ok(shop.shown("P").await?["sold"] == 1)
    })
    .await?;
    world.check_conservation().await
}
