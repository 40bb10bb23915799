//! Whoever takes over one service has what this service needs, and nothing of the others: the rights that docs/backends.md
//! lists are enough, as all the other tests show, and these are none of them.

use anyhow::{Result, ensure};
use events::topics::all_names;
use fred::interfaces::{ClientLike, KeysInterface};
use mongodb::bson::{Document, doc};
use platform::backends;
use quicksale_tests::world::World;
use std::{collections::BTreeMap, time::Duration};

/// A sale, and what a service of it is given.
async fn start() -> Result<World> {
    let world = World::start().await?;
    ensure!(
        variable(&world, "auth")("MONGODB_TLS_CA").is_some(),
        "these backends ask nobody who it is: QUICKSALE_BACKENDS_SECURED=yes hack/backends.sh start"
    );
    Ok(world)
}

fn variable(world: &World, service: &str) -> impl Fn(&str) -> Option<String> {
    let all = world.backends.environment_of(service);
    move |name| all.get(name).cloned()
}

#[tokio::test]
async fn of_mongodb_each_service_sees_its_own_collections() -> Result<()> {
    let world = start().await?;
    world.shop.product("RIGHTS", 5, None).await?;
    let (sale, accounts) = (&world.config.data.database, &world.config.data.accounts_database);
    for (service, database, collection, may) in [
        ("auth", accounts, "users", true),
        ("auth", sale, "orders", false),
        ("order", sale, "orders", true),
        ("order", accounts, "users", false),
        ("order", sale, "products", false),
        ("inventory", sale, "products", true),
        ("inventory", sale, "orders", true),
        ("inventory", sale, "notifications", false),
        ("order", sale, "reservations", true),
        ("notifier", sale, "notifications", true),
        ("notifier", sale, "orders", false),
        ("processor", sale, "outbox", true),
        ("processor", sale, "orders", false),
    ] {
        let uri = backends::mongodb(&variable(&world, service))?;
        let client = backends::mongo::client(&uri).await?;
        let found = client
            .database(database)
            .collection::<Document>(collection)
            .find_one(doc! {})
            .await;
        assert_eq!(found.is_ok(), may, "{service} reads {collection}: {found:?}");
        // Who counts the others' books may not write into them.
        let others = [
            ("inventory", "orders"),
            ("order", "reservations"),
            ("notifier", "orders"),
        ];
        if others.contains(&(service, collection)) {
            let theirs = client.database(database).collection::<Document>(collection);
            let written = theirs.insert_one(doc! {"_id": "forged"}).await;
            assert!(written.is_err(), "{service} has written {collection}");
            let changed = theirs.update_many(doc! {}, doc! {"$set": {"forged": true}}).await;
            assert!(changed.is_err(), "{service} has changed {collection}");
        }
        let dropped = client.database(sale).drop().await;
        assert!(dropped.is_err(), "{service} has dropped the sale's database");
    }
    world.shop.order("buyer", "k", "RIGHTS", 1).await?.expect(201)?;
    Ok(())
}

#[tokio::test]
async fn of_redis_the_gateway_and_the_inventory_see_their_own_keys() -> Result<()> {
    let world = start().await?;
    let prefix = &world.config.redis_prefix;
    for (service, key, may) in [
        ("gateway", format!("{prefix}gate:p"), true),
        ("gateway", format!("{prefix}owner"), false),
        ("gateway", "somebody's".to_owned(), false),
        ("inventory", format!("{prefix}gate:p"), true),
        ("inventory", format!("{prefix}limit:p"), false),
    ] {
        let client = backends::redis::client(&backends::redis(&variable(&world, service))?)?;
        let found: Result<Option<String>, _> = client.get(&key).await;
        assert_eq!(found.is_ok(), may, "{service} reads {key}: {found:?}");
        let emptied: Result<(), _> = client.flushall(false).await;
        assert!(emptied.is_err(), "{service} has emptied Redis");
    }
    for service in ["auth", "order", "processor", "notifier"] {
        let given = variable(&world, service)("REDIS_URL");
        assert_eq!(given, None, "{service} does not use Redis");
    }
    Ok(())
}

#[tokio::test]
async fn to_kafka_the_processor_alone_writes_and_nobody_deletes() -> Result<()> {
    const DEADLINE: Duration = Duration::from_secs(10);
    let world = start().await?;
    let topic = &all_names(&world.config.kafka.topic_prefix)[0];
    for service in ["inventory", "order", "notifier", "processor"] {
        let client = backends::kafka(&variable(&world, service))?.connect().await?;
        let controller = client.controller_client()?;
        let deleted = backends::kafka::within(DEADLINE, controller.delete_topic(topic, 1_000)).await;
        assert!(deleted.is_err(), "{service} has deleted a topic");
        let may = service == "processor";
        let written = async {
            let lane = backends::kafka::partition(&client, topic, 0).await?;
            let record = rskafka::record::Record {
                key: None,
                value: Some(b"no message".to_vec()),
                headers: BTreeMap::new(),
                timestamp: rskafka::chrono::Utc::now(),
            };
            let plain = rskafka::client::partition::Compression::NoCompression;
            backends::kafka::within(DEADLINE, lane.produce(vec![record], plain)).await
        };
        let written = written.await;
        assert_eq!(written.is_ok(), may, "{service} writes: {:?}", written.err());
    }
    Ok(())
}
