//! The console in a real browser: from the login to the messages of an order, and the switches, without a mouse.

use super::{
    chromium::SHOWN,
    page::{
        ENTER, fits, is_at_home, is_for_everybody, log_in, press, shown, shows, watch_policy, with_browser,
    },
};
use anyhow::{Context, Result, ensure};
use events::Topic;
use fantoccini::{Client, Locator, elements::Element};
use mongodb::bson::{Document, doc};
use quicksale_tests::{
    console::{Console, Switches},
    records::produce,
    scenarios::SETTLED,
    world::{World, eventually},
};
use serde_json::{Value, json};

/// The narrowest phone.
const NARROW: u32 = 320;
/// A window on a desk.
const WIDE: u32 = 1_280;

/// Somebody who has only a keyboard logs in, looks at a sale, finds an order's messages, halts the sale and reopens it.
#[tokio::test]
async fn an_administrator_without_a_mouse_finds_an_order_and_halts_the_sale() -> Result<()> {
    let world = World::start().await?;
    world.shop.product("LAPTOP", 5, None).await?;
    let console = Console::of(&world, Switches::Allow).await?;
    let placed = world.shop.order("ada", "k", "LAPTOP", 2).await?;
    let order = placed.expect(201)?.json["order"]["_id"]
        .as_str()
        .context("no id")?
        .to_owned();
    eventually(SETTLED, "it is sold", async || {
        Ok(world.shop.shown("LAPTOP").await?["sold"] == 2)
    })
    .await?;
    with_browser(async |page| {
        page.set_window_size(WIDE, 900).await?;
        page.goto(&console.url("/")).await?;
        shows(page, "#login-dialog[open]").await?;
        is_for_everybody(page).await?;
        log_in(page).await?;
        watch_policy(page).await?;
        let name = &world.config.sale.name;
        let sale = format!("#/sale/{}/{name}", world.config.sale.namespace);
        look_around(page, &sale, &order).await?;
        switch(page, &world).await?;
        is_at_home(page).await?;
        // A reload comes back to the same place, and asks for no password.
        page.refresh().await?;
        shows(page, ".story").await?;
        let session = page.get_named_cookie("quicksale-console").await?;
        ensure!(session.http_only() == Some(true), "{session}");
        console.take_over(session.value()).await;
        console.get(&console.sale).await?.expect(200)?;
        press(page, "#logout").await?;
        shows(page, "#login-dialog[open]").await
    })
    .await?;
    // Whoever has kept the cookie does not get in with it any more.
    console
        .get(&console.sale)
        .await?
        .expect_problem(401, "unauthenticated")?;
    world.check_conservation().await
}

/// A message that nobody could read is sent once more, and comes back, since nobody has changed it.
#[tokio::test]
async fn an_administrator_replays_a_dead_letter_and_sees_that_it_was() -> Result<()> {
    let world = World::start().await?;
    let letters = world.database.collection::<Document>("dead_letters");
    produce(&world, Topic::OrderCreated, 0, None, Some(b"no message".to_vec())).await?;
    eventually(SETTLED, "it is a dead letter", async || {
        Ok(letters.count_documents(doc! {}).await? == 1)
    })
    .await?;
    let console = Console::of(&world, Switches::Allow).await?;
    with_browser(async |page| {
        page.goto(&console.url("/")).await?;
        log_in(page).await?;
        let (namespace, name) = (&world.config.sale.namespace, &world.config.sale.name);
        page.goto(&console.url(&format!("/#/sale/{namespace}/{name}/dead-letters")))
            .await?;
        press(page, r#".letters button[aria-label^="Replay"]"#).await?;
        shows(page, "dialog[open] .what p").await?;
        press(page, "dialog[open] button[type=submit]").await?;
        shows(page, "body:not(:has(dialog[open]))").await?;
        eventually(SETTLED, "the page tells that it was replayed", async || {
            let text: Value = page
                .execute(
                    "return document.querySelector('.letters')?.innerText ?? ''",
                    vec![],
                )
                .await?;
            Ok(text.as_str().is_some_and(|text| text.contains("Replayed by")))
        })
        .await?;
        is_for_everybody(page).await
    })
    .await?;
    let replayed = doc! {"deeds.0.what": "replayed"};
    ensure!(
        letters.count_documents(replayed).await? == 1,
        "nothing says that it was replayed"
    );
    eventually(SETTLED, "it has come back", async || {
        Ok(letters.count_documents(doc! {}).await? == 2)
    })
    .await
}

/// What the console answers of a sale that has ended. There is no operator here, so nobody has written a report.
const ENDED: &str = r"
    const [report] = arguments;
    const ask = window.fetch;
    window.fetch = async (path, options) => {
      if (path.endsWith('/report')) return new Response(JSON.stringify(report));
      const answer = await ask(path, options);
      if (!/^\/api\/sales\/[^/]+\/[^/]+$/.test(path)) return answer;
      return new Response(JSON.stringify({...(await answer.json()), report: 'laptops-report-1'}));
    };
";

/// A report with something in each part.
fn report() -> Value {
    let at = "2026-12-01T12:00:03Z";
    json!({
        "version": "quicksale.io/report/v1", "currency": "USD",
        "times": {"openedAt": at, "closedAt": at, "settledAt": at},
        "products": [{"sku": "LAPTOP", "stock": 50, "sold": 49, "reserved": 0, "available": 1}],
        "orders": {
            "accepted": 52, "byStatus": {"CONFIRMED": 49, "FAILED": 3}, "failedByReason": {"sold_out": 3}, "soldFor": "39199.51",
            "firstOrderAt": at, "lastOrderAt": at, "firstSaleAt": at, "lastSaleAt": at, "busiestSecond": at,
            "mostOrdersInASecond": 21, "unreadable": 1,
        },
        "refused": {"total": 250, "byCode": {"sold_out": 249, "customer_limit": 1}},
        "durations": {
            "acceptance": {"count": 52, "p50AtMostSeconds": 0.025, "p90AtMostSeconds": 0.1, "p99AtMostSeconds": null},
            "confirmation": null,
        },
        "faults": {
            "degraded": [{"from": at, "reason": "ReplicasMissing"}],
            "restarts": {"order": 1},
            "counters": {"quicksale_gate_corrections_total": 2},
        },
        "audit": {"result": "differs", "startedAt": at, "differences": ["<b>bold</b> is one unit short"]},
        "versions": {"operator": "0.1.0", "images": {"order": "registry.example/quicksale:0.1.0"}},
        "missing": ["the audit was still under way"],
    })
}

/// Whoever opens a sale that has ended finds its report, with all that is in it, and can take it along.
#[tokio::test]
async fn an_administrator_reads_the_report_of_a_sale_that_has_ended() -> Result<()> {
    let world = World::start().await?;
    let console = Console::of(&world, Switches::Withhold).await?;
    with_browser(async |page| {
        page.set_window_size(WIDE, 900).await?;
        page.goto(&console.url("/")).await?;
        log_in(page).await?;
        watch_policy(page).await?;
        let (namespace, name) = (&world.config.sale.namespace, &world.config.sale.name);
        let sale = format!("#/sale/{namespace}/{name}");
        press(page, &format!(r##"main a[href^="{sale}"]"##)).await?;
        shows(page, &format!(r##".tabs a[href="{sale}/report"][hidden]"##)).await?;
        page.execute(ENDED, vec![report()]).await?;
        shows(page, &format!(r##".facts a[href="{sale}/report"]"##)).await?;
        press(page, &format!(r##".tabs a[href="{sale}/report"]:not([hidden])"##)).await?;
        let path = format!("/api/sales/{namespace}/{name}/report");
        shows(page, &format!(r#"a[download][href="{path}"]"#)).await?;
        let text: Value = page
            .execute("return document.querySelector('main').innerText", vec![])
            .await?;
        let text = text.as_str().unwrap_or_default();
        for part in [
            "LAPTOP",
            "$39,199.51",
            "21 orders in the second of",
            "customer limit",
            "longer than is measured",
            "ReplicasMissing",
            "quicksale_gate_corrections_total",
            "The books differ.",
            "<b>bold</b> is one unit short",
            "registry.example/quicksale:0.1.0",
            "the audit was still under way",
        ] {
            ensure!(text.contains(part), "{part} is not in: {text}");
        }
        is_for_everybody(page).await?;
        fits(page, NARROW).await?;
        is_at_home(page).await
    })
    .await
}

/// Every view, in a wide window and on a phone.
async fn look_around(page: &Client, sale: &str, order: &str) -> Result<()> {
    press(page, &format!(r##"main a[href^="{sale}"]"##)).await?;
    shows(page, ".charts .plot").await?;
    shows(page, "table td").await?;
    is_for_everybody(page).await?;
    fits(page, NARROW).await?;
    press(page, &format!(r##".tabs a[href="{sale}/orders"]"##)).await?;
    press(
        page,
        &format!(r##"td a[href="{sale}/orders/{order}"], th a[href="{sale}/orders/{order}"]"##),
    )
    .await?;
    shows(page, ".facts").await?;
    is_for_everybody(page).await?;
    button(page, "Look for its messages in the topics")
        .await?
        .send_keys(ENTER)
        .await?;
    eventually(SETTLED, "its three messages are found", async || {
        let found: Value = page
            .execute("return [...document.querySelectorAll('.messages .message')].map(one => one.innerText).join()", vec![])
            .await?;
        let found = found.as_str().unwrap_or_default();
        let topics = ["order.created", "inventory.result", "order.status"];
        Ok(topics.iter().all(|topic| found.contains(topic)))
    })
    .await?;
    is_for_everybody(page).await?;
    fits(page, NARROW).await?;
    for (tab, what) in [
        ("topics", "table td"),
        ("lanes", "table td"),
        ("dead-letters", ".tab-body .hint"),
        ("ledger", "table td"),
        ("log", ".tab-body .hint"),
    ] {
        press(page, &format!(r##".tabs a[href="{sale}/{tab}"]"##)).await?;
        shows(
            page,
            &format!(r##".tabs a[href="{sale}/{tab}"][aria-current="page"]"##),
        )
        .await?;
        shows(page, what).await?;
        let errors: Value = page.execute("return [...document.querySelectorAll('main .error:not([hidden])')].map(one => one.textContent)", vec![]).await?;
        ensure!(errors == Value::Array(Vec::new()), "{tab}: {errors}");
        is_for_everybody(page).await.with_context(|| tab.to_owned())?;
        fits(page, NARROW).await.with_context(|| tab.to_owned())?;
    }
    press(page, r#".tabs a[href$="/overview"]"#).await
}

/// The button that says this.
async fn button(page: &Client, says: &str) -> Result<Element> {
    let path = format!("//main//button[normalize-space()='{says}']");
    let wait = page.wait().at_most(SHOWN).for_element(Locator::XPath(&path));
    wait.await.with_context(|| format!("no button says {says}"))
}

/// Halts the sale and reopens it, and sees both told.
async fn switch(page: &Client, world: &World) -> Result<()> {
    for (says, is_halted) in [("Halt sale", true), ("Reopen sale", false)] {
        button(page, says).await?.send_keys(ENTER).await?;
        shows(page, "dialog[open] .what p").await?;
        if is_halted {
            is_for_everybody(page).await?;
        }
        shown(page, "dialog[open] textarea")
            .await?
            .send_keys("a rehearsal")
            .await?;
        press(page, "dialog[open] button[type=submit]").await?;
        eventually(SETTLED, "the switch is in force", async || {
            Ok(world.current_control()?.halted == is_halted)
        })
        .await?;
        shows(page, "body:not(:has(dialog[open]))").await?;
    }
    eventually(SETTLED, "both are part of the story", async || {
        let text: Value = page
            .execute("return document.querySelector('main').innerText", vec![])
            .await?;
        let text = text.as_str().unwrap_or_default();
        Ok(text.contains("The sale was halted.") && text.contains("The sale was reopened."))
    })
    .await
}
