//! Messages that cannot be read, topics that are gone: what is stuck waits alone.

use anyhow::{Context, Result, ensure};
use events::topics::{Topic, partition_of};
use mongodb::bson::{DateTime, Document, doc};
use platform::{backends::kafka, tokens::Role};
use quicksale_tests::{
    records::produce,
    scenarios::SETTLED,
    unsaid,
    world::{World, eventually},
};
use reqwest::Method;
use rskafka::client::{Client, controller::ControllerClient};
use sale::order::Confirmation;
use serde_json::json;
use std::time::Duration;

const DEADLINE: Duration = Duration::from_secs(10);

async fn connect(world: &World) -> Result<impl AsRef<Client>> {
    Ok(world.backends.credentials()?.kafka.connect().await?)
}

fn topic(world: &World, name: &str) -> String {
    format!("{}{name}", world.config.kafka.topic_prefix)
}

/// Writes a record to a partition of `order.created`, as only the processor may.
async fn write(world: &World, partition: i32, value: &str) -> Result<()> {
    write_value(world, partition, Some(value.as_bytes().to_vec())).await
}

/// The same with any value, or none.
async fn write_value(world: &World, partition: i32, value: Option<Vec<u8>>) -> Result<()> {
    produce(world, Topic::OrderCreated, partition, None, value).await
}

/// Places orders of somebody each, and returns their ids.
async fn place(world: &World, who: &str, how_many: usize) -> Result<Vec<String>> {
    let mut ids = Vec::with_capacity(how_many);
    for n in 0..how_many {
        let placed = world.shop.order(&format!("{who}-{n}"), "k", "P", 1).await?;
        let id = placed.expect(201)?.json["order"]["_id"].as_str();
        ids.push(id.context("no _id")?.to_owned());
    }
    Ok(ids)
}

async fn confirmed(world: &World, ids: &[String]) -> Result<()> {
    let wanted = u64::try_from(ids.len())?;
    eventually(SETTLED, "the orders are confirmed", async || {
        let confirmed = doc! {"_id": {"$in": ids}, "status": "CONFIRMED"};
        Ok(world.count_orders(confirmed).await? == wanted)
    })
    .await
}

/// Deletes a topic, and returns what can make it again once it is gone.
async fn delete(client: &Client, name: &str) -> Result<ControllerClient> {
    let controller = client.controller_client()?;
    kafka::within(DEADLINE, controller.delete_topic(name, 5_000)).await?;
    eventually(SETTLED, "the topic is gone", async || {
        Ok(!kafka::topics(client).await?.contains_key(name))
    })
    .await?;
    Ok(controller)
}

/// A dead letter whose twin topic is gone waits for it. Nothing else does.
#[tokio::test]
async fn a_topic_that_is_gone_keeps_its_own_messages_waiting_and_no_others() -> Result<()> {
    let world = World::start().await?;
    world.shop.product("P", 50, None).await?;
    let twin = topic(&world, Topic::OrderCreated.dead_letter_name());
    let client = connect(&world).await?;
    let controller = delete(client.as_ref(), &twin).await?;
    write(&world, 0, "no message").await?;
    let outbox = world.database.collection::<Document>("outbox");
    let waits = doc! {"type": Topic::OrderCreated.dead_letter_name()};
    eventually(SETTLED, "the letter waits for its topic", async || {
        Ok(outbox.count_documents(waits.clone()).await? == 1)
    })
    .await?;
    let orders = place(&world, "behind", 20).await?;
    confirmed(&world, &orders).await?;
    ensure!(
        outbox.count_documents(waits.clone()).await? == 1,
        "nobody could take it"
    );
    kafka::within(
        DEADLINE,
        controller.create_topic(&twin, world.config.kafka.partitions, 1, 5_000),
    )
    .await?;
    eventually(SETTLED, "the letter has gone there", async || {
        Ok(outbox.count_documents(waits.clone()).await? == 0)
    })
    .await?;
    world.check_conservation().await
}

/// The relay has nothing to write to it, and no rights but its own.
#[tokio::test]
async fn a_topic_that_was_made_anew_is_noticed_by_an_idle_relay() -> Result<()> {
    let world = World::start().await?;
    world.shop.product("P", 50, None).await?;
    let orders = place(&world, "before", 12).await?;
    confirmed(&world, &orders).await?;
    let ends = world.database.collection::<Document>("log_ends");
    let of_status =
        doc! {"ends": {"$elemMatch": {"topic": Topic::OrderStatus.plain_name(), "end": {"$gt": 0_i64}}}};
    eventually(SETTLED, "the relay keeps where the logs end", async || {
        Ok(ends.count_documents(of_status.clone()).await? == 1)
    })
    .await?;
    world.make_anew(Topic::OrderStatus).await?;
    for group in ["inventory", "notifier"] {
        let of_group = format!("group=\"{group}\"");
        eventually(SETTLED, "the relay has noticed it", async || {
            let found = world
                .metric_sum("processor", "quicksale_lane_losses_total", &of_group)
                .await?;
            Ok(found > 0.0)
        })
        .await?;
    }
    let notes = world.database.collection::<Document>("losses");
    eventually(SETTLED, "all of it is said again", async || {
        let open = doc! {"mendedAt": null};
        Ok(notes.count_documents(doc! {}).await? > 0 && notes.count_documents(open).await? == 0)
    })
    .await?;
    world.check_conservation().await
}

/// However much of it there is: more than several pages of the outbox.
#[tokio::test]
async fn what_is_stuck_by_the_thousand_keeps_no_others_waiting() -> Result<()> {
    let world = World::start().await?;
    world.shop.product("P", 50, None).await?;
    let twin = topic(&world, Topic::OrderStatus.dead_letter_name());
    let client = connect(&world).await?;
    let controller = delete(client.as_ref(), &twin).await?;
    let outbox = world.database.collection::<Document>("outbox");
    let stuck = (0..2_500).map(|n: i32| {
        doc! {
            "_id": uuid::Uuid::now_v7().to_string(), "type": Topic::OrderStatus.dead_letter_name(),
            "key": format!("order-{n}"), "payload": "{}", "published": false, "attempts": 0,
            "createdAt": DateTime::now(),
        }
    });
    outbox.insert_many(stuck).await?;
    let orders = place(&world, "behind", 20).await?;
    confirmed(&world, &orders).await?;
    let waits = doc! {"type": Topic::OrderStatus.dead_letter_name()};
    ensure!(
        outbox.count_documents(waits).await? == 2_500,
        "somebody could take some"
    );
    kafka::within(
        DEADLINE,
        controller.create_topic(&twin, world.config.kafka.partitions, 1, 5_000),
    )
    .await?;
    eventually(SETTLED, "all have gone there", async || {
        Ok(outbox.count_documents(doc! {}).await? == 0)
    })
    .await?;
    world.check_conservation().await
}

/// As after a broker has lost its newest records, or a topic was made anew.
#[tokio::test]
async fn what_is_met_twice_at_the_same_place_is_kept_once_and_stops_nothing() -> Result<()> {
    let world = World::start().await?;
    world.shop.product("P", 50, None).await?;
    write(&world, 0, "no message").await?;
    let letters = world.database.collection::<Document>("dead_letters");
    let of_lane = doc! {"group": "inventory", "partition": 0};
    let kept_once = async || Ok(letters.count_documents(of_lane.clone()).await? == 1);
    eventually(SETTLED, "it is kept", kept_once).await?;
    let lanes = world.database.collection::<Document>("lanes");
    let lane = doc! {"_id": "inventory/order.created/0"};
    let back = doc! {"$set": {"offset": 0_i64}};
    ensure!(lanes.update_one(lane.clone(), back).await?.modified_count == 1);
    // The lane finds its offset changed when it commits the next batch, and reads again from 0.
    let orders = place(&world, "behind", 20).await?;
    let partitions = world.config.kafka.partitions;
    ensure!(
        orders.iter().any(|order| partition_of(order, partitions) == 0),
        "none of 20 orders is in the lane"
    );
    confirmed(&world, &orders).await?;
    let lane = lanes.find_one(lane).await?.context("no lane")?;
    ensure!(lane.get_i64("offset")? > 1, "it was not read again: {lane}");
    ensure!(kept_once().await?, "it is kept twice");
    world.check_conservation().await
}

/// During an upgrade some processes are older than others.
#[tokio::test]
async fn a_message_of_a_later_version_waits_for_who_knows_it() -> Result<()> {
    let world = World::start().await?;
    world.shop.product("P", 100, None).await?;
    write(&world, 0, r#"{"v": 2, "what": "nobody knows"}"#).await?;
    let metric = "quicksale_lane_newer_messages_total{group=\"inventory\"}";
    eventually(SETTLED, "the lane has stopped", async || {
        Ok(world.metric("inventory", metric).await.unwrap_or(0.0) > 0.0)
    })
    .await?;
    let orders = place(&world, "buyer", 30).await?;
    let partitions = world.config.kafka.partitions;
    let (behind, others): (Vec<_>, Vec<_>) = orders
        .into_iter()
        .partition(|order| partition_of(order, partitions) == 0);
    ensure!(
        !behind.is_empty() && !others.is_empty(),
        "30 orders lie in one partition"
    );
    confirmed(&world, &others).await?;
    let waiting = doc! {"_id": {"$in": &behind}, "status": "PENDING"};
    ensure!(world.count_orders(waiting).await? == u64::try_from(behind.len())?);
    let letters = world.database.collection::<Document>("dead_letters");
    ensure!(letters.count_documents(doc! {}).await? == 0, "it was given up");
    // Somebody who knows it has handled it.
    let lanes = world.database.collection::<Document>("lanes");
    let stopped = doc! {"_id": "inventory/order.created/0", "offset": 0_i64};
    let moved = lanes
        .update_one(stopped, doc! {"$set": {"offset": 1_i64}})
        .await?;
    ensure!(moved.modified_count == 1, "the lane has moved by itself");
    confirmed(&world, &behind).await?;
    world.check_conservation().await
}

/// A broker that has lost the last word on an order leaves none of its units held.
#[tokio::test]
async fn units_of_an_order_whose_end_was_lost_go_back_all_the_same() -> Result<()> {
    let world = World::start_with(Confirmation::Payment).await?;
    let shop = &world.shop;
    shop.product("P", 5, None).await?;
    let order = place(&world, "ada", 1).await?.remove(0);
    eventually(SETTLED, "the unit is held, and the order knows", async || {
        let held = doc! {"_id": &order, "inventoryStatus": "RESERVED"};
        Ok(world.count_orders(held).await? == 1)
    })
    .await?;
    let outbox = world.database.collection::<Document>("outbox");
    eventually(SETTLED, "all is said so far", async || {
        Ok(outbox.count_documents(doc! {}).await? == 0)
    })
    .await?;
    world.freeze("processor").await?;
    let ada = shop.token("ada-0", Role::Buyer)?;
    let cancel = format!("/api/orders/{order}/cancel");
    shop.send(Method::POST, &cancel, Some(&ada), None)
        .await?
        .expect(200)?;
    let of = |name: &str| world.database.collection::<Document>(name);
    let lost = unsaid::lose(&world.database, std::slice::from_ref(&order), Topic::OrderStatus).await?;
    ensure!(lost.len() == 1, "{lost:?}");
    world.thaw("processor").await?;
    ensure!(world.settlement().await?["held"] == 1, "nothing is held any more");
    // One that nobody can read waits as long, and hinders no other.
    let long_ago = DateTime::from_millis(DateTime::now().timestamp_millis() - 120_000);
    let unreadable = doc! {
        "_id": "unreadable", "state": "HELD", "origin": "order", "expiresAt": DateTime::from_millis(0),
        "items": "of another kind", "createdAt": long_ago,
    };
    of("reservations").insert_one(unreadable).await?;
    let id = doc! {"_id": &order};
    of("orders")
        .update_one(id.clone(), doc! {"$set": {"updatedAt": long_ago}})
        .await?;
    of("reservations")
        .update_one(id, doc! {"$set": {"expiresAt": long_ago}})
        .await?;
    eventually(SETTLED, "the unit is back", async || {
        let product = shop.shown("P").await?;
        Ok(product["reserved"] == 0 && product["available"] == 5)
    })
    .await?;
    eventually(
        SETTLED,
        "its buyer has been told, which was lost as well",
        async || {
            let told = doc! {"orderId": &order, "status": "CANCELLED"};
            Ok(of("notifications").count_documents(told).await? == 1)
        },
    )
    .await?;
    ensure!(
        of("reservations")
            .delete_one(doc! {"_id": "unreadable"})
            .await?
            .deleted_count
            == 1
    );
    world.check_conservation().await
}

/// Where a hold needs no payment it has no end of its own: that it stands for so long is what gives it away.
#[tokio::test]
async fn units_of_an_order_whose_confirmation_was_lost_are_sold_all_the_same() -> Result<()> {
    let world = World::start().await?;
    let shop = &world.shop;
    shop.product("P", 5, None).await?;
    let of = |name: &str| world.database.collection::<Document>(name);
    world.freeze("processor").await?;
    let order = place(&world, "ada", 1).await?.remove(0);
    world.freeze("order").await?;
    world.thaw("processor").await?;
    let all_said = async || Ok(of("outbox").count_documents(doc! {}).await? == 0);
    eventually(SETTLED, "the unit is held", async || {
        let held = doc! {"_id": &order, "state": "HELD"};
        Ok(of("reservations").count_documents(held).await? == 1)
    })
    .await?;
    eventually(SETTLED, "the order process could know", all_said).await?;
    world.freeze("processor").await?;
    world.thaw("order").await?;
    confirmed(&world, std::slice::from_ref(&order)).await?;
    let news = unsaid::lose(&world.database, std::slice::from_ref(&order), Topic::OrderStatus).await?;
    ensure!(news.len() == 1, "{news:?}");
    world.thaw("processor").await?;
    let long_ago = DateTime::from_millis(DateTime::now().timestamp_millis() - 120_000);
    of("orders")
        .update_one(doc! {"_id": &order}, doc! {"$set": {"updatedAt": long_ago}})
        .await?;
    let done = of("reservations")
        .update_one(
            doc! {"_id": &order, "state": "HELD"},
            doc! {"$set": {"createdAt": long_ago}},
        )
        .await?;
    ensure!(done.modified_count == 1, "it was heard of");
    eventually(SETTLED, "the unit is sold", async || {
        let product = shop.shown("P").await?;
        Ok(product["reserved"] == 0 && product["sold"] == 1)
    })
    .await?;
    eventually(SETTLED, "its buyer has been told", async || {
        let told = doc! {"orderId": &order, "status": "CONFIRMED"};
        Ok(of("notifications").count_documents(told).await? == 1)
    })
    .await?;
    world.check_conservation().await
}

/// Somebody holds one order for as long as he likes: its lane waits for it, and no other does, whatever comes later.
#[tokio::test]
async fn an_order_that_somebody_else_writes_keeps_only_its_own_lane_waiting() -> Result<()> {
    let world = World::start().await?;
    world.shop.product("P", 60, None).await?;
    let of = |name: &str| world.database.collection::<Document>(name);
    world.freeze("processor").await?;
    let held_up = place(&world, "held-up", 1).await?.remove(0);
    let mut somebody_else = world.database.client().start_session().await?;
    somebody_else.start_transaction().await?;
    of("orders")
        .update_one(
            doc! {"_id": &held_up},
            doc! {"$set": {"written": "by somebody else"}},
        )
        .session(&mut somebody_else)
        .await?;
    world.thaw("processor").await?;
    eventually(SETTLED, "the answer about it is in its lane", async || {
        let held = doc! {"_id": &held_up, "state": "HELD"};
        let is_held = of("reservations").count_documents(held).await? == 1;
        Ok(is_held && of("outbox").count_documents(doc! {}).await? == 0)
    })
    .await?;
    let partition = |order: &String| partition_of(order, world.config.kafka.partitions);
    let all = place(&world, "buyer", 40).await?;
    let of_other_lanes = all.iter().filter(|order| partition(order) != partition(&held_up));
    let of_other_lanes: Vec<String> = of_other_lanes.cloned().collect();
    ensure!(!of_other_lanes.is_empty(), "40 orders lie in one partition");
    confirmed(&world, &of_other_lanes).await?;
    let waits = doc! {"_id": &held_up, "status": "PENDING"};
    ensure!(world.count_orders(waits).await? == 1, "nobody held it");
    somebody_else.abort_transaction().await?;
    confirmed(&world, &all).await?;
    confirmed(&world, &[held_up]).await?;
    world.check_conservation().await
}

/// Somebody holds one of them for as long as he likes, in the middle of the others: these do not wait with it.
#[tokio::test]
async fn an_order_that_somebody_else_writes_keeps_no_other_from_being_asked_about() -> Result<()> {
    let world = World::start().await?;
    world.shop.product("P", 60, None).await?;
    world.freeze("processor").await?;
    let all = place(&world, "buyer", 60).await?;
    let of = |name: &str| world.database.collection::<Document>(name);
    // The questions are lost.
    let lost = unsaid::lose(&world.database, &all, Topic::OrderCreated).await?;
    ensure!(lost.len() == 60, "{}", lost.len());
    world.thaw("processor").await?;
    let soon = DateTime::from_millis(DateTime::now().timestamp_millis() + 3_000);
    of("orders")
        .update_many(doc! {"_id": {"$in": &all}}, doc! {"$set": {"askAt": soon}})
        .await?;
    let mut somebody_else = world.database.client().start_session().await?;
    somebody_else.start_transaction().await?;
    let written = doc! {"$set": {"written": "by somebody else"}};
    of("orders")
        .update_one(doc! {"_id": &all[30]}, written)
        .session(&mut somebody_else)
        .await?;
    eventually(SETTLED, "all others are confirmed", async || {
        Ok(world.count_orders(doc! {"status": "CONFIRMED"}).await? == 59)
    })
    .await?;
    somebody_else.abort_transaction().await?;
    eventually(SETTLED, "so is that one", async || {
        Ok(world.count_orders(doc! {"status": "CONFIRMED"}).await? == 60)
    })
    .await?;
    world.check_conservation().await
}

/// As after the database was put back to an earlier moment, and the broker was not.
#[tokio::test]
async fn units_of_an_order_that_does_not_exist_go_back() -> Result<()> {
    let world = World::start().await?;
    let shop = &world.shop;
    let product = shop.product("P", 5, None).await?;
    let message = json!({
        "v": 1, "id": uuid::Uuid::now_v7().to_string(), "orderId": "nobody-knows-me", "at": "2026-12-01T12:00:00Z",
        "type": "order.created", "data": {"userId": "a-ghost", "items": [{"productId": product, "quantity": 2}]},
    });
    write(&world, 0, &message.to_string()).await?;
    let reservations = world.database.collection::<Document>("reservations");
    eventually(SETTLED, "its units were held and are back", async || {
        let back = doc! {"_id": "nobody-knows-me", "state": "RELEASED", "items": {"$size": 1}};
        Ok(reservations.count_documents(back).await? == 1)
    })
    .await?;
    ensure!(shop.shown("P").await?["available"] == 5);
    let notifications = world.database.collection::<Document>("notifications");
    ensure!(
        notifications.count_documents(doc! {}).await? == 0,
        "somebody was told of it"
    );
    world.check_conservation().await
}

/// Nothing at all, a message that belongs elsewhere, and what is no text and large: each is one letter, whole and with its reason.
#[tokio::test]
async fn whatever_lies_in_a_topic_the_lane_goes_on_behind_it() -> Result<()> {
    let world = World::start().await?;
    world.shop.product("P", 50, None).await?;
    let elsewhere = json!({
        "v": 1, "id": uuid::Uuid::now_v7().to_string(), "orderId": "somebodys", "at": "2026-12-01T12:00:00Z",
        "type": "order.status", "data": {"userId": "ada", "status": "CANCELLED", "inventoryStatus": "RELEASED",
        "message": "You cancelled this order."},
    });
    let elsewhere = elsewhere.to_string().into_bytes();
    let no_text = vec![0xff; 400_000];
    for value in [None, Some(elsewhere.clone()), Some(no_text.clone())] {
        write_value(&world, 0, value).await?;
    }
    let letters = world.database.collection::<Document>("dead_letters");
    for (reason, payload) in [
        ("the record is empty", Vec::new()),
        ("an? order.status does not belong here", elsewhere),
        ("not a message", no_text),
    ] {
        let of_reason = doc! {"reason": {"$regex": reason}, "group": "inventory", "partition": 0};
        eventually(SETTLED, &format!("there is a letter: {reason}"), async || {
            Ok(letters.count_documents(of_reason.clone()).await? == 1)
        })
        .await?;
        let letter = letters.find_one(of_reason).await?.context("it is gone")?;
        ensure!(
            *letter.get_binary_generic("payload")? == payload,
            "{reason}: {} bytes of {} are kept",
            letter.get_binary_generic("payload")?.len(),
            payload.len()
        );
    }
    let orders = place(&world, "behind", 20).await?;
    let partitions = world.config.kafka.partitions;
    ensure!(
        orders.iter().any(|order| partition_of(order, partitions) == 0),
        "none of 20 orders is behind them"
    );
    confirmed(&world, &orders).await?;
    let outbox = world.database.collection::<Document>("outbox");
    eventually(SETTLED, "all has been said", async || {
        Ok(outbox.count_documents(doc! {}).await? == 0)
    })
    .await?;
    ensure!(
        letters.count_documents(doc! {}).await? == 3,
        "there are other letters"
    );
    let notifications = world.database.collection::<Document>("notifications");
    ensure!(
        notifications
            .count_documents(doc! {"orderId": "somebodys"})
            .await?
            == 0,
        "somebody was told of it"
    );
    world.check_conservation().await
}
