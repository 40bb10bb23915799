//! The books: what moves is written down, what does not fit is found, and messages that were given up on are dealt with.

use anyhow::{Context, Result, ensure};
use events::topics::Topic;
use mongodb::bson::{Document, doc};
use platform::{backends::kafka, tokens::Role};
use quicksale_tests::{
    orders::{ask, held},
    scenarios::SETTLED,
    shop::Answer,
    world::{World, eventually},
};
use reqwest::Method;
use rskafka::{client::partition::Compression, record::Record};
use sale::order::Confirmation;
use serde_json::{Value, json};
use std::{cell::RefCell, collections::BTreeMap, time::Duration};

const AUDIT: &str = "/api/inventory/audit";

/// What an audit that begins now finds.
async fn audited(world: &World) -> Result<Vec<String>> {
    let admin = world.shop.observer()?;
    let begun = world.shop.send(Method::POST, AUDIT, Some(&admin), None).await?;
    begun.expect(202)?;
    let found = RefCell::new(Value::Null);
    eventually(SETTLED, "the audit has ended", async || {
        let books = books(world).await?;
        *found.borrow_mut() = books["audit"].clone();
        Ok(found.borrow()["finishedAt"].is_string())
    })
    .await?;
    let found = found.into_inner();
    ensure!(found["failure"].is_null(), "{found}");
    Ok(serde_json::from_value(found["differences"].clone())?)
}

async fn books(world: &World) -> Result<Value> {
    let admin = world.shop.observer()?;
    let books = world.shop.send(Method::GET, AUDIT, Some(&admin), None).await?;
    Ok(books.expect(200)?.json.clone())
}

async fn change(world: &World, collection: &str, which: Document, change: Document) -> Result<()> {
    let collection = world.database.collection::<Document>(collection);
    let changed = collection.update_one(which, change).await?;
    ensure!(changed.modified_count == 1, "nothing was changed");
    Ok(())
}

/// Orders of all ends, a hold by hand and edits of the stock: all of it is in the ledger. Then somebody writes past it.
#[tokio::test]
async fn what_moves_is_written_down_and_what_was_written_past_the_books_is_found() -> Result<()> {
    let world = World::start().await?;
    let shop = &world.shop;
    let product = shop.product("BOOKED", 20, None).await?;
    let admin = shop.token("an-admin", Role::Admin)?;
    let post = async |path: &str, body: Value| -> Result<()> {
        let done = shop.send(Method::POST, path, Some(&admin), Some(body)).await?;
        done.expect(200).map(drop)
    };
    let mut orders = Vec::new();
    for n in 0..6 {
        let placed = shop.order(&format!("buyer-{n}"), "k", "BOOKED", 2).await?;
        let id = placed.expect(201)?.json["order"]["_id"].as_str();
        orders.push(id.context("no _id")?.to_owned());
    }
    eventually(SETTLED, "they are confirmed and sold", async || {
        Ok(shop.shown("BOOKED").await?["sold"] == 12)
    })
    .await?;
    let hold = json!({"orderId": "by-hand", "items": [{"sku": "BOOKED", "quantity": 3}]});
    post("/api/inventory/reserve", hold.clone()).await?;
    post("/api/inventory/release", json!({"orderId": "by-hand"})).await?;
    let sold = json!({"orderId": "sold-by-hand", "items": [{"sku": "BOOKED", "quantity": 1}]});
    post("/api/inventory/reserve", sold).await?;
    post("/api/inventory/confirm", json!({"orderId": "sold-by-hand"})).await?;
    let stock = format!("/api/inventory/products/{product}/stock");
    post(&stock, json!({"delta": 5})).await?;
    post(&stock, json!({"delta": -2})).await?;
    let path = format!("/api/inventory/products/{product}");
    let edit = async |version: i64| {
        let edit = json!({"version": version, "stock": 30});
        shop.send(Method::PATCH, &path, Some(&admin), Some(edit)).await
    };
    // Made from the stock before the two changes: it would undo them.
    edit(1).await?.expect_problem(409, "stale_version")?;
    edit(3).await?.expect(200)?;
    ensure!(audited(&world).await? == Vec::<String>::new());
    let ledger = world.database.collection::<Document>("ledger");
    let all = ledger.count_documents(doc! {"product": &product}).await?;
    let last = doc! {"product": &product, "number": i64::try_from(all)?};
    ensure!(
        ledger.count_documents(last).await? == 1,
        "{all} entries, and not numbered so"
    );

    // Somebody takes a unit out of the account.
    change(
        &world,
        "products",
        doc! {"_id": &product},
        doc! {"$inc": {"sold": -1_i64}},
    )
    .await?;
    eventually(SETTLED, "the ledger is found to differ", async || {
        Ok(books(&world).await?["ledger"]["differences"] != json!([]))
    })
    .await?;
    let found = audited(&world).await?;
    ensure!(found.len() == 2 && found[0].contains("sold 13"), "{found:?}");
    change(
        &world,
        "products",
        doc! {"_id": &product},
        doc! {"$inc": {"sold": 1_i64}},
    )
    .await?;
    eventually(SETTLED, "the ledger agrees again", async || {
        Ok(books(&world).await?["ledger"]["differences"] == json!([]))
    })
    .await?;

    // An entry is gone.
    let entry = doc! {"product": &product, "number": 2_i64};
    let gone = ledger.find_one_and_delete(entry).await?.context("no entry")?;
    let found = audited(&world).await?;
    ensure!(found.iter().any(|one| one.contains("entries")), "{found:?}");
    ledger.insert_one(gone).await?;

    // An order says something else than its reservation.
    change(
        &world,
        "orders",
        doc! {"_id": &orders[0]},
        doc! {"$set": {"status": "CANCELLED"}},
    )
    .await?;
    let found = audited(&world).await?;
    ensure!(
        found.len() == 1 && found[0].contains(&orders[0]) && found[0].contains("CANCELLED"),
        "{found:?}"
    );
    Ok(())
}

/// Units that trickle back are for sale as they come, also those of holds by hand.
#[tokio::test]
async fn units_of_holds_by_hand_are_for_sale_as_they_come_back() -> Result<()> {
    let world = World::start().await?;
    let shop = &world.shop;
    shop.product("TRICKLE", 12, None).await?;
    let admin = shop.token("an-admin", Role::Admin)?;
    let ask = async |verb: &str, body: Value| -> Result<()> {
        let path = format!("/api/inventory/{verb}");
        let done = shop.send(Method::POST, &path, Some(&admin), Some(body)).await?;
        done.expect(200).map(drop)
    };
    for n in 0..12 {
        let items = json!([{"sku": "TRICKLE", "quantity": 1}]);
        ask("reserve", json!({"orderId": format!("hold-{n}"), "items": items})).await?;
    }
    shop.order("early", "k", "TRICKLE", 1)
        .await?
        .expect_problem(409, "units_held")?;
    // More often than the two seconds that the gate waits for movement to end.
    for n in 0..12 {
        ask("release", json!({"orderId": format!("hold-{n}")})).await?;
        let order = shop.order(&format!("buyer-{n}"), "k", "TRICKLE", 1).await?;
        order
            .expect(201)
            .with_context(|| format!("unit {n} has come back"))?;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    world.check_conservation().await
}

/// A letter is listed, sent once more and put away, and what was done about it is written down.
#[tokio::test]
async fn dead_letters_are_listed_replayed_and_discarded() -> Result<()> {
    let world = World::start().await?;
    let shop = &world.shop;
    let client = world.backends.credentials()?.kafka.connect().await?;
    let name = world.topic(Topic::OrderCreated);
    let lane = kafka::partition(&client, &name, 0).await?;
    let record = Record {
        key: Some(b"an-order".to_vec()),
        value: Some(b"no message".to_vec()),
        headers: BTreeMap::new(),
        timestamp: rskafka::chrono::Utc::now(),
    };
    // A broker does not take records for a topic as soon as it says that there is one.
    eventually(SETTLED, "the record is written", async || {
        let write = lane.produce(vec![record.clone()], Compression::NoCompression);
        Ok(kafka::within(Duration::from_secs(10), write).await.is_ok())
    })
    .await?;
    let buyer = shop.token("ada", Role::Buyer)?;
    shop.send(Method::GET, "/api/dead-letters", Some(&buyer), None)
        .await?
        .expect_problem(403, "forbidden")?;
    let letters = async |query: &str| -> Result<Vec<Value>> {
        let admin = shop.observer()?;
        let path = format!("/api/dead-letters{query}");
        let list = shop.send(Method::GET, &path, Some(&admin), None).await?;
        Ok(list.expect(200)?.json["items"]
            .as_array()
            .cloned()
            .unwrap_or_default())
    };
    eventually(SETTLED, "there is a letter", async || {
        Ok(letters("").await?.len() == 1)
    })
    .await?;
    let letter = letters("").await?.remove(0);
    ensure!(
        letter["payload"] == "no message" && letter["key"] == "an-order",
        "{letter}"
    );
    let act = async |verb: &str, id: &Value| {
        let admin = shop.token("an-admin", Role::Admin)?;
        let path = format!("/api/dead-letters/{verb}");
        shop.send(Method::POST, &path, Some(&admin), Some(json!({"id": id})))
            .await
    };
    act("replay", &json!("nonsense"))
        .await?
        .expect_problem(404, "not_found")?;
    let replayed = act("replay", &letter["_id"]).await?;
    let deed = &replayed.expect(200)?.json["deeds"][0];
    ensure!(deed["what"] == "replayed" && deed["who"] == "an-admin", "{deed}");
    // It is as unreadable as before, and somewhere else.
    eventually(SETTLED, "there is another letter", async || {
        Ok(letters("?all=true").await?.len() == 2 && letters("").await?.len() == 1)
    })
    .await?;
    let second = letters("").await?.remove(0);
    ensure!(second["_id"] != letter["_id"], "{second}");
    let open = async || -> Result<Value> { Ok(world.settlement().await?["deadLetters"].clone()) };
    ensure!(open().await? == 1);
    act("discard", &second["_id"]).await?.expect(200)?;
    ensure!(letters("").await?.is_empty() && open().await? == 0);
    Ok(())
}

/// Numbers that are counted as orders end are those that counting all orders comes to.
#[tokio::test]
async fn the_settlement_counts_what_the_orders_say() -> Result<()> {
    let mut world = World::start().await?;
    world.shop.product("FEW", 6, None).await?;
    world.second("order-2").await?;
    let mut placed = Vec::new();
    for n in 0..10 {
        let answer = world.shop.order(&format!("buyer-{n}"), "k", "FEW", 1).await?;
        if answer.status == 201 {
            placed.push(answer.json["order"]["_id"].as_str().context("no _id")?.to_owned());
        }
    }
    ensure!(placed.len() == 6, "{} orders were accepted", placed.len());
    world.kill_and_restart("order")?;
    world.ready("order").await?;
    for (n, order) in placed.iter().enumerate().take(3) {
        let buyer = world.shop.token(&format!("buyer-{n}"), Role::Buyer)?;
        let path = format!("/api/orders/{order}/cancel");
        let _too_late = world.shop.send(Method::POST, &path, Some(&buyer), None).await?;
    }
    eventually(SETTLED, "the numbers are those of the orders", async || {
        let numbers = world.settlement().await?;
        for (name, status) in [
            ("pending", "PENDING"),
            ("confirmed", "CONFIRMED"),
            ("failed", "FAILED"),
            ("cancelled", "CANCELLED"),
            ("expired", "EXPIRED"),
        ] {
            if numbers[name] != json!(world.count_orders(doc! {"status": status}).await?) {
                return Ok(false);
            }
        }
        let settled = ["pending", "held", "outbox", "lag"]
            .iter()
            .all(|name| numbers[name] == 0);
        Ok(settled && numbers["accepted"] == json!(world.count_orders(doc! {}).await?))
    })
    .await
}

/// What is sent again under its key or its id changes nothing, and what is sent under another's is refused.
#[tokio::test]
async fn a_change_of_stock_and_a_hold_by_hand_are_made_once_and_are_no_others() -> Result<()> {
    let world = World::start().await?;
    let shop = &world.shop;
    let product = shop.product("ONCE", 20, Some(2)).await?;
    let admin = shop.token("an-admin", Role::Admin)?;
    let path = format!("/api/inventory/products/{product}/stock");
    let change = async |key: &str, delta: i64| -> Result<Answer> {
        let request = shop.http.post(shop.url(&path)).bearer_auth(&admin);
        let request = request
            .header("Idempotency-Key", key)
            .json(&json!({"delta": delta}));
        Answer::of(request.send().await?).await
    };
    let first = change("k", 5).await?;
    ensure!(
        first.expect(200)?.json["product"]["version"] == 2,
        "{}",
        first.text
    );
    let again = change("k", 5).await?;
    again.expect(200)?;
    ensure!(
        again.headers["idempotency-replayed"] == "true",
        "{:?}",
        again.headers
    );
    ensure!(again.json["product"]["stock"] == 25, "{}", again.text);
    change("k", 6)
        .await?
        .expect_problem(422, "idempotency_key_reused")?;
    change(&"k".repeat(256), 5)
        .await?
        .expect_problem(400, "invalid_request")?;

    let reserve = async |order: &str, items: Value| {
        let body = json!({"orderId": order, "items": items});
        shop.send(Method::POST, "/api/inventory/reserve", Some(&admin), Some(body))
            .await
    };
    let (two, three) = (
        json!([{"sku": "ONCE", "quantity": 2}]),
        json!([{"productId": product, "quantity": 3}]),
    );
    reserve("by-hand", two.clone()).await?.expect(200)?;
    reserve("by-hand", two).await?.expect(200)?;
    reserve("by-hand", three)
        .await?
        .expect_problem(422, "idempotency_key_reused")?;
    let shown = shop.shown("ONCE").await?;
    ensure!(
        (&shown["reserved"], &shown["stock"]) == (&json!(2), &json!(25)),
        "{shown}"
    );

    // Null takes a limit away, and what is left out stays.
    let path = format!("/api/inventory/products/{product}");
    for (version, edit, limit) in [
        (2, json!({"name": "Once"}), json!(2)),
        (3, json!({"limitPerCustomer": null}), Value::Null),
    ] {
        let mut edit = edit;
        edit["version"] = json!(version);
        let edited = shop.send(Method::PATCH, &path, Some(&admin), Some(edit)).await?;
        let edited = &edited.expect(200)?.json["product"];
        ensure!(
            edited["limitPerCustomer"] == limit && edited["name"] == "Once",
            "{edited}"
        );
    }
    Ok(())
}

/// What is held and sold is promised to somebody.
#[tokio::test]
async fn stock_does_not_go_below_what_is_held_and_sold() -> Result<()> {
    let world = World::start_with(Confirmation::Payment).await?;
    let shop = &world.shop;
    let product = shop.product("PROMISED", 10, None).await?;
    let (admin, payment) = (shop.observer()?, shop.token("the-payment", Role::Service)?);
    let paid = held(&world, "ada", "k", "PROMISED").await?;
    held(&world, "bob", "k", "PROMISED").await?;
    ask(&world, &paid, "confirm", &payment).await?.expect(200)?;
    let hold = json!({"orderId": "by-hand", "items": [{"sku": "PROMISED", "quantity": 3}]});
    shop.send(Method::POST, "/api/inventory/reserve", Some(&admin), Some(hold))
        .await?
        .expect(200)?;
    eventually(SETTLED, "one is sold and four are held", async || {
        let shown = shop.shown("PROMISED").await?;
        Ok(shown["sold"] == 1 && shown["reserved"] == 4)
    })
    .await?;
    let ledger = world.database.collection::<Document>("ledger");
    let (written, before) = (
        ledger.count_documents(doc! {}).await?,
        shop.shown("PROMISED").await?,
    );
    let edit = format!("/api/inventory/products/{product}");
    let change = format!("{edit}/stock");
    for (method, path, body) in [
        (Method::POST, &change, json!({"delta": -6})),
        (
            Method::PATCH,
            &edit,
            json!({"version": 1, "stock": 4, "name": "Fewer"}),
        ),
    ] {
        shop.send(method, path, Some(&admin), Some(body))
            .await?
            .expect_problem(409, "stock_committed")
            .with_context(|| path.clone())?;
    }
    let after = shop.shown("PROMISED").await?;
    ensure!(after == before, "{after}, and it was {before}");
    ensure!(ledger.count_documents(doc! {}).await? == written);
    // Down to what is promised it goes.
    let changed = shop
        .send(Method::POST, &change, Some(&admin), Some(json!({"delta": -5})))
        .await?;
    let shown = &changed.expect(200)?.json["product"];
    ensure!(shown["stock"] == 5 && shown["available"] == 0, "{shown}");
    world.check_conservation().await
}
