//! A sale that has a certificate, asked over plain HTTP.

use anyhow::{Result, ensure};
use platform::tokens::Role;
use quicksale_tests::world::{Setup, World};
use reqwest::{Client, Method, StatusCode, redirect::Policy};

/// Where buyers are told to go.
const HOST: &str = "shoes.example.com";

/// Buyers come in by the gateway and by the notifier, so both look.
#[tokio::test]
async fn what_is_sent_in_plain_text_gets_no_further_where_a_sale_has_a_certificate() -> Result<()> {
    let world = World::start_as(Setup {
        https_host: Some(HOST.to_owned()),
        ..Setup::default()
    })
    .await?;
    let client = Client::builder().redirect(Policy::none()).build()?;
    let gateway = world.shop.url("");
    let notifier = world.config.upstreams.notifier.to_string();
    let token = world.shop.token("a-buyer", Role::Buyer)?;
    let ask = async |url: String, host: &str, scheme: &str, token: Option<&str>| {
        let request = client.request(Method::GET, url).header("host", host);
        let mut request = request.header("x-forwarded-proto", scheme);
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        request.send().await
    };
    for (to, path) in [
        (gateway.as_str(), "/api/sale"),
        (notifier.trim_end_matches('/'), "/ws"),
    ] {
        let url = format!("{to}{path}");
        let led = ask(url.clone(), HOST, "http", None).await?;
        ensure!(
            led.status() == StatusCode::PERMANENT_REDIRECT,
            "{path}: {}",
            led.status()
        );
        let there = format!("https://{HOST}{path}");
        ensure!(led.headers()["location"] == there, "{:?}", led.headers());
        let refused = ask(url.clone(), HOST, "http", Some(&token)).await?;
        ensure!(
            refused.status() == StatusCode::FORBIDDEN,
            "{path}: {}",
            refused.status()
        );
        let said = refused.text().await?;
        ensure!(
            said.contains("https_required") && said.contains("requestId"),
            "{said}"
        );
        // A mesh says `http` of what is called inside of the cluster.
        for (host, scheme) in [(HOST, "https"), ("shoes-gateway.shop.svc:8080", "http")] {
            let taken = ask(url.clone(), host, scheme, Some(&token)).await?;
            ensure!(
                taken.headers()["strict-transport-security"] == "max-age=31536000",
                "{path} of {host}: {:?}",
                taken.headers()
            );
        }
    }
    Ok(())
}
