//! The sample sale in a real browser: the documentation page, and a buyer's way with the browser's own fetch and
//! WebSocket.

use super::{
    chromium::{Browser, SHOWN},
    sale::{OpenSale, admin, ingress_port},
};
use anyhow::{Context, Result, ensure};
use fantoccini::{Client, Locator};
use quicksale_tests::world::eventually;
use reqwest::Method;
use serde_json::{Value, json};

/// A buyer's script: register, listen, order, and hand back the first order.update and the order.
const BUYER: &str = r"
const [sku, email, done] = arguments;
const json = {'content-type': 'application/json'};
(async () => {
  const registered = await fetch('/api/auth/register', {method: 'POST', headers: json, body: JSON.stringify(
    {email, password: 'correct horse battery', firstName: 'Grace', lastName: 'Hopper'})});
  const {accessToken} = await registered.json();
  const socket = new WebSocket(`ws://${location.host}/ws?token=${accessToken}`);
  const update = new Promise((resolve, reject) => {
    socket.onmessage = message => {
      const frame = JSON.parse(message.data);
      if (frame.type === 'order.update') resolve(frame);
    };
    socket.onerror = () => reject(new Error('the WebSocket failed'));
  });
  await new Promise(resolve => { socket.onopen = resolve; });
  const placed = await fetch('/api/orders', {method: 'POST',
    headers: {...json, authorization: `Bearer ${accessToken}`, 'idempotency-key': 'order-001'},
    body: JSON.stringify({items: [{sku, quantity: 1}]})});
  return {status: placed.status, placed: await placed.json(), update: await update};
})().then(done, error => done({error: String(error)}));
";

#[tokio::test]
async fn a_buyer_in_a_browser() -> Result<()> {
    let sale = OpenSale::sample().await?;
    let admin = admin(&sale.cluster).await?;
    let login = json!({"email": admin.email, "password": admin.password});
    let login = sale
        .shop
        .send(Method::POST, "/api/auth/login", None, Some(login))
        .await?;
    let token = login.expect(200)?.json["accessToken"]
        .as_str()
        .context("no token")?
        .to_owned();
    let sku = format!("SEEN-{}", &uuid::Uuid::new_v4().simple().to_string()[..8]);
    let product = json!({"sku": sku, "name": "Seen in a browser", "price": 5, "stock": 3});
    let created = sale
        .shop
        .send(
            Method::POST,
            "/api/inventory/products",
            Some(&token),
            Some(product),
        )
        .await?;
    created.expect(201)?;

    let browser = Browser::open().await?;
    let seen = look(&browser.page, &sku).await;
    browser.close().await?;
    seen
}

async fn look(page: &Client, sku: &str) -> Result<()> {
    let shop = format!("http://laptops.localhost:{}", ingress_port()?);
    page.goto(&format!("{shop}/docs/")).await?;
    eventually(SHOWN, "the documentation shows the routes", async || {
        let routes = page.find_all(Locator::Css(".opblock")).await?;
        Ok(routes.len() > 10)
    })
    .await?;
    let email = format!("{}@example.com", sku.to_lowercase());
    let bought: Value = page.execute_async(BUYER, vec![json!(sku), json!(email)]).await?;
    ensure!(bought["status"] == 201, "{bought}");
    ensure!(bought["placed"]["order"]["status"] == "PENDING", "{bought}");
    ensure!(bought["update"]["type"] == "order.update", "{bought}");
    ensure!(bought["update"]["data"]["status"] == "CONFIRMED", "{bought}");
    ensure!(
        bought["update"]["data"]["orderId"] == bought["placed"]["order"]["_id"],
        "{bought}"
    );
    Ok(())
}
