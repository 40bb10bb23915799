//! The storefront in a real browser, from the first visit to the end of an order.

use super::page::{
    click, fits, is_at_home, is_for_everybody, press, shown, shows, watch_policy, with_browser,
};
use anyhow::{Result, ensure};
use fantoccini::Client;
use quicksale_tests::{
    scenarios::SETTLED,
    world::{World, eventually},
};
use sale::order::Confirmation;
use std::time::Duration;

/// How soon a page can be used, on a machine that does much else besides.
const USABLE: Duration = Duration::from_secs(10);

/// Clicks twice, as people do, and once more as soon as the order is there: both mean the first click. In the page, where no machine is too
/// busy for it to be at once.
const CLICKS_AGAIN: &str = r#"
    const buy = () => document.querySelector('.product[data-sku="LAPTOP"] button').click();
    buy();
    const looking = setInterval(() => {
        if (!document.querySelector(".order")) return;
        clearInterval(looking);
        buy();
        document.body.dataset.clicked = "again";
    }, 10);
"#;

/// Has the page hear nothing new of the sale.
const BELIEVES: &str = r"
    const ask = window.fetch;
    window.fetch = (address, ...rest) =>
        String(address?.url ?? address).includes('/api/sale') ? new Promise(() => {}) : ask(address, ...rest);
";

/// The whole way of a buyer, and what the page tells on it.
#[tokio::test]
async fn a_buyer_registers_buys_and_hears_how_it_ended() -> Result<()> {
    let world = World::start().await?;
    world.shop.product("LAPTOP", 3, None).await?;
    with_browser(async |page| {
        visit(&world, page).await?;
        shows(page, r#".product[data-sku="LAPTOP"] .left[data-left="3"]"#).await?;
        register(page).await?;
        watch_policy(page).await?;
        buy(page, "LAPTOP").await?;
        page.execute(CLICKS_AGAIN, vec![]).await?;
        shows(page, r#".order[data-status="CONFIRMED"]"#).await?;
        shows(page, "body[data-clicked]").await?;
        shows(page, r#".product[data-sku="LAPTOP"] .left[data-left="2"]"#).await?;
        shows(page, ".notification").await?;
        is_at_home(page).await?;
        is_for_everybody(page).await?;
        // It stays logged in, and knows the order.
        page.refresh().await?;
        shows(page, r#".order[data-status="CONFIRMED"]"#).await?;
        shows(page, "#logged-in:not([hidden])").await
    })
    .await?;
    ensure!(world.count_orders(mongodb::bson::doc! {}).await? == 1);
    world.check_conservation().await
}

/// Units are held for an order that waits for its payment, and the buyer gives them back.
#[tokio::test]
async fn a_buyer_sees_how_long_a_hold_lasts_and_cancels_it() -> Result<()> {
    let world = World::start_with(Confirmation::Payment).await?;
    world.shop.product("HELD", 1, None).await?;
    with_browser(async |page| {
        visit(&world, page).await?;
        register(page).await?;
        buy(page, "HELD").await?;
        shows(
            page,
            ".order .hold:not([hidden]) .hold-line:not([hidden]) .hold-countdown",
        )
        .await?;
        shows(page, r#".product[data-sku="HELD"] .left[data-left="0"]"#).await?;
        click(page, ".order .cancel").await?;
        click(page, "#cancel-yes").await?;
        shows(page, r#".order[data-status="CANCELLED"]"#).await?;
        shows(page, r#".product[data-sku="HELD"] .left[data-left="1"]"#).await
    })
    .await?;
    eventually(SETTLED, "nothing is held", async || {
        Ok(world.shop.shown("HELD").await?["reserved"] == 0)
    })
    .await
}

/// The last unit goes to somebody else, and the sale is halted and reopened, while a buyer looks on.
#[tokio::test]
async fn a_buyer_who_looks_on_sees_the_last_unit_go_and_the_sale_pause() -> Result<()> {
    let world = World::start().await?;
    for (sku, stock) in [("LAST", 1), ("OTHER", 5)] {
        world.shop.product(sku, stock, None).await?;
    }
    with_browser(async |page| {
        visit(&world, page).await?;
        register(page).await?;
        shows(page, r#".product[data-sku="LAST"] .left[data-left="1"]"#).await?;
        world.shop.order("ada", "k", "LAST", 1).await?.expect(201)?;
        shows(page, r#".product[data-sku="LAST"] .left[data-left="0"]"#).await?;
        says(
            page,
            r#".product[data-sku="LAST"] button[aria-disabled=true]"#,
            "None left",
        )
        .await?;
        world.control(|c| c.halted = true, &world.current_control()?)?;
        shows(page, r#"#sale[data-stage="paused"]"#).await?;
        says(
            page,
            r#".product[data-sku="OTHER"] button[aria-disabled=true]"#,
            "Paused",
        )
        .await?;
        is_for_everybody(page).await?;
        world.control(|c| c.halted = false, &world.current_control()?)?;
        shows(page, r#"#sale[data-stage="open"]"#).await?;
        buy(page, "OTHER").await?;
        shows(page, r#".order[data-status="CONFIRMED"]"#).await
    })
    .await?;
    world.check_conservation().await
}

/// A buyer who clicks before the page knows that the last unit has gone is told so.
#[tokio::test]
async fn a_click_that_comes_too_late_is_refused_with_a_sentence() -> Result<()> {
    let world = World::start().await?;
    world.shop.product("LAST", 1, None).await?;
    with_browser(async |page| {
        visit(&world, page).await?;
        register(page).await?;
        shows(page, r#".product[data-sku="LAST"] .left[data-left="1"]"#).await?;
        // What the page asks for about the sale comes no more: it goes on believing in the unit.
        page.execute(BELIEVES, vec![]).await?;
        world.shop.order("ada", "k", "LAST", 1).await?.expect(201)?;
        buy(page, "LAST").await?;
        shows(
            page,
            r#".product[data-sku="LAST"] .result[data-phase="refused"]:not([hidden])"#,
        )
        .await
    })
    .await?;
    ensure!(world.count_orders(mongodb::bson::doc! {}).await? == 1);
    world.check_conservation().await
}

/// A phone of the narrowest kind, and no pointer.
#[tokio::test]
async fn a_buyer_without_a_mouse_buys_on_a_narrow_phone() -> Result<()> {
    let world = World::start().await?;
    world.shop.product("SMALL", 3, None).await?;
    with_browser(async |page| {
        visit(&world, page).await?;
        shows(page, r#".product[data-sku="SMALL"]"#).await?;
        press(page, "#register-open").await?;
        for (field, text) in registration() {
            shown(page, field).await?.send_keys(&text).await?;
        }
        // Enter in a field sends the form.
        shown(page, "#register-password")
            .await?
            .send_keys("\u{e007}")
            .await?;
        shows(page, "#logged-in:not([hidden])").await?;
        fits(page, 320).await?;
        press(page, r#".product[data-sku="SMALL"] button"#).await?;
        shows(page, r#".order[data-status="CONFIRMED"]"#).await
    })
    .await
}

/// Waits until something says this.
async fn says(page: &Client, what: &str, words: &str) -> Result<()> {
    eventually(SETTLED, &format!("{what} says {words}"), async || {
        Ok(shown(page, what).await?.text().await? == words)
    })
    .await
}

async fn visit(world: &World, page: &Client) -> Result<()> {
    page.goto(&world.shop.url("/")).await?;
    let begun = tokio::time::Instant::now();
    shows(page, ".product").await?;
    ensure!(begun.elapsed() < USABLE, "the page took {:?}", begun.elapsed());
    Ok(())
}

fn registration() -> [(&'static str, String); 4] {
    let email = format!("{}@example.com", uuid::Uuid::new_v4().simple());
    [
        ("#register-first", "Grace".to_owned()),
        ("#register-last", "Hopper".to_owned()),
        ("#register-email", email),
        ("#register-password", "correct horse battery".to_owned()),
    ]
}

pub(super) async fn register(page: &Client) -> Result<()> {
    click(page, "#register-open").await?;
    for (field, text) in registration() {
        shown(page, field).await?.send_keys(&text).await?;
    }
    click(page, "#register-form [type=submit]").await?;
    shows(page, "#logged-in:not([hidden])").await
}

pub(super) async fn buy(page: &Client, sku: &str) -> Result<()> {
    click(
        page,
        &format!(r#".product[data-sku="{sku}"] button:not([aria-disabled=true])"#),
    )
    .await
}
