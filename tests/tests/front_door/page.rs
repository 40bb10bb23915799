//! What one does with a page in a real browser, and what is to be true of every page.

use super::chromium::{Browser, SHOWN};
use anyhow::{Context, Result, ensure};
use fantoccini::{
    Client, Locator,
    error::{CmdError, ErrorStatus},
    wd::WebDriverCompatibleCommand,
};
use quicksale_tests::world::{ADMIN_EMAIL, ADMIN_PASSWORD};
use reqwest::Method;
use serde_json::{Value, json};
use std::time::Duration;
use url::Url;

/// The key, as WebDriver names it.
pub(crate) const ENTER: &str = "\u{e007}";
/// Where axe-core is (`hack/tools.sh axe`).
const AXE: &str = "QUICKSALE_AXE";
/// Looks for what keeps people out who see, hear or move otherwise, by the rules of WCAG 2.2 A and AA and by good practice, and names what
/// is serious.
const LOOK: &str = r#"
    const done = arguments[0];
    axe.run(document, {resultTypes: ["violations"]}).then(
        ({violations}) => done(violations.filter(({impact}) => impact === "serious" || impact === "critical")
            .map(({id, nodes}) => `${id}: ${nodes.map(({target}) => target.join(" ")).join(", ")}`)),
        error => done([String(error)]));
"#;

pub(crate) async fn with_browser(story: impl AsyncFnOnce(&Client) -> Result<()>) -> Result<()> {
    let browser = Browser::open().await?;
    let told = story(&browser.page).await;
    browser.close().await?;
    told
}

pub(crate) async fn shown(page: &Client, what: &str) -> Result<fantoccini::elements::Element> {
    let wait = page.wait().at_most(SHOWN).for_element(Locator::Css(what)).await;
    match wait {
        Ok(element) => Ok(element),
        Err(error) => {
            let text = page.execute("return document.body.innerText", vec![]).await?;
            Err(error).with_context(|| format!("{what} is not there: {text}"))
        }
    }
}

/// Logs the administrator in, where the console asks for it.
pub(crate) async fn log_in(page: &Client) -> Result<()> {
    let email = shown(page, "#login-dialog[open] #login-email").await?;
    email.send_keys(ADMIN_EMAIL).await?;
    let password = shown(page, "#login-password").await?;
    Ok(password.send_keys(&format!("{ADMIN_PASSWORD}{ENTER}")).await?)
}

pub(crate) async fn shows(page: &Client, what: &str) -> Result<()> {
    shown(page, what).await.map(drop)
}

/// Clicks. What moves away under the pointer, as lists do that grow above it, is clicked where it has come to.
pub(crate) async fn click(page: &Client, what: &str) -> Result<()> {
    let end = tokio::time::Instant::now() + SHOWN;
    loop {
        match shown(page, what).await?.click().await {
            Err(error) if has_moved(&error) && tokio::time::Instant::now() < end => {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            clicked => return clicked.with_context(|| what.to_owned()),
        }
    }
}

fn has_moved(error: &CmdError) -> bool {
    matches!(error, CmdError::Standard(error) if error.error == ErrorStatus::ElementClickIntercepted)
}

/// Focuses something and presses Enter.
pub(crate) async fn press(page: &Client, what: &str) -> Result<()> {
    shown(page, what).await?.send_keys("\u{e007}").await?;
    Ok(())
}

/// Notes what the page's policy forbids from here on.
pub(crate) async fn watch_policy(page: &Client) -> Result<()> {
    let watch = r"window.broken = [];
        document.addEventListener('securitypolicyviolation', event => window.broken.push(event.blockedURI))";
    page.execute(watch, vec![]).await?;
    Ok(())
}

/// Nothing was loaded from anywhere else, and no policy was broken.
pub(crate) async fn is_at_home(page: &Client) -> Result<()> {
    let elsewhere = r"return performance.getEntriesByType('resource').map(entry => entry.name)
        .filter(name => new URL(name).host !== location.host)";
    let elsewhere: Value = page.execute(elsewhere, vec![]).await?;
    ensure!(elsewhere == json!([]), "{elsewhere}");
    let broken: Value = page.execute("return window.broken", vec![]).await?;
    ensure!(broken == json!([]), "{broken}");
    Ok(())
}

/// Nothing on the page keeps anybody out.
pub(crate) async fn is_for_everybody(page: &Client) -> Result<()> {
    let file = std::env::var(AXE)
        .context("QUICKSALE_AXE must name axe.min.js: hack/tools.sh axe, and see hack/test.sh")?;
    let axe = std::fs::read_to_string(&file).with_context(|| file)?;
    // As the driver's own script, which no policy of the page is about.
    page.execute(&axe, vec![]).await?;
    let found: Value = page.execute_async(LOOK, vec![]).await?;
    let at: Value = page.execute("return location.href", vec![]).await?;
    ensure!(found == json!([]), "{at}: {found}");
    Ok(())
}

/// The page fits into a screen of this width.
pub(crate) async fn fits(page: &Client, width: u32) -> Result<()> {
    on_screen(page, width, 640).await?;
    let widths = "return [document.documentElement.scrollWidth, window.innerWidth]";
    let widths: Value = page.execute(widths, vec![]).await?;
    screen(page, "clearDeviceMetricsOverride", json!({})).await?;
    let is = |at: usize| widths[at].as_u64().unwrap_or(u64::MAX);
    ensure!(
        is(0) <= is(1) && is(1) == u64::from(width),
        "on a screen of {width} px: {widths}"
    );
    Ok(())
}

/// Has the page believe in a screen of this size: a window cannot be as narrow as a phone.
pub(crate) async fn on_screen(page: &Client, width: u32, height: u32) -> Result<()> {
    let size = json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": false});
    screen(page, "setDeviceMetricsOverride", size).await
}

async fn screen(page: &Client, method: &str, parameters: Value) -> Result<()> {
    let command = Emulation(json!({"cmd": format!("Emulation.{method}"), "params": parameters}));
    page.issue_cmd(command).await?;
    Ok(())
}

/// A command of Chromium's own protocol, as its driver hands it on.
#[derive(Debug)]
struct Emulation(Value);

impl WebDriverCompatibleCommand for Emulation {
    fn endpoint(&self, base: &Url, session: Option<&str>) -> Result<Url, url::ParseError> {
        base.join(&format!(
            "session/{}/goog/cdp/execute",
            session.unwrap_or_default()
        ))
    }

    fn method_and_body(&self, _: &Url) -> (Method, Option<String>) {
        (Method::POST, Some(self.0.to_string()))
    }
}
