//! The API's document against the API, and the programs of examples/ against a sale.

use super::somebody;
use anyhow::{Context, Result, ensure};
use jiff::Timestamp;
use quicksale_tests::{
    scenarios::SETTLED,
    world::{World, eventually},
};
use reqwest::Method;
use sale::{
    control::ControlDocument,
    limits::{LimitedRoute, RateLimit, RateLimits},
};
use serde_json::json;
use std::{path::PathBuf, time::Duration};
use tokio::process::Command;

/// Where schemathesis is (`hack/tools.sh schemathesis`).
const SCHEMATHESIS: &str = "QUICKSALE_SCHEMATHESIS";
/// How many seconds it calls the routes.
const SECONDS: &str = "60";
/// How long a program may take that is started here.
const DEADLINE: Duration = Duration::from_secs(120);
/// The first version of Node that has a WebSocket of its own.
const NODE: u32 = 22;

/// A file of the repository.
fn file(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

/// Runs a program to its end; what it said is in the error if it failed.
async fn run(command: &mut Command) -> Result<()> {
    let ended = tokio::time::timeout(DEADLINE, command.kill_on_drop(true).output());
    let output = ended.await.context("it takes too long")??;
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    ensure!(
        output.status.success(),
        "{}\n{}{}",
        output.status,
        said(&output.stdout),
        said(&output.stderr)
    );
    Ok(())
}

/// A sale that lets one client ask as often as it likes.
async fn without_limits() -> Result<World> {
    let world = World::start().await?;
    let limit = |route| RateLimit {
        route,
        limit: 1_000_000,
        window_ms: 60_000,
    };
    let control = ControlDocument {
        rate_limits: RateLimits::with_overrides(LimitedRoute::ALL.map(limit)),
        ..ControlDocument::open_now(world.config.sale.clone(), Timestamp::now())
    };
    world.control(|_| {}, &control)?;
    let url = world.shop.url("/openapi.json");
    quicksale_tests::world::eventually(Duration::from_secs(10), "the limits are in force", async || {
        let answer = world.shop.http.get(&url).send().await?;
        Ok(answer.headers()["ratelimit-limit"] == "1000000")
    })
    .await?;
    Ok(world)
}

#[tokio::test]
async fn every_route_answers_as_its_document_says() -> Result<()> {
    let tool = std::env::var_os(SCHEMATHESIS)
        .context("QUICKSALE_SCHEMATHESIS must name it: hack/tools.sh schemathesis, and see hack/test.sh")?;
    let world = without_limits().await?;
    let shop = &world.shop;
    shop.product("FLASH-LAPTOP-001", 1_000_000, None).await?;
    let admin = World::admin();
    let login = json!({"email": admin.email, "password": admin.password});
    let login = shop
        .send(Method::POST, "/api/auth/login", None, Some(login))
        .await?;
    let admin = login.expect(200)?.json["accessToken"]
        .as_str()
        .context("no token")?;
    let buyer = json!({
        "email": format!("{}@example.com", somebody()),
        "password": "correct horse battery", "firstName": "Ada", "lastName": "L",
    });
    let buyer = shop
        .send(Method::POST, "/api/auth/register", None, Some(buyer))
        .await?;
    let buyer = buyer.expect(201)?.json["accessToken"]
        .as_str()
        .context("no token")?;
    // It leaves a directory of its own wherever it runs.
    let dir = tempfile::tempdir()?;
    run(Command::new(tool)
        .arg("--config-file")
        .arg(file("tests/schemathesis.toml"))
        .args([
            "run",
            &shop.url("/openapi.json"),
            "--max-time",
            SECONDS,
            "--no-color",
        ])
        .env("ADMIN", admin)
        .env("BUYER", buyer)
        .current_dir(dir.path()))
    .await
}

/// A sale whose gateway has heard of its product.
async fn on_sale() -> Result<World> {
    let world = World::start().await?;
    world.shop.product("FLASH-LAPTOP-001", 5, None).await?;
    eventually(SETTLED, "the product is on sale", async || {
        let sale = world.shop.send(Method::GET, "/api/sale", None, None).await?;
        Ok(sale.json["products"]
            .as_array()
            .is_some_and(|all| !all.is_empty()))
    })
    .await?;
    Ok(world)
}

#[tokio::test]
async fn the_example_in_python_buys() -> Result<()> {
    let world = on_sale().await?;
    run(Command::new("python3")
        .arg(file("examples/python/buy.py"))
        .env("SHOP", world.shop.url("")))
    .await
}

#[tokio::test]
async fn the_example_in_node_buys() -> Result<()> {
    let version = Command::new("node").arg("--version").output().await;
    let version = version.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    let version = version.unwrap_or_else(|_| "none".to_owned());
    let major = version.trim().trim_start_matches('v').split('.').next();
    if major.and_then(|major| major.parse::<u32>().ok()) < Some(NODE) {
        // Not caught by the harness, as what `println!` writes is.
        use std::io::Write;
        let skipped = format!(
            "SKIPPED examples/node/buy.mjs: it needs Node {NODE}, here is {}\n",
            version.trim()
        );
        std::io::stderr().write_all(skipped.as_bytes())?;
        return Ok(());
    }
    let world = on_sale().await?;
    run(Command::new("node")
        .arg(file("examples/node/buy.mjs"))
        .env("SHOP", world.shop.url("")))
    .await
}
