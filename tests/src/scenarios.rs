//! What must go the same way wherever a sale runs: as processes on loopback, or as pods behind an ingress.

use crate::{
    shop::{Shop, next_update},
    world::eventually,
};
use anyhow::{Context, Result, ensure};
use futures::future::join_all;
use platform::tokens::Role;
use reqwest::Method;
use serde_json::{Value, json};
use std::{cell::RefCell, sync::Arc, time::Duration};

/// How long the books may take to close.
pub const SETTLED: Duration = Duration::from_secs(30);

/// Somebody who can log in.
#[derive(Debug, Clone)]
pub struct Login {
    /// Address.
    pub email: String,
    /// Password.
    pub password: String,
}

/// One buyer's way from the registration to the unit: register, a product at 799.99, an order under the key
/// `order-001`, CONFIRMED / RESERVED, and the message on the WebSocket. Returns the buyer's token and the order's id.
pub async fn seed_flow(shop: &Shop, admin: &Login, sku: &str) -> Result<(String, String)> {
    let buyer = json!({
        "email": format!("{}@example.com", uuid::Uuid::new_v4().simple()),
        "password": "correct horse battery", "firstName": "Ada", "lastName": "Lovelace",
    });
    let registered = shop
        .send(Method::POST, "/api/auth/register", None, Some(buyer))
        .await?;
    registered.expect(201)?;
    let token = text(&registered.json["accessToken"])?;
    let login = json!({"email": admin.email, "password": admin.password});
    let login = shop
        .send(Method::POST, "/api/auth/login", None, Some(login))
        .await?;
    let admin = text(&login.expect(200)?.json["accessToken"])?;

    let product =
        json!({"sku": sku, "name": "Flash Sale Laptop", "price": 799.99, "originalPrice": 1300, "stock": 50});
    let create = async |token: &str| {
        let path = "/api/inventory/products";
        shop.send(Method::POST, path, Some(token), Some(product.clone()))
            .await
    };
    create(&token).await?.expect_problem(403, "forbidden")?;
    let created = create(&admin).await?;
    created.expect(201)?;
    ensure!(
        created.text.contains("\"price\":799.99") && created.text.contains("\"originalPrice\":1300.00"),
        "{}",
        created.text
    );
    create(&admin).await?.expect_problem(409, "sku_taken")?;

    let mut socket = shop.socket(&token).await?;
    let items = json!([{"productId": created.json["product"]["_id"], "quantity": 1}]);
    let placed = shop.place_patiently(&token, "order-001", items).await?;
    placed.expect(201)?;
    ensure!(placed.json["order"]["status"] == "PENDING", "{}", placed.text);
    ensure!(placed.text.contains("\"totalAmount\":799.99"), "{}", placed.text);
    let id = text(&placed.json["order"]["_id"])?;

    let update = next_update(&mut socket).await?;
    ensure!(
        update["type"] == "order.update"
            && update["data"]["orderId"] == json!(id)
            && update["data"]["status"] == "CONFIRMED"
            && update["data"]["message"].is_string(),
        "{update}"
    );
    let read = shop
        .send(Method::GET, &format!("/api/orders/{id}"), Some(&token), None)
        .await?;
    ensure!(
        read.json["status"] == "CONFIRMED" && read.json["inventoryStatus"] == "RESERVED",
        "{}",
        read.text
    );
    let stranger = shop.token("stranger", Role::Buyer)?;
    shop.send(Method::GET, &format!("/api/orders/{id}"), Some(&stranger), None)
        .await?
        .expect_problem(404, "not_found")?;
    eventually(SETTLED, "the unit is sold", async || {
        let product = shop.shown(sku).await?;
        Ok(product["sold"] == 1 && product["reserved"] == 0 && product["available"] == 49)
    })
    .await?;
    Ok((token, id))
}

fn text(value: &Value) -> Result<String> {
    Ok(value
        .as_str()
        .context("no text where one was expected")?
        .to_owned())
}

/// 300 buyers at once, one unit each, while `meanwhile` happens; a buyer whose request fails tries again with the
/// same key, as the API asks for, and one who hears that there is nothing left goes away. Then every accepted order
/// comes to an end, exactly `stock` of them well, and the books close.
pub async fn crowd(
    shop: &Arc<Shop>,
    sku: &str,
    stock: usize,
    meanwhile: impl Future<Output = Result<()>>,
) -> Result<()> {
    let running: Vec<_> = (0..300)
        .map(|n| {
            let (shop, sku) = (Arc::clone(shop), sku.to_owned());
            tokio::spawn(async move { buy(&shop, &sku, stock, n).await })
        })
        .collect();
    meanwhile.await?;
    let mut orders = Vec::new();
    for buyer in join_all(running).await {
        orders.extend(buyer??);
    }
    let mut confirmed = 0;
    for id in &orders {
        let last = end_of(shop, id).await?;
        ensure!(last == "CONFIRMED" || last == "FAILED", "order {id} is {last}");
        confirmed += usize::from(last == "CONFIRMED");
    }
    ensure!(
        confirmed == stock,
        "{confirmed} of {} accepted orders are confirmed, and {stock} units were for sale",
        orders.len()
    );
    eventually(SETTLED, "all units are sold and none is held", async || {
        let product = shop.shown(sku).await?;
        Ok(product["sold"] == json!(stock) && product["reserved"] == 0)
    })
    .await
}

/// Waits until an order has come to an end, and returns its status.
async fn end_of(shop: &Shop, id: &str) -> Result<String> {
    let path = format!("/api/orders/{id}");
    let end = RefCell::new(None);
    eventually(SETTLED, &format!("order {id} has come to an end"), async || {
        let token = shop.observer()?;
        let answer = shop.send(Method::GET, &path, Some(&token), None).await?;
        let status = text(&answer.expect(200)?.json["status"])?;
        *end.borrow_mut() = Some(status).filter(|status| status != "PENDING");
        Ok(end.borrow().is_some())
    })
    .await?;
    end.into_inner().context("it has ended")
}

/// Tries to buy one unit; returns the order if it was accepted, and nothing if it was refused for good: sold out, or
/// the sale is over. A sale without a closing time ends once it is sold out, and not before, so a buyer whose earlier
/// tries got no answer may come too late for `sold_out`; that all units are sold by then is looked up.
async fn buy(shop: &Shop, sku: &str, stock: usize, n: usize) -> Result<Option<String>> {
    let user = format!("{sku}-buyer-{n}");
    for _ in 0..60 {
        let Ok(answer) = shop.order(&user, &format!("{sku}-{n}"), sku, 1).await else {
            tokio::time::sleep(Duration::from_millis(500)).await;
            continue;
        };
        match answer.status {
            201 => return Ok(Some(text(&answer.json["order"]["_id"])?)),
            409 if answer.json["code"] == "sale_closed" => {
                answer.expect_problem(409, "sale_closed")?;
                // Without an answer the buyer asks again, and looks again.
                if let Ok(product) = shop.shown(sku).await {
                    ensure!(
                        product["sold"] == json!(stock),
                        "buyer {n} heard that the sale is over, and of {stock} units the shop shows {product}"
                    );
                    return Ok(None);
                }
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            409 if answer.json["code"] == "units_held" => {
                answer.expect_problem(409, "units_held")?;
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            409 => {
                answer.expect_problem(409, "sold_out")?;
                return Ok(None);
            }
            // Ten tries a minute for each buyer.
            429 => tokio::time::sleep(Duration::from_secs(5)).await,
            // What an ingress says while no gateway is there, or when one dies in the middle of a request: a page of its
            // own, where the shop would send a problem document.
            404 | 500 | 502 | 504 if answer.json.is_null() => {
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            503 => tokio::time::sleep(Duration::from_secs(answer.retry_after().unwrap_or(1))).await,
            _ => anyhow::bail!("buyer {n} got {}: {}", answer.status, answer.text),
        }
    }
    anyhow::bail!("buyer {n} was neither accepted nor refused in 60 tries")
}
