//! Prices: read and written digit by digit, and never as another number.

use anyhow::{Context, Result, ensure};
use mongodb::bson::doc;
use platform::tokens::Role;
use quicksale_tests::{
    scenarios::SETTLED,
    shop::Answer,
    world::{World, eventually},
};
use reqwest::Method;
use serde_json::Value;

const PRODUCTS: &str = "/api/inventory/products";

/// Asks for something with a body as it is written here.
async fn ask(world: &World, method: Method, path: &str, body: &str) -> Result<Answer> {
    let shop = &world.shop;
    let request = shop
        .http
        .request(method, shop.url(path))
        .bearer_auth(shop.token("an-admin", Role::Admin)?)
        .header("content-type", "application/json")
        .body(body.to_owned());
    Answer::of(request.send().await?).await
}

/// Also one that a number of a computer would take for 67.20, and one whose last digit is zero: a price has as many digits as its
/// currency, and whoever writes more is asked to round.
#[tokio::test]
async fn a_price_with_more_digits_than_its_currency_is_refused_and_named() -> Result<()> {
    let world = World::start().await?;
    let shop = &world.shop;
    let product = shop.product("GOOD", 5, None).await?;
    let path = format!("{PRODUCTS}/{product}");
    for price in [
        "67.2000000000000028421709430404007434844970703125",
        "799.990",
        "799.9900000000001",
        "1e3",
        "-0.01",
        "99999999999",
    ] {
        let new = format!(r#"{{"sku":"ODD","name":"Odd","price":{price},"stock":5}}"#);
        let edit = format!(r#"{{"version":1,"price":{price}}}"#);
        for (method, path, body) in [
            (Method::POST, PRODUCTS, &new),
            (Method::PATCH, path.as_str(), &edit),
        ] {
            let refused = ask(&world, method, path, body).await?;
            refused
                .expect_problem(400, "invalid_request")
                .with_context(|| body.clone())?;
            ensure!(
                refused.json["errors"][0]["field"] == "price",
                "{body}: {}",
                refused.text
            );
        }
    }
    ensure!(shop.shown("ODD").await.is_err(), "it was created");
    let shown = shop.send(Method::GET, &path, None, None).await?;
    ensure!(
        shown.expect(200)?.text.contains("\"price\":799.99,") && shown.json["version"] == 1,
        "{}",
        shown.text
    );
    let rounded = r#"{"sku":"ODD","name":"Odd","price":67.20,"stock":5}"#;
    let created = ask(&world, Method::POST, PRODUCTS, rounded).await?;
    ensure!(
        created.expect(201)?.text.contains("\"price\":67.20,"),
        "{}",
        created.text
    );
    Ok(())
}

/// As a number of a computer it would be 0.30000000000000004.
#[tokio::test]
async fn three_units_at_ten_cents_are_thirty_cents() -> Result<()> {
    let world = World::start().await?;
    let shop = &world.shop;
    let new = r#"{"sku":"CENTS","name":"Cents","price":0.10,"stock":5}"#;
    let created = ask(&world, Method::POST, PRODUCTS, new).await?;
    ensure!(
        created.expect(201)?.text.contains("\"price\":0.10,"),
        "{}",
        created.text
    );
    let placed = shop.order("ada", "k", "CENTS", 3).await?;
    ensure!(
        placed.expect(201)?.text.contains("\"totalAmount\":0.30,"),
        "{}",
        placed.text
    );
    let id = placed.json["order"]["_id"].as_str().context("no _id")?;
    eventually(SETTLED, "the order is confirmed", async || {
        Ok(world
            .count_orders(doc! {"_id": id, "status": "CONFIRMED"})
            .await?
            == 1)
    })
    .await?;
    let ada = shop.token("ada", Role::Buyer)?;
    let path = format!("/api/orders/{id}");
    let read = shop.send(Method::GET, &path, Some(&ada), None).await?;
    ensure!(
        read.expect(200)?.text.contains("\"totalAmount\":0.30,"),
        "{}",
        read.text
    );
    Ok(())
}

/// Null takes it away, and what is left out stays.
#[tokio::test]
async fn a_price_from_before_the_sale_can_be_taken_away() -> Result<()> {
    let world = World::start().await?;
    let new = r#"{"sku":"STRUCK","name":"Struck","price":799.99,"originalPrice":1300,"stock":5,"limitPerCustomer":2}"#;
    let created = ask(&world, Method::POST, PRODUCTS, new).await?;
    let id = created.expect(201)?.json["product"]["_id"].as_str();
    let path = format!("{PRODUCTS}/{}", id.context("no _id")?);
    for (edit, original) in [
        (
            r#"{"version":1,"name":"Still struck"}"#,
            "\"originalPrice\":1300.00",
        ),
        (r#"{"version":2,"originalPrice":null}"#, "\"originalPrice\":null"),
        (r#"{"version":3,"name":"Plain"}"#, "\"originalPrice\":null"),
        (
            r#"{"version":4,"originalPrice":1299.5}"#,
            "\"originalPrice\":1299.50",
        ),
    ] {
        let edited = ask(&world, Method::PATCH, &path, edit).await?;
        edited.expect(200).with_context(|| edit.to_owned())?;
        let shown = world.shop.send(Method::GET, &path, None, None).await?;
        for answer in [&edited, &shown] {
            ensure!(answer.text.contains(original), "{edit}: {}", answer.text);
        }
        let limit: &Value = &shown.expect(200)?.json["limitPerCustomer"];
        ensure!(*limit == 2, "{edit}: {}", shown.text);
        ensure!(shown.text.contains("\"price\":799.99,"), "{edit}: {}", shown.text);
    }
    Ok(())
}
