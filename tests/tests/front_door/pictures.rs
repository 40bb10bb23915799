//! Takes the pictures of the pages that the documentation shows: `make screenshots`.

use super::page::{click, log_in, on_screen, press, shown, shows, with_browser};
use anyhow::{Context, Result};
use fantoccini::{Client, Locator};
use platform::tokens::Role;
use quicksale_tests::{
    console::{Console, Switches},
    scenarios::SETTLED,
    world::{World, eventually},
};
use reqwest::Method;
use serde_json::json;
use std::{path::PathBuf, time::Duration};

/// Where they go.
const DIRECTORY: &str = "QUICKSALE_SCREENSHOTS";
/// Buyers who come while the charts are watched.
const BUYERS: u32 = 600;
/// Pixels of the pictures.
const WIDTH: u32 = 1_200;
/// From one to the next.
const PAUSE: Duration = Duration::from_millis(250);

async fn take(page: &Client, name: &str) -> Result<()> {
    let directory =
        std::env::var(DIRECTORY).context("QUICKSALE_SCREENSHOTS must name a directory: make screenshots")?;
    // What was announced is gone after a while.
    shows(page, "#announcements:empty").await?;
    let picture = page.screenshot().await?;
    Ok(std::fs::write(
        PathBuf::from(directory).join(format!("{name}.png")),
        picture,
    )?)
}

async fn stock(world: &World) -> Result<()> {
    let admin = world.shop.token("the-shop", Role::Admin)?;
    for (sku, name, price, was, units) in [
        ("FLASH-LAPTOP-001", "Flash Sale Laptop", 799.99, 1_299.99, 250),
        ("FLASH-PHONE-002", "Flash Sale Phone", 349.0, 599.0, 150),
        ("FLASH-HEADPHONES-003", "Flash Sale Headphones", 59.9, 129.0, 90),
    ] {
        let product = json!({"sku": sku, "name": name, "description": "Limited time offer", "category": "Electronics",
            "price": price, "originalPrice": was, "stock": units});
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
    }
    Ok(())
}

#[tokio::test]
#[ignore = "takes pictures and checks nothing: make screenshots"]
async fn of_the_storefront_and_the_console() -> Result<()> {
    let world = World::start().await?;
    stock(&world).await?;
    let console = Console::of(&world, Switches::Allow).await?;
    with_browser(async |page| {
        on_screen(page, WIDTH, 900).await?;
        storefront(&world, page).await?;
        sell(&world).await?;
        look(&world, &console, page).await
    })
    .await
}

async fn storefront(world: &World, page: &Client) -> Result<()> {
    page.goto(&world.shop.url("/")).await?;
    click(page, "#register-open").await?;
    for (field, text) in [
        ("#register-first", "Grace"),
        ("#register-last", "Hopper"),
        ("#register-email", "grace@example.com"),
        ("#register-password", "correct horse battery"),
    ] {
        shown(page, field).await?.send_keys(text).await?;
    }
    click(page, "#register-form [type=submit]").await?;
    click(
        page,
        r#".product[data-sku="FLASH-LAPTOP-001"] button:not([aria-disabled=true])"#,
    )
    .await?;
    shows(page, r#".order[data-status="CONFIRMED"]"#).await?;
    page.execute("window.scrollTo(0, 0); document.activeElement.blur()", vec![])
        .await?;
    take(page, "storefront").await
}

/// A crowd for the charts: more than there are headphones.
async fn sell(world: &World) -> Result<()> {
    for buyer in 0..BUYERS {
        let sku = ["FLASH-LAPTOP-001", "FLASH-PHONE-002", "FLASH-HEADPHONES-003"][buyer as usize % 3];
        world
            .shop
            .order(&format!("buyer-{buyer}"), "the-key", sku, 1)
            .await?;
        tokio::time::sleep(PAUSE).await;
    }
    Ok(())
}

async fn look(world: &World, console: &Console, page: &Client) -> Result<()> {
    let sale = format!(
        "#/sale/{}/{}",
        world.config.sale.namespace, world.config.sale.name
    );
    page.goto(&console.url("/")).await?;
    log_in(page).await?;
    shows(page, "main table td").await?;
    take(page, "console-sales").await?;
    page.goto(&console.url(&format!("/{sale}/overview"))).await?;
    shows(page, ".charts .plot").await?;
    on_screen(page, WIDTH, 1_800).await?;
    take(page, "console-sale").await?;
    page.goto(&console.url(&format!("/{sale}/orders"))).await?;
    press(page, "main td a, main th a").await?;
    let look = "//main//button[normalize-space()='Look for its messages in the topics']";
    let look = page.wait().for_element(Locator::XPath(look)).await?;
    look.send_keys("\u{e007}").await?;
    eventually(SETTLED, "its messages are found", async || {
        Ok(page.find_all(Locator::Css(".messages .message")).await?.len() >= 3)
    })
    .await?;
    take(page, "console-order").await?;
    page.goto(&console.url(&format!("/{sale}/lanes"))).await?;
    shows(page, "main table td").await?;
    take(page, "console-lanes").await
}
