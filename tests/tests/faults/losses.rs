//! A broker that has lost what it had acknowledged, and a database that was put back: every order ends all the same.

use crate::start;
use anyhow::{Context, Result, ensure};
use events::{
    reader::AFTER,
    topics::{Topic, partition_of},
};
use futures::TryStreamExt;
use mongodb::bson::{Bson, DateTime, Document, doc};
use platform::{backends::kafka, tokens::Role};
use quicksale_tests::{
    scenarios::SETTLED,
    shop::{Socket, next_update},
    unsaid,
    world::{SERVICES, World, eventually},
};
use rskafka::client::partition::Compression;
use sale::{OrderId, UserId};
use std::{collections::BTreeMap, time::Duration};

/// How long it may take until everything has ended because a gap was noticed.
const NOTICED: Duration = Duration::from_secs(60);

/// Places orders of somebody each, and returns their ids. Nobody asks about them again, as is done after half a minute: where they end it is
/// because a gap was noticed.
async fn place(world: &World, who: &str, how_many: usize) -> Result<Vec<String>> {
    let mut ids = Vec::with_capacity(how_many);
    for n in 0..how_many {
        let user = format!("{who}-{n}");
        let placed = world.shop.order(&user, "k", "P", 1).await?;
        let id = placed.expect(201)?.json["order"]["_id"].as_str();
        ids.push(id.context("no _id")?.to_owned());
    }
    let in_an_hour = DateTime::from_millis(DateTime::now().timestamp_millis() + 3_600_000);
    let waiting = doc! {"_id": {"$in": &ids}, "askAt": {"$exists": true}};
    let orders = world.database.collection::<Document>("orders");
    orders
        .update_many(waiting, doc! {"$set": {"askAt": in_an_hour}})
        .await?;
    Ok(ids)
}

async fn all_confirmed(world: &World, ids: &[String], within: Duration) -> Result<()> {
    let wanted = u64::try_from(ids.len())?;
    let done = eventually(within, "the orders are confirmed", async || {
        let confirmed = doc! {"_id": {"$in": ids}, "status": "CONFIRMED"};
        Ok(world.count_orders(confirmed).await? == wanted)
    })
    .await;
    match done {
        Ok(()) => Ok(()),
        Err(error) => Err(error.context(world.describe().await?)),
    }
}

/// Every message has gone to Kafka.
async fn all_said(world: &World) -> Result<()> {
    let outbox = world.database.collection::<Document>("outbox");
    eventually(SETTLED, "the outbox is empty", async || {
        Ok(outbox.count_documents(doc! {}).await? == 0)
    })
    .await
}

/// Gaps that a group has met, from its process's metrics.
async fn losses(world: &World, service: &str) -> Result<f64> {
    world
        .metric_sum(service, "quicksale_lane_losses_total", "group=")
        .await
}

/// Losses are noticed, counted and mended.
async fn mended(world: &World, service: &str) -> Result<()> {
    ensure!(
        losses(world, service).await? > 0.0,
        "{service} has counted no gap"
    );
    let notes = world.database.collection::<Document>("losses");
    eventually(SETTLED, "every gap is mended", async || {
        let all = notes.count_documents(doc! {}).await?;
        Ok(all > 0 && notes.count_documents(doc! {"mendedAt": null}).await? == 0)
    })
    .await?;
    all_said(world).await?;
    world.check_conservation().await
}

/// The new topic is longer than the old one was, so that every offset lies within it: nothing fails, and records would be passed over
/// in silence.
#[tokio::test]
async fn orders_end_although_their_topic_was_made_anew_while_they_waited() -> Result<()> {
    let world = start().await?;
    world.shop.product("P", 1_000, None).await?;
    let mut orders = place(&world, "before", 40).await?;
    all_confirmed(&world, &orders, SETTLED).await?;
    all_said(&world).await?;
    world.freeze("inventory").await?;
    orders.extend(place(&world, "lost", 20).await?);
    all_said(&world).await?;
    world.make_anew(Topic::OrderCreated).await?;
    orders.extend(place(&world, "after", 90).await?);
    all_said(&world).await?;
    world.thaw("inventory").await?;
    all_confirmed(&world, &orders, NOTICED).await?;
    mended(&world, "inventory").await
}

/// What inventory has answered is lost on its way: the orders that wait are asked about at once.
#[tokio::test]
async fn orders_end_although_the_answers_about_them_were_lost() -> Result<()> {
    let mut world = start().await?;
    world.shop.product("P", 1_000, None).await?;
    let mut orders = place(&world, "before", 40).await?;
    all_confirmed(&world, &orders, SETTLED).await?;
    all_said(&world).await?;
    // A second process reads; the first one takes orders.
    world.second("order-2").await?;
    let lanes = world.database.collection::<Document>("leases");
    let hers = doc! {"_id": {"$regex": "^order/inventory.result/"}, "owner": {"$regex": "^order-2-"}};
    eventually(SETTLED, "the second process has lanes", async || {
        Ok(lanes.count_documents(hers.clone()).await? == 2)
    })
    .await?;
    world.freeze("order-2").await?;
    orders.extend(place(&world, "lost", 40).await?);
    world.make_anew(Topic::InventoryResult).await?;
    orders.extend(place(&world, "after", 60).await?);
    world.thaw("order-2").await?;
    all_confirmed(&world, &orders, NOTICED).await?;
    let counted = losses(&world, "order").await? + losses(&world, "order-2").await?;
    ensure!(counted > 0.0, "no gap was counted");
    mended(
        &world,
        if losses(&world, "order").await? > 0.0 {
            "order"
        } else {
            "order-2"
        },
    )
    .await
}

/// Buyers hear of their orders although the news of them was lost: those who listen, and those who look later.
#[tokio::test]
async fn buyers_are_told_although_the_news_of_their_orders_was_lost() -> Result<()> {
    let world = start().await?;
    world.shop.product("P", 1_000, None).await?;
    let mut orders = place(&world, "before", 40).await?;
    all_confirmed(&world, &orders, SETTLED).await?;
    all_said(&world).await?;
    all_told(&world, &orders, SETTLED).await?;
    world.freeze("notifier").await?;
    let lost = place(&world, "lost", 20).await?;
    all_confirmed(&world, &lost, SETTLED).await?;
    all_said(&world).await?;
    world.make_anew(Topic::OrderStatus).await?;
    orders.extend(lost);
    orders.extend(place(&world, "after", 90).await?);
    world.thaw("notifier").await?;
    let ada = world.shop.token("lost-7", Role::Buyer)?;
    let mut socket: Option<Socket> = None;
    all_told(&world, &orders, NOTICED).await?;
    let notifications = world.database.collection::<Document>("notifications");
    // Whoever connects now reads it from the store, once.
    eventually(SETTLED, "a socket is taken", async || {
        Ok(world.shop.socket(&ada).await.is_ok())
    })
    .await?;
    socket.replace(world.shop.socket(&ada).await?);
    let update = next_update(socket.as_mut().context("no socket")?).await?;
    ensure!(update["data"]["status"] == "CONFIRMED", "{update}");
    let mut of_order: BTreeMap<String, usize> = BTreeMap::new();
    let all: Vec<Document> = notifications
        .find(doc! {"status": "CONFIRMED"})
        .await?
        .try_collect()
        .await?;
    for notification in all {
        *of_order
            .entry(notification.get_str("orderId")?.to_owned())
            .or_default() += 1;
    }
    let twice: Vec<_> = of_order.iter().filter(|(_, times)| **times > 1).collect();
    ensure!(twice.is_empty(), "told twice: {twice:?}");
    mended(&world, "notifier").await
}

/// A lane that has read nothing has no record to miss. The relay knows where the log had ended, and finds it shorter.
#[tokio::test]
async fn orders_end_although_nobody_had_read_any_record_of_their_partition() -> Result<()> {
    let world = start().await?;
    let mut orders = lose_unread_orders(&world).await?;
    world.backends.start("kafka").await?;
    world.create_topics().await?;
    // The new log is longer than the old one was.
    orders.extend(place(&world, "after", 90).await?);
    all_said(&world).await?;
    world.thaw("inventory").await?;
    all_confirmed(&world, &orders, NOTICED).await?;
    mended(&world, "processor").await
}

/// The relay has died together with the log, and has nothing to write when it is back.
#[tokio::test]
async fn orders_end_although_nobody_had_read_any_record_and_the_relay_is_another() -> Result<()> {
    let mut world = start().await?;
    let orders = lose_unread_orders(&world).await?;
    world.kill("processor")?;
    world.backends.start("kafka").await?;
    world.create_topics().await?;
    world.kill_and_restart("processor")?;
    world.ready("processor").await?;
    world.thaw("inventory").await?;
    all_confirmed(&world, &orders, NOTICED).await?;
    mended(&world, "processor").await
}

/// Places 40 orders while inventory stands still, waits until the relay has kept where the logs end, and empties Kafka's disk. One earlier
/// order was read, so one of the partitions is not untouched.
async fn lose_unread_orders(world: &World) -> Result<Vec<String>> {
    world.shop.product("P", 1_000, None).await?;
    // Whoever takes orders knows the product then.
    let first = place(world, "first", 1).await?;
    all_confirmed(world, &first, SETTLED).await?;
    all_said(world).await?;
    world.freeze("inventory").await?;
    let orders = place(world, "lost", 40).await?;
    all_said(world).await?;
    let ends = world.database.collection::<Document>("log_ends");
    eventually(SETTLED, "the relay has kept where the logs end", async || {
        let kept = ends.find_one(doc! {}).await?;
        let ends = kept.as_ref().and_then(|kept| kept.get_array("ends").ok());
        let ends = ends.into_iter().flatten().filter_map(Bson::as_document);
        let questions = ends.filter(|end| {
            end.get_str("topic")
                .is_ok_and(|name| name == Topic::OrderCreated.plain_name())
        });
        Ok(questions.filter_map(|end| end.get_i64("end").ok()).sum::<i64>() >= 41)
    })
    .await?;
    world.backends.kill("kafka").await?;
    world.backends.wipe("kafka").await?;
    Ok(orders)
}

async fn all_told(world: &World, ids: &[String], within: Duration) -> Result<()> {
    let notifications = world.database.collection::<Document>("notifications");
    eventually(within, "everybody is told", async || {
        let told = doc! {"orderId": {"$in": ids}, "status": "CONFIRMED"};
        Ok(notifications.distinct("orderId", told).await?.len() == ids.len())
    })
    .await
}

/// An emptied disk under load: the topics are made anew as the operator does it, a moment later.
#[tokio::test]
async fn orders_end_although_the_broker_has_lost_its_disk() -> Result<()> {
    let world = start().await?;
    world.shop.product("P", 1_000, None).await?;
    let mut orders = place(&world, "before", 60).await?;
    world.backends.kill("kafka").await?;
    world.backends.wipe("kafka").await?;
    orders.extend(place(&world, "without", 60).await?);
    world.backends.start("kafka").await?;
    world.create_topics().await?;
    orders.extend(place(&world, "after", 60).await?);
    all_confirmed(&world, &orders, NOTICED).await?;
    all_said(&world).await?;
    world.check_conservation().await
}

/// As after an election of a leader that was behind: the end of the log is another one.
#[tokio::test]
async fn orders_end_although_the_end_of_a_log_was_cut_off() -> Result<()> {
    let world = start().await?;
    world.shop.product("P", 1_000, None).await?;
    let mut orders = place(&world, "before", 60).await?;
    all_confirmed(&world, &orders, SETTLED).await?;
    all_said(&world).await?;
    world.freeze("inventory").await?;
    orders.extend(place(&world, "lost", 40).await?);
    all_said(&world).await?;
    world.backends.kill("kafka").await?;
    let name = world.topic(Topic::OrderCreated);
    world.backends.cut_off(&name)?;
    world.backends.start("kafka").await?;
    orders.extend(place(&world, "after", 90).await?);
    all_said(&world).await?;
    world.thaw("inventory").await?;
    all_confirmed(&world, &orders, NOTICED).await?;
    mended(&world, "inventory").await
}

/// Nothing fails then, no record comes, and nothing lags: the lanes stand where the new log ends.
#[tokio::test]
async fn orders_end_although_the_new_log_ends_where_the_old_one_did() -> Result<()> {
    let world = start().await?;
    world.shop.product("P", 1_000, None).await?;
    let mut orders = place(&world, "before", 24).await?;
    all_confirmed(&world, &orders, SETTLED).await?;
    all_said(&world).await?;
    let partitions = world.config.kafka.partitions;
    let mut wanted: BTreeMap<i32, usize> = BTreeMap::new();
    for order in &orders {
        *wanted.entry(partition_of(order, partitions)).or_default() += 1;
    }
    world.freeze("inventory").await?;
    world.make_anew(Topic::OrderCreated).await?;
    // As many for each partition as were there before.
    let mut n = 0;
    while wanted.values().any(|left| *left > 0) {
        n += 1;
        ensure!(n < 10_000, "no users whose orders fit");
        let user = format!("after-{n}");
        let id = OrderId::derive(&UserId::new(&user), "k");
        match wanted.get_mut(&partition_of(id.as_str(), partitions)) {
            Some(left) if *left > 0 => *left -= 1,
            _ => continue,
        }
        world.shop.order(&user, "k", "P", 1).await?.expect(201)?;
        orders.push(id.as_str().to_owned());
    }
    all_said(&world).await?;
    world.thaw("inventory").await?;
    all_confirmed(&world, &orders, NOTICED).await?;
    mended(&world, "inventory").await
}

/// What the broker had taken and lost before anybody read it leaves no trace but in the record that was written after it.
#[tokio::test]
async fn orders_end_although_nobody_had_read_what_the_broker_lost() -> Result<()> {
    let world = start().await?;
    world.shop.product("P", 1_000, None).await?;
    let before = place(&world, "before", 24).await?;
    all_confirmed(&world, &before, SETTLED).await?;
    all_said(&world).await?;
    world.freeze("processor").await?;
    let lost = place(&world, "lost", 1).await?;
    let question = unsaid::lose(&world.database, &lost, Topic::OrderCreated).await?;
    ensure!(question.len() == 1, "{question:?}");
    world.thaw("processor").await?;
    // A message that was handled before, sent once more after one that is not there.
    let name = world.topic(Topic::OrderCreated);
    let client = world.backends.credentials()?.kafka.connect().await?;
    let partition = partition_of(&lost[0], world.config.kafka.partitions);
    let log = kafka::partition(&client, &name, partition).await?;
    let (records, _) = log.fetch_records(0, 1..1_000_000, 1_000).await?;
    let mut next = records.into_iter().next().context("no record")?.record;
    next.headers.insert(AFTER.to_owned(), vec![7; 8]);
    log.produce(vec![next], Compression::NoCompression).await?;
    all_confirmed(&world, &lost, NOTICED).await?;
    let notes = world.database.collection::<Document>("losses");
    // The relay's next record follows another one again: that of a stranger stands between.
    ensure!(notes.count_documents(doc! {"cause": "unread"}).await? > 0);
    mended(&world, "inventory").await
}

/// The database is put back to an earlier moment, and Kafka knows more than it: what it still knows of ends, and units of orders
/// that nobody knows any more are for sale again.
#[tokio::test]
async fn what_a_restored_database_knows_ends_and_the_rest_holds_nothing() -> Result<()> {
    let mut world = start().await?;
    world.shop.product("P", 1_000, None).await?;
    let kept = place(&world, "before", 60).await?;
    let saved = save(&world).await?;
    place(&world, "forgotten", 60).await?;
    all_said(&world).await?;
    for service in SERVICES {
        world.kill(service)?;
    }
    restore(&world, saved).await?;
    for service in SERVICES {
        world.kill_and_restart(service)?;
    }
    for service in SERVICES {
        world.ready(service).await?;
    }
    all_confirmed(&world, &kept, SETTLED).await?;
    let again = place(&world, "later", 20).await?;
    all_confirmed(&world, &again, SETTLED).await?;
    eventually(SETTLED, "nothing is held", async || {
        Ok(world.shop.shown("P").await?["reserved"] == 0)
    })
    .await?;
    ensure!(world.shop.shown("P").await?["sold"] == 80);
    world.check_conservation().await
}

/// All documents of the sale, from one moment.
async fn save(world: &World) -> Result<BTreeMap<String, Vec<Document>>> {
    let names = world.database.list_collection_names().await?;
    let mut session = world.database.client().start_session().await?;
    session
        .start_transaction()
        .read_concern(mongodb::options::ReadConcern::snapshot())
        .await?;
    let mut saved = BTreeMap::new();
    for name in names {
        let collection = world.database.collection::<Document>(&name);
        let mut cursor = collection.find(doc! {}).session(&mut session).await?;
        let all: Vec<Document> = cursor.stream(&mut session).try_collect().await?;
        saved.insert(name, all);
    }
    session.abort_transaction().await?;
    Ok(saved)
}

async fn restore(world: &World, saved: BTreeMap<String, Vec<Document>>) -> Result<()> {
    for name in world.database.list_collection_names().await? {
        let collection = world.database.collection::<Document>(&name);
        collection.delete_many(doc! {}).await?;
    }
    for (name, documents) in saved {
        if !documents.is_empty() {
            let collection = world.database.collection::<Document>(&name);
            collection.insert_many(documents).await?;
        }
    }
    Ok(())
}
