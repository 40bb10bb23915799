//! `quicksale payments`: stands in for a provider of payments, so that the whole story of an order that waits for its payment can be
//! tried: it pays, declines, is slow, answers twice. No money moves.
//!
//! - [`shop`] calls the sale as a provider's service would, with a service account;
//! - [`payment`] is one payment, from the card to its end;
//! - [`page`] is what a buyer sees who was sent there to pay;
//! - this file is the provider's own API.

mod page;
mod payment;
mod shop;

use anyhow::{Context, Result};
use axum::{
    Router,
    extract::{Path, State},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use clap::Args;
use payment::{Card, Payment};
use serde::Deserialize;
use serde_json::json;
use std::{
    collections::{HashMap, VecDeque},
    net::SocketAddr,
    process::ExitCode,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use url::Url;

pub(crate) use shop::{ServiceAccount, Shop};

/// Payments that are remembered; the oldest makes room.
const REMEMBERED: usize = 1_000;
/// The longest that a payment may be slow.
const SLOWEST: Duration = Duration::from_secs(3_600);
/// How long one is slow that says nothing else.
const SLOW: Duration = Duration::from_secs(30);

/// Options of `quicksale payments`.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// The sale's gateway.
    #[arg(long, env = "QUICKSALE_SHOP", default_value = "http://127.0.0.1:3000")]
    shop: Url,
    /// The client id of a service account.
    #[arg(long, env = "QUICKSALE_CLIENT_ID")]
    client_id: String,
    /// Its secret.
    #[arg(long, env = "QUICKSALE_CLIENT_SECRET", hide_env_values = true)]
    client_secret: String,
    /// Listens here.
    #[arg(long, default_value = "127.0.0.1:3080")]
    listen: SocketAddr,
}

/// Serves until it is stopped.
pub(crate) async fn run(options: Options) -> Result<ExitCode> {
    platform::telemetry::init(platform::telemetry::LogFormat::Text);
    let account = ServiceAccount {
        client_id: options.client_id,
        client_secret: options.client_secret.into(),
    };
    serve(Shop::new(options.shop, account)?, options.listen).await?;
    Ok(ExitCode::SUCCESS)
}

/// Takes payments for a shop for as long as it lasts.
pub(crate) async fn serve(shop: Shop, listen: SocketAddr) -> Result<()> {
    let provider = Provider {
        shop: Arc::new(shop),
        payments: Arc::default(),
    };
    let router = Router::new()
        .route("/payments", post(pay))
        .route("/payments/{order}", get(show))
        .route("/pay", get(page::show).post(page::pay))
        .with_state(provider);
    let listener = tokio::net::TcpListener::bind(listen)
        .await
        .with_context(|| format!("cannot listen on {listen}; name another address with --listen"))?;
    tracing::info!(%listen, "a stand-in for payments");
    axum::serve(listener, router).await.context("the listener ended")
}

/// What the routes work with.
#[derive(Clone)]
struct Provider {
    shop: Arc<Shop>,
    payments: Arc<Mutex<Payments>>,
}

#[derive(Default)]
struct Payments {
    by_order: HashMap<String, Payment>,
    oldest_first: VecDeque<String>,
}

impl Provider {
    fn payments(&self) -> MutexGuard<'_, Payments> {
        self.payments.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A payment to make.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct NewPayment {
    /// The order it is for.
    order_id: String,
    /// What the card does.
    card: Card,
    /// How long a slow one takes.
    seconds: Option<u64>,
}

/// `POST /payments`: takes a payment for an order, once, and answers before it is through.
async fn pay(State(provider): State<Provider>, axum::Json(new): axum::Json<NewPayment>) -> Response {
    match begin(&provider, new) {
        Ok(payment) => (StatusCode::ACCEPTED, axum::Json(payment)).into_response(),
        Err((status, detail)) => (status, axum::Json(json!({"detail": detail}))).into_response(),
    }
}

/// Takes a payment, which goes through later.
fn begin(provider: &Provider, new: NewPayment) -> Result<Payment, (StatusCode, &'static str)> {
    let wait = match (new.card, new.seconds) {
        (Card::Slow, seconds) => seconds.map_or(SLOW, Duration::from_secs),
        (_, None) => Duration::ZERO,
        (_, Some(_)) => return Err((StatusCode::BAD_REQUEST, "seconds is for a slow card only")),
    };
    if wait > SLOWEST {
        return Err((StatusCode::BAD_REQUEST, "seconds must be at most 3600"));
    }
    let payment = Payment::new(new.card);
    {
        let mut payments = provider.payments();
        if payments.by_order.contains_key(&new.order_id) {
            return Err((
                StatusCode::CONFLICT,
                "there is a payment for this order; GET /payments/<order> says how it stands",
            ));
        }
        if payments.oldest_first.len() >= REMEMBERED
            && let Some(oldest) = payments.oldest_first.pop_front()
        {
            payments.by_order.remove(&oldest);
        }
        payments.by_order.insert(new.order_id.clone(), payment.clone());
        payments.oldest_first.push_back(new.order_id.clone());
    }
    let (begun, provider) = (payment.clone(), provider.clone());
    tokio::spawn(async move {
        tokio::time::sleep(wait).await;
        let ended = payment.go_through(&provider.shop, &new.order_id).await;
        tracing::info!(order = new.order_id, state = ?ended.state, "a payment");
        if let Some(payment) = provider.payments().by_order.get_mut(&new.order_id) {
            *payment = ended;
        }
    });
    Ok(begun)
}

/// `GET /payments/{order}`: how it stands.
async fn show(State(provider): State<Provider>, Path(order): Path<String>) -> Response {
    match provider.payments().by_order.get(&order) {
        Some(payment) => axum::Json(payment.clone()).into_response(),
        None => {
            let detail = json!({"detail": "there is no payment for this order"});
            (StatusCode::NOT_FOUND, axum::Json(detail)).into_response()
        }
    }
}
