//! What the pages do when lines fail, tabs compete, and answers never come.

use super::{
    line::Line,
    page::{click, log_in, shows, with_browser},
    storefront::{buy, register},
};
use anyhow::{Context, Result, ensure};
use fantoccini::Client;
use mongodb::bson::doc;
use quicksale_tests::{
    console::{Console, Switches},
    scenarios::SETTLED,
    world::{World, eventually},
};
use serde_json::{Value, json};

/// What the page keeps of its session.
const SESSION: &str = "return JSON.parse(localStorage.getItem('quicksale.session'))";
/// As if the access token were old: it is exchanged before it is used again.
const AGE: &str = "const held = JSON.parse(localStorage.getItem('quicksale.session'));
    held.expiresAt = Date.now() - 1;
    localStorage.setItem('quicksale.session', JSON.stringify(held))";

/// Buys a product at a moment.
const CLICK_AT: &str = "const [sku, at] = arguments;
    setTimeout(() => document.querySelector(`.product[data-sku=\"${sku}\"] button`).click(), at - Date.now())";

/// A sale of laptops and phones, and a line to it.
async fn sale_behind_a_line() -> Result<(World, Line)> {
    let world = World::start().await?;
    for sku in ["LAPTOP", "PHONE"] {
        world.shop.product(sku, 9, None).await?;
    }
    let line = line_to(&world.url_of("gateway", "")).await?;
    Ok((world, line))
}

async fn line_to(url: &str) -> Result<Line> {
    let addresses = url.parse::<url::Url>()?.socket_addrs(|| None)?;
    Line::to(*addresses.first().context("no address")?).await
}

/// A buyer who is logged in, by way of a line.
async fn enter(page: &Client, line: &Line) -> Result<()> {
    page.goto(&line.url("/")).await?;
    register(page).await
}

async fn orders_on(page: &Client, status: &str) -> Result<u64> {
    let count = format!("return document.querySelectorAll('.order[data-status={status}]').length");
    page.execute(&count, vec![]).await?.as_u64().context("no number")
}

async fn confirmed(world: &World, page: &Client, orders: u64) -> Result<()> {
    eventually(SETTLED, &format!("the page shows {orders} orders"), async || {
        Ok(orders_on(page, "CONFIRMED").await? == orders)
    })
    .await?;
    ensure!(
        world.count_orders(doc! {}).await? == orders,
        "not as many orders as the page shows"
    );
    Ok(())
}

/// What happened in the meantime is on the page when the network is back, without a reload; and what was clicked meanwhile is ordered
/// then, once.
#[tokio::test]
async fn a_page_that_lost_the_network_catches_up_by_itself() -> Result<()> {
    let (world, line) = sale_behind_a_line().await?;
    with_browser(async |page| {
        enter(page, &line).await?;
        buy(page, "LAPTOP").await?;
        confirmed(&world, page, 1).await?;
        line.cut();
        shows(page, "#connection:not([hidden])").await?;
        let session: Value = page.execute(SESSION, vec![]).await?;
        let token = session["accessToken"].as_str().context("no token")?;
        // From another device.
        let items = json!([{"sku": "LAPTOP", "quantity": 1}]);
        world.shop.place(token, "elsewhere", items).await?.expect(201)?;
        buy(page, "PHONE").await?;
        shows(page, r#".product[data-sku="PHONE"] [data-phase="again"]"#).await?;
        line.mend();
        confirmed(&world, page, 3).await?;
        shows(page, "#connection[hidden]").await
    })
    .await?;
    world.check_conservation().await
}

/// The shop has taken an order, and the buyer never heard of it. Neither sending it again nor a reload makes another one.
#[tokio::test]
async fn an_order_whose_answer_was_lost_is_found_again_and_not_made_twice() -> Result<()> {
    let (world, line) = sale_behind_a_line().await?;
    with_browser(async |page| {
        enter(page, &line).await?;
        for (sku, orders) in [("LAPTOP", 1), ("PHONE", 2)] {
            shows(page, &format!(r#".product[data-sku="{sku}"]"#)).await?;
            line.deafen();
            // Not with the pointer: the page may say at this moment that it has no connection, and the button moves away under it.
            page.execute(CLICK_AT, vec![json!(sku), json!(0)]).await?;
            eventually(SETTLED, "the shop has taken it", async || {
                Ok(world.count_orders(doc! {}).await? == orders)
            })
            .await?;
            ensure!(
                orders_on(page, "CONFIRMED").await? < orders,
                "the answer was not lost"
            );
            line.mend();
            if sku == "PHONE" {
                page.refresh().await?;
            }
            confirmed(&world, page, orders).await?;
        }
        Ok(())
    })
    .await?;
    world.check_conservation().await
}

/// Two windows are one buyer: one exchanges the token for both, each sees what the other does, and one logs out for both.
#[tokio::test]
async fn two_windows_share_a_session_and_an_order() -> Result<()> {
    let (world, line) = sale_behind_a_line().await?;
    with_browser(async |page| {
        enter(page, &line).await?;
        let first = page.window().await?;
        let second = page.new_window(false).await?.handle;
        page.switch_to_window(second.clone()).await?;
        page.goto(&line.url("/")).await?;
        shows(page, "#logged-in:not([hidden])").await?;
        // At the same moment both find that the token is old; what one has got for it takes longer than the other has to wait.
        line.slow_down("POST /api/auth/refresh ");
        page.execute(AGE, vec![]).await?;
        let at = page
            .execute("return Math.ceil(Date.now() / 1_000) * 1_000 + 2_000", vec![])
            .await?;
        for (window, sku) in [(&first, "PHONE"), (&second, "LAPTOP")] {
            page.switch_to_window(window.clone()).await?;
            page.execute(CLICK_AT, vec![sku.into(), at.clone()]).await?;
        }
        for window in [&second, &first] {
            page.switch_to_window(window.clone()).await?;
            confirmed(&world, page, 2).await?;
        }
        let exchanges = world.log_of("gateway")?;
        let exchanges = exchanges
            .lines()
            .filter(|line| line.contains("/api/auth/refresh"))
            .count();
        ensure!(exchanges == 1, "the token was exchanged {exchanges} times");
        click(page, "#logout").await?;
        page.switch_to_window(second).await?;
        shows(page, "#logged-in[hidden]").await
    })
    .await?;
    world.check_conservation().await
}

/// While a new version is rolled out, a page may get parts of both, which do not fit. It begins anew until they do; one that never gets whole
/// says so.
#[tokio::test]
async fn a_page_whose_parts_do_not_fit_begins_anew() -> Result<()> {
    let (_world, line) = sale_behind_a_line().await?;
    with_browser(async |page| {
        line.miss("/assets/view/orders.js", 3);
        page.goto(&line.url("/")).await?;
        shows(page, r#".product[data-sku="LAPTOP"]"#).await?;
        ensure!(
            line.misses() == 0,
            "it was asked for {} times too few",
            line.misses()
        );
        line.miss("/assets/view/orders.js", 1_000);
        page.refresh().await?;
        shows(page, "#broken:not([hidden])").await?;
        line.miss("", 0);
        page.refresh().await?;
        shows(page, r#".product[data-sku="LAPTOP"]"#).await
    })
    .await
}

/// An administrator is told that what is on show is old, and sees the sale again when the network is back.
#[tokio::test]
async fn a_console_that_lost_the_network_says_so_and_goes_on() -> Result<()> {
    let world = World::start().await?;
    world.shop.product("LAPTOP", 9, None).await?;
    let console = Console::of(&world, Switches::Withhold).await?;
    let line = line_to(&console.url("")).await?;
    with_browser(async |page| {
        page.goto(&line.url("/")).await?;
        log_in(page).await?;
        let sale = format!(
            "#/sale/{}/{}",
            world.config.sale.namespace, world.config.sale.name
        );
        page.goto(&line.url(&format!("/{sale}"))).await?;
        shows(page, ".charts .plot").await?;
        // Something is known by now.
        shows(page, "main table td").await?;
        shows(page, "#stale[hidden]").await?;
        line.cut();
        shows(page, "#stale:not([hidden])").await?;
        // Nothing is taken away from whoever looks.
        shows(page, ".charts .plot").await?;
        line.mend();
        shows(page, "#stale[hidden]").await
    })
    .await
}
