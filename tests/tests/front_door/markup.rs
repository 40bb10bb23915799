//! What people write stays text on every page, whatever it looks like.

use super::page::{log_in, shows, watch_policy, with_browser};
use anyhow::{Result, ensure};
use fantoccini::Client;
use platform::tokens::Role;
use quicksale_tests::{
    console::{Console, Switches},
    scenarios::SETTLED,
    world::{World, eventually},
};
use reqwest::Method;
use serde_json::{Value, json};

/// A product's name that would run a script where it became markup.
const NAME: &str = r#"<img src=x onerror="document.body.dataset.broken='yes'"><b>bold</b>"#;

/// Whether it ran, and whether any of it has become an element.
const MARKUP: &str = r#"
    const bold = [...document.querySelectorAll("b")].some(({textContent}) => textContent === "bold" || textContent === "key");
    return [document.body.dataset.broken ?? null, bold || document.querySelector("img[src=x]") !== null];
"#;

#[tokio::test]
async fn a_name_that_looks_like_markup_is_shown_as_it_is_written() -> Result<()> {
    let world = World::start().await?;
    let admin = world.shop.token("the-shop", Role::Admin)?;
    let product =
        json!({"sku": "ODD", "name": NAME, "description": NAME, "category": NAME, "price": 5, "stock": 3});
    let made = world
        .shop
        .send(
            Method::POST,
            "/api/inventory/products",
            Some(&admin),
            Some(product),
        )
        .await?;
    made.expect(201)?;
    // Somebody's key is shown in the console as well.
    let token = world.shop.token("ada", Role::Buyer)?;
    let placed = world
        .shop
        .place(&token, "<b>key</b>", json!([{"sku": "ODD", "quantity": 1}]))
        .await?;
    let order = placed.expect(201)?.json["order"]["_id"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    let console = Console::of(&world, Switches::Withhold).await?;
    with_browser(async |page| {
        page.goto(&world.shop.url("/")).await?;
        shows(page, r#".product[data-sku="ODD"]"#).await?;
        is_text(page, NAME).await?;
        page.goto(&console.url("/")).await?;
        watch_policy(page).await?;
        log_in(page).await?;
        shows(page, "main table td").await?;
        let sale = format!(
            "#/sale/{}/{}",
            world.config.sale.namespace, world.config.sale.name
        );
        page.goto(&console.url(&format!("/{sale}/overview"))).await?;
        is_text(page, NAME).await?;
        page.goto(&console.url(&format!("/{sale}/orders/{order}")))
            .await?;
        is_text(page, "<b>key</b>").await
    })
    .await
}

async fn is_text(page: &Client, text: &str) -> Result<()> {
    eventually(SETTLED, "what was written is shown", async || {
        let shown: Value = page.execute("return document.body.innerText", vec![]).await?;
        Ok(shown.as_str().is_some_and(|shown| shown.contains(text)))
    })
    .await?;
    let markup: Value = page.execute(MARKUP, vec![]).await?;
    ensure!(markup == json!([null, false]), "{markup}");
    Ok(())
}
