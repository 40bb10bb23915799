//! Holds made by hand: what they are refused for, how they end, and that no order's end is theirs.

use super::somebody;
use anyhow::{Result, ensure};
use mongodb::bson::{DateTime, Document, doc};
use platform::tokens::Role;
use quicksale_tests::{
    orders::all_is_handled,
    scenarios::SETTLED,
    shop::Answer,
    world::{Setup, World, eventually},
};
use reqwest::Method;
use sale::{OrderId, UserId, order::Confirmation};
use serde_json::{Value, json};

/// Asks for something about a hold, as a till does that sells past the orders.
pub(super) async fn by_hand(world: &World, verb: &str, body: Value) -> Result<Answer> {
    let till = world.shop.token("the-till", Role::Service)?;
    let path = format!("/api/inventory/{verb}");
    world
        .shop
        .send(Method::POST, &path, Some(&till), Some(body))
        .await
}

#[tokio::test]
async fn units_of_a_hold_by_hand_that_runs_out_are_for_sale_again() -> Result<()> {
    let world = World::start_as(Setup {
        reservation_ttl_seconds: 2,
        ..Setup::default()
    })
    .await?;
    let shop = &world.shop;
    shop.product("SHORT", 5, None).await?;
    let hold = json!({"orderId": "by-hand", "items": [{"sku": "SHORT", "quantity": 5}]});
    let held = by_hand(&world, "reserve", hold.clone()).await?;
    ensure!(held.expect(200)?.json["state"] == "HELD", "{}", held.text);
    let reservations = world.database.collection::<Document>("reservations");
    eventually(SETTLED, "the hold has run out", async || {
        let over = doc! {"_id": "by-hand", "state": "RELEASED"};
        Ok(reservations.count_documents(over).await? == 1)
    })
    .await?;
    let product = shop.shown("SHORT").await?;
    ensure!(product["reserved"] == 0 && product["available"] == 5, "{product}");
    eventually(SETTLED, "a buyer gets all of them", async || {
        Ok(shop.order(&somebody(), "k", "SHORT", 5).await?.status == 201)
    })
    .await?;
    eventually(SETTLED, "they are sold", async || {
        Ok(shop.shown("SHORT").await?["sold"] == 5)
    })
    .await?;
    // Nobody had to wait until the gate was found to be wrong.
    let name = "quicksale_gate_corrections_total";
    ensure!(
        world.metric_sum("inventory", name, "up").await? == 0.0,
        "the gate had to be set right"
    );
    by_hand(&world, "reserve", hold)
        .await?
        .expect_problem(409, "order_final")?;
    world.check_conservation().await
}

/// One that cannot be read, and two of products whose accounts are broken, come first and stay as they are.
#[tokio::test]
async fn a_hold_that_cannot_end_keeps_no_other_hold_by_hand_from_running_out() -> Result<()> {
    let world = World::start().await?;
    let shop = &world.shop;
    let (broken, fewer) = (
        shop.product("BROKEN", 5, None).await?,
        shop.product("FEWER", 5, None).await?,
    );
    shop.product("WHOLE", 5, None).await?;
    let of = |name: &str| world.database.collection::<Document>(name);
    let set = async |product: &str, number: &str, to: i64| -> Result<()> {
        let change = doc! {"$set": {number: to}};
        let done = of("products").update_one(doc! {"_id": product}, change).await?;
        ensure!(done.modified_count == 1, "nothing was changed");
        Ok(())
    };
    let hold = |sku: &str| json!({"orderId": format!("of-{sku}"), "items": [{"sku": sku, "quantity": 2}]});
    for sku in ["BROKEN", "FEWER"] {
        by_hand(&world, "reserve", hold(sku)).await?.expect(200)?;
    }
    set(&broken, "sold", 9).await?;
    set(&fewer, "reserved", 1).await?;
    let unreadable = doc! {
        "_id": "unreadable", "state": "HELD", "origin": "direct", "items": "of another kind",
        "expiresAt": DateTime::from_millis(0), "createdAt": DateTime::from_millis(0),
    };
    of("reservations").insert_one(unreadable).await?;
    by_hand(&world, "reserve", hold("WHOLE")).await?.expect(200)?;
    let past = doc! {"$set": {"expiresAt": DateTime::from_millis(0)}};
    let all = doc! {"_id": {"$regex": "^of-"}, "state": "HELD"};
    let run_out = of("reservations").update_many(all, past).await?;
    ensure!(run_out.modified_count == 3, "{run_out:?}");
    eventually(SETTLED, "the hold of what is whole has run out", async || {
        let over = doc! {"_id": "of-WHOLE", "state": "RELEASED"};
        Ok(of("reservations").count_documents(over).await? == 1)
    })
    .await?;
    ensure!(shop.shown("WHOLE").await?["available"] == 5);
    let stay = doc! {"_id": {"$in": ["unreadable", "of-BROKEN", "of-FEWER"]}, "state": "HELD"};
    ensure!(
        of("reservations").count_documents(stay).await? == 3,
        "they were ended"
    );
    set(&broken, "sold", 0).await?;
    set(&fewer, "reserved", 2).await?;
    for order in ["of-BROKEN", "of-FEWER"] {
        by_hand(&world, "release", json!({"orderId": order}))
            .await?
            .expect(200)?;
    }
    of("reservations").delete_one(doc! {"_id": "unreadable"}).await?;
    world.check_conservation().await
}

/// Whoever takes an order's id for a hold by hand gets no units of the order, and none of his own are taken from him by its end.
#[tokio::test]
async fn an_order_whose_id_was_taken_by_hand_fails_and_leaves_the_hold_alone() -> Result<()> {
    fails_and_leaves_the_hold_alone(Confirmation::Automatic).await?;
    fails_and_leaves_the_hold_alone(Confirmation::Payment).await
}

async fn fails_and_leaves_the_hold_alone(confirmation: Confirmation) -> Result<()> {
    let world = World::start_with(confirmation).await?;
    let shop = &world.shop;
    shop.product("TAKEN", 5, None).await?;
    let id = OrderId::derive(&UserId::new("ada"), "k");
    let hold = json!({"orderId": id.as_str(), "items": [{"sku": "TAKEN", "quantity": 2}]});
    by_hand(&world, "reserve", hold).await?.expect(200)?;
    let placed = shop.order("ada", "k", "TAKEN", 1).await?;
    ensure!(
        placed.expect(201)?.json["order"]["_id"] == id.as_str(),
        "{}",
        placed.text
    );
    eventually(SETTLED, "the order has failed", async || {
        let failed = doc! {"_id": id.as_str(), "status": "FAILED", "inventoryStatus": "REJECTED"};
        Ok(world.count_orders(failed).await? == 1)
    })
    .await?;
    let ada = shop.token("ada", Role::Buyer)?;
    let path = format!("/api/orders/{id}");
    let read = shop.send(Method::GET, &path, Some(&ada), None).await?;
    ensure!(
        read.expect(200)?.json["reason"] == "unprocessable",
        "{}",
        read.text
    );
    all_is_handled(&world).await?;
    let product = shop.shown("TAKEN").await?;
    ensure!(product["reserved"] == 2 && product["sold"] == 0, "{product}");
    let which = json!({"orderId": id.as_str()});
    let released = by_hand(&world, "release", which).await?;
    ensure!(
        released.expect(200)?.json["state"] == "RELEASED",
        "{}",
        released.text
    );
    eventually(SETTLED, "all of it is for sale", async || {
        Ok(shop.order(&somebody(), "k", "TAKEN", 5).await?.status == 201)
    })
    .await?;
    world.check_conservation().await
}

#[tokio::test]
async fn two_lines_of_one_product_are_held_together_or_not_at_all() -> Result<()> {
    let world = World::start().await?;
    let shop = &world.shop;
    shop.product("LINES", 30, None).await?;
    let hold = |one: u32, other: u32| {
        let lines = json!([{"sku": "LINES", "quantity": one}, {"sku": "LINES", "quantity": other}]);
        json!({"orderId": format!("{one}-and-{other}"), "items": lines})
    };
    by_hand(&world, "reserve", hold(20, 20))
        .await?
        .expect_problem(409, "units_held")?;
    let product = shop.shown("LINES").await?;
    ensure!(
        product["reserved"] == 0 && product["available"] == 30,
        "{product}"
    );
    let reservations = world.database.collection::<Document>("reservations");
    ensure!(reservations.count_documents(doc! {}).await? == 0);
    by_hand(&world, "reserve", hold(20, 10)).await?.expect(200)?;
    let product = shop.shown("LINES").await?;
    ensure!(
        product["reserved"] == 30 && product["available"] == 0,
        "{product}"
    );
    world.check_conservation().await?;
    by_hand(&world, "release", json!({"orderId": "20-and-10"}))
        .await?
        .expect(200)?;
    let product = shop.shown("LINES").await?;
    ensure!(
        product["reserved"] == 0 && product["available"] == 30,
        "{product}"
    );
    world.check_conservation().await
}
