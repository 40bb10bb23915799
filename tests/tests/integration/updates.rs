//! What a buyer who comes back is told.

use anyhow::{Context, Result, ensure};
use events::{Payload, message::OrderStatusChanged, outbox::Outbox, topics::partition_of};
use mongodb::bson::{DateTime, Document, doc};
use platform::tokens::Role;
use quicksale_tests::{
    scenarios::SETTLED,
    shop::{Socket, next_update},
    world::{World, eventually},
};
use reqwest::Method;
use sale::{
    OrderId, UserId,
    order::{InventoryStatus, OrderStatus},
};
use serde_json::Value;
use std::collections::BTreeSet;

/// The id of an update that was made so many seconds before now.
fn id(seconds_ago: u64) -> String {
    let now = u64::try_from(DateTime::now().timestamp_millis()).unwrap_or(0);
    let made_at = uuid::Builder::from_unix_timestamp_millis(now - seconds_ago * 1_000, &[7; 10]);
    made_at.into_uuid().to_string()
}

async fn store(world: &World, id: &str, order: &str) -> Result<()> {
    let notification = doc! {"_id": id, "userId": "ada", "orderId": order, "status": "CONFIRMED", "message": "yours",
    "read": false, "createdAt": DateTime::now()};
    let notifications = world.database.collection::<Document>("notifications");
    notifications.insert_one(notification).await?;
    Ok(())
}

async fn told(socket: &mut Socket, how_many: usize) -> Result<Vec<Value>> {
    let mut updates = Vec::new();
    while updates.len() < how_many {
        updates.push(next_update(socket).await?);
    }
    Ok(updates)
}

/// Its message was relayed late, and others were made and sent in the meantime.
#[tokio::test]
async fn an_update_that_came_late_under_an_earlier_id_is_not_left_out() -> Result<()> {
    let world = World::start().await?;
    let (late, seen) = (id(300), id(1));
    store(&world, &seen, "seen").await?;
    store(&world, &late, "late").await?;
    store(&world, &id(3_600), "of an hour ago").await?;
    let token = world.shop.token("ada", Role::Buyer)?;
    let mut socket = world.shop.socket(&format!("{token}&lastEventId={seen}")).await?;
    let update = next_update(&mut socket).await?;
    ensure!(update["id"] == *late, "{update}");
    // What comes next is new.
    world.shop.product("NEW", 1, None).await?;
    world.shop.order("ada", "k", "NEW", 1).await?.expect(201)?;
    let update = next_update(&mut socket).await?;
    ensure!(update["id"].as_str().is_some_and(|id| *id > *seen), "{update}");
    Ok(())
}

#[tokio::test]
async fn of_more_than_are_sent_at_once_the_newest_come() -> Result<()> {
    let world = World::start().await?;
    for n in 0..210 {
        store(&world, &id(1_000 - n), &n.to_string()).await?;
    }
    let token = world.shop.token("ada", Role::Buyer)?;
    let updates = told(&mut world.shop.socket(&token).await?, 200).await?;
    let orders: Vec<_> = updates
        .iter()
        .filter_map(|update| update["data"]["orderId"].as_str())
        .collect();
    let newest: Vec<String> = (10..210).map(|n| n.to_string()).collect();
    ensure!(orders == newest, "{orders:?}");
    Ok(())
}

#[tokio::test]
async fn what_was_read_is_not_told_again() -> Result<()> {
    let world = World::start().await?;
    let shop = &world.shop;
    shop.product("P", 5, None).await?;
    let ada = shop.token("ada", Role::Buyer)?;
    let mut socket = shop.socket(&ada).await?;
    shop.order("ada", "first", "P", 1).await?.expect(201)?;
    let first = next_update(&mut socket).await?;
    let first = first["id"].as_str().context("no id")?.to_owned();
    eventually(SETTLED, "it is stored, and read", async || {
        shop.send(Method::POST, "/api/notifications/read-all", Some(&ada), None)
            .await?
            .expect(200)?;
        let list = shop
            .send(Method::GET, "/api/notifications", Some(&ada), None)
            .await?;
        Ok(list.json["items"][0]["_id"] == *first && list.json["items"][0]["read"] == true)
    })
    .await?;
    let mut again = shop.socket(&ada).await?;
    shop.order("ada", "second", "P", 1).await?.expect(201)?;
    let told: BTreeSet<String> = told(&mut again, 1)
        .await?
        .iter()
        .filter_map(|update| Some(update["id"].as_str()?.to_owned()))
        .collect();
    ensure!(!told.contains(&first), "it was told again");
    Ok(())
}

/// A relay that stood still may send the first message behind the one that was said again for it.
#[tokio::test]
async fn what_was_taken_for_lost_and_comes_after_all_is_told_once() -> Result<()> {
    let world = World::start().await?;
    let outbox = Outbox::new(&world.database);
    let say = |again: bool, order: &str| {
        let change = OrderStatusChanged {
            user_id: UserId::new("ada"),
            status: OrderStatus::Cancelled,
            inventory_status: InventoryStatus::Released,
            message: "You cancelled this order.".to_owned(),
            reason: None,
            hold_expires_at: None,
            again,
        };
        let payload = Payload::OrderStatus(change);
        events::Message::new(OrderId::new(order), jiff::Timestamp::now(), None, payload)
    };
    let notifications = world.database.collection::<Document>("notifications");
    let of = |order: String| notifications.count_documents(doc! {"orderId": order});
    // Together, and each in a batch of its own. What follows in the same partition tells that all before was handled.
    for (n, batch) in [&[true, false, true][..], &[false], &[true]]
        .into_iter()
        .enumerate()
    {
        let next = beside("late", n, world.config.kafka.partitions);
        let mut messages: Vec<_> = batch.iter().map(|again| say(*again, "late")).collect();
        messages.push(say(false, &next));
        let mut session = world.database.client().start_session().await?;
        session.start_transaction().await?;
        outbox.append(&mut session, &messages).await?;
        session.commit_transaction().await?;
        eventually(SETTLED, "all are handled", async || {
            Ok(of(next.clone()).await? == 1)
        })
        .await?;
        let told = of("late".to_owned()).await?;
        ensure!(told == 1, "told {told} times after batch {n}");
    }
    Ok(())
}

/// The name of an order whose messages go to the same partition as another one's.
fn beside(order: &str, n: usize, partitions: i32) -> String {
    let same = |name: &String| partition_of(name, partitions) == partition_of(order, partitions);
    let mut names = (0..).map(|m| format!("marker-{n}-{m}"));
    names.find(same).unwrap_or_default()
}
