//! What a buyer who comes back is told.

use anyhow::{Context, Result, bail, ensure};
use events::{Payload, message::OrderStatusChanged, outbox::Outbox, topics::partition_of};
use futures::StreamExt;
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
use serde_json::{Value, json};
use std::{collections::BTreeSet, sync::Arc, time::Duration};

/// The id of an update that was made so many seconds before now.
fn id(seconds_ago: u64) -> String {
    let now = u64::try_from(DateTime::now().timestamp_millis()).unwrap_or(0);
    let made_at = uuid::Builder::from_unix_timestamp_millis(now - seconds_ago * 1_000, &[7; 10]);
    made_at.into_uuid().to_string()
}

/// Stores an update behind all others, so many seconds before now.
async fn store(world: &World, id: &str, order: &str, seconds_ago: i64) -> Result<()> {
    let notifications = world.database.collection::<Document>("notifications");
    let number = i64::try_from(notifications.count_documents(doc! {}).await?)? + 1;
    let at = DateTime::from_millis(DateTime::now().timestamp_millis() - seconds_ago * 1_000);
    let notification = doc! {"_id": id, "userId": "ada", "orderId": order, "status": "CONFIRMED", "message": "yours",
    "read": false, "createdAt": at, "number": number, "storedAt": at};
    notifications.insert_one(notification).await?;
    Ok(())
}

/// What somebody is told of an order that was cancelled.
fn cancelled(order: &str, again: bool, at: jiff::Timestamp) -> events::Message {
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
    events::Message::new(OrderId::new(order), at, None, payload)
}

/// Says something as a service does.
async fn append(world: &World, messages: &[events::Message]) -> Result<()> {
    let mut session = world.database.client().start_session().await?;
    session.start_transaction().await?;
    let outbox = Outbox::new(&world.database);
    outbox.append(&mut session, messages).await?;
    Ok(session.commit_transaction().await?)
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
    store(&world, &id(3_600), "of an hour ago", 3_600).await?;
    store(&world, &seen, "seen", 1).await?;
    store(&world, &late, "late", 0).await?;
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
        store(&world, &id(1_000 - n), &n.to_string(), 0).await?;
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
    let say = |again: bool, order: &str| cancelled(order, again, jiff::Timestamp::now());
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
        append(&world, &messages).await?;
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

/// Its message was made an hour before the one that was seen last, and was stored after it.
#[tokio::test]
async fn an_update_that_was_relayed_an_hour_late_is_not_left_out() -> Result<()> {
    let mut world = World::start().await?;
    let shop = Arc::clone(&world.shop);
    shop.product("SEEN", 1, None).await?;
    let ada = shop.token("ada", Role::Buyer)?;
    let mut socket = shop.socket(&ada).await?;
    shop.order("ada", "k", "SEEN", 1).await?.expect(201)?;
    let update = next_update(&mut socket).await?;
    let seen = update["id"].as_str().context("no id")?.to_owned();
    drop(socket);
    let notifications = world.database.collection::<Document>("notifications");
    eventually(SETTLED, "what was seen is stored", async || {
        Ok(notifications.count_documents(doc! {"_id": &seen}).await? == 1)
    })
    .await?;
    let stored = notifications.find_one(doc! {"_id": &seen}).await?;
    let number = stored.context("it is gone")?.get_i64("number")?;
    let an_hour_ago = jiff::Timestamp::now() - Duration::from_secs(3_600);
    let mut late = cancelled("late", false, an_hour_ago);
    // As that hour's process has made it; the ids of one process never go back.
    late.id = id(3_600);
    append(&world, std::slice::from_ref(&late)).await?;
    eventually(SETTLED, "the late one is stored behind it", async || {
        let behind = doc! {"_id": &late.id, "number": {"$gt": number}};
        Ok(notifications.count_documents(behind).await? == 1)
    })
    .await?;
    // A process that pushed it a moment ago would remember it.
    world.kill_and_restart("notifier")?;
    world.ready("notifier").await?;
    let mut socket = shop.socket(&format!("{ada}&lastEventId={seen}")).await?;
    let update = next_update(&mut socket).await?;
    ensure!(
        update["id"] == *late.id && update["data"]["orderId"] == "late",
        "{update}"
    );
    Ok(())
}

/// Two processes store for one buyer, and their clocks differ by an hour.
#[tokio::test]
async fn what_was_stored_later_by_a_clock_that_is_behind_is_not_left_out() -> Result<()> {
    let world = World::start().await?;
    let (seen, later) = (id(1), id(3_600));
    store(&world, &seen, "seen", 1).await?;
    store(&world, &later, "later", 3_600).await?;
    let token = world.shop.token("ada", Role::Buyer)?;
    let mut socket = world.shop.socket(&format!("{token}&lastEventId={seen}")).await?;
    let update = next_update(&mut socket).await?;
    ensure!(update["id"] == *later, "{update}");
    Ok(())
}

/// The next frame that a socket receives, of whatever kind.
async fn next_frame(socket: &mut Socket) -> Result<Value> {
    let wait = async {
        while let Some(message) = socket.next().await {
            let message = message?;
            if message.is_text() {
                let frame: Value = serde_json::from_str(message.to_text()?)?;
                return Ok(frame);
            }
        }
        bail!("the socket was closed")
    };
    tokio::time::timeout(SETTLED, wait).await?
}

/// Stores updates as the notifier does, each a minute after the one before, and returns their ids.
async fn store_numbered(world: &World, how_many: i64) -> Result<Vec<String>> {
    let now = DateTime::now().timestamp_millis();
    let (mut ids, mut all) = (Vec::new(), Vec::new());
    for number in 1..=how_many {
        let at = now - (how_many - number + 1) * 60_000;
        let id = uuid::Builder::from_unix_timestamp_millis(u64::try_from(at)?, &[7; 10]);
        let (id, at) = (id.into_uuid().to_string(), DateTime::from_millis(at));
        all.push(
            doc! {"_id": &id, "userId": "ada", "orderId": number.to_string(), "status": "CONFIRMED",
            "message": "yours", "read": false, "createdAt": at, "number": number, "storedAt": at},
        );
        ids.push(id);
    }
    let notifications = world.database.collection::<Document>("notifications");
    notifications.insert_many(all).await?;
    Ok(ids)
}

#[tokio::test]
async fn the_first_frame_says_how_much_was_missed_and_what_is_newest() -> Result<()> {
    let world = World::start().await?;
    let shop = &world.shop;
    let ids = store_numbered(&world, 203).await?;
    let hello = |missed: usize, more: bool, newest: Option<&String>| {
        let data = json!({"missed": missed, "more": more, "newest": newest});
        json!({"type": "hello", "data": data})
    };
    let bob = shop.token("bob", Role::Buyer)?;
    let first = next_frame(&mut shop.socket(&bob).await?).await?;
    ensure!(first == hello(0, false, None), "{first}");
    let ada = shop.token("ada", Role::Buyer)?;
    // What is unread, and of more than are sent at once the newest.
    let mut socket = shop.socket(&ada).await?;
    let first = next_frame(&mut socket).await?;
    ensure!(first == hello(200, true, ids.last()), "{first}");
    let second = next_frame(&mut socket).await?;
    ensure!(second["id"] == *ids[3], "{second}");
    // What came later, and of what was stored up to two minutes before it, what may have been pushed later.
    let mut socket = shop.socket(&format!("{ada}&lastEventId={}", ids[200])).await?;
    let first = next_frame(&mut socket).await?;
    ensure!(first == hello(4, false, ids.last()), "{first}");
    for id in [&ids[198], &ids[199], &ids[201], &ids[202]] {
        let update = next_frame(&mut socket).await?;
        ensure!(
            update["type"] == "order.update" && update["id"] == **id,
            "{update}, and not {id}"
        );
    }
    Ok(())
}
