//! The few requests that the bench makes, each with a deadline.

use crate::{buyers::Buyer, options::Options};
use anyhow::{Context, bail};
use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::{
    client::legacy::{Client as Pool, connect::HttpConnector},
    rt::TokioExecutor,
};
use serde::Deserialize;
use std::{net::SocketAddr, time::Duration};

/// How long any answer may take; later than that an order's outcome is unknown.
const DEADLINE: Duration = Duration::from_secs(15);
/// The largest answer that is read.
const LARGEST_ANSWER: usize = 1 << 20;

/// A client of the system.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    pool: Pool<HttpConnector, Full<Bytes>>,
    gateway: SocketAddr,
    inventory: SocketAddr,
    order: SocketAddr,
}

/// What became of the request for an order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// 201.
    Accepted,
    /// Turned away with this code: nothing was accepted.
    Refused(String),
    /// No clean answer: the order may have been accepted all the same.
    Unknown(String),
}

/// A product's account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub(crate) struct Account {
    /// All units.
    pub(crate) stock: i64,
    /// Units that can still be ordered.
    pub(crate) available: i64,
    /// Units held.
    pub(crate) reserved: i64,
    /// Units of confirmed orders.
    pub(crate) sold: i64,
}

/// Orders of the sale by state, and what is under way between the services.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub(crate) struct Numbers {
    /// Orders ever accepted.
    pub(crate) accepted: u64,
    /// Orders not decided yet.
    pub(crate) pending: u64,
    /// Orders confirmed.
    pub(crate) confirmed: u64,
    /// Messages that Kafka has not acknowledged.
    pub(crate) outbox: u64,
    /// Records that a group has not handled.
    pub(crate) lag: u64,
}

#[derive(Debug, Deserialize)]
struct Created {
    product: Product,
}

#[derive(Debug, Deserialize)]
struct Product {
    #[serde(rename = "_id")]
    id: String,
}

#[derive(Debug, Deserialize)]
struct Sale {
    products: Vec<ListedProduct>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ListedProduct {
    product_id: String,
}

#[derive(Debug, Deserialize)]
struct Problem {
    code: String,
}

impl Client {
    /// A client that keeps its connections.
    pub(crate) fn new(options: &Options) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(DEADLINE));
        Self {
            pool: Pool::builder(TokioExecutor::new()).build(connector),
            gateway: options.gateway,
            inventory: options.inventory,
            order: options.order,
        }
    }

    /// Looks at the sale as a storefront does, which has seen what is called `tag`; returns what it has seen now.
    pub(crate) async fn look_at_sale(&self, tag: Option<&str>) -> anyhow::Result<Option<String>> {
        let mut request = Request::get(format!("http://{}/api/sale", self.gateway));
        if let Some(tag) = tag {
            request = request.header(header::IF_NONE_MATCH, tag);
        }
        let sending = self.pool.request(request.body(Full::default())?);
        let answer = tokio::time::timeout(DEADLINE, sending).await??;
        let status = answer.status();
        if status != StatusCode::OK && status != StatusCode::NOT_MODIFIED {
            bail!("answered {status}");
        }
        let tag = answer
            .headers()
            .get(header::ETAG)
            .and_then(|tag| tag.to_str().ok());
        let tag = tag.map(str::to_owned);
        let body = Limited::new(answer.into_body(), LARGEST_ANSWER).collect();
        tokio::time::timeout(DEADLINE, body)
            .await?
            .map_err(|error| anyhow::anyhow!(error))?;
        Ok(tag)
    }

    /// Places a buyer's order of one unit.
    pub(crate) async fn order(&self, buyer: &Buyer, product: &str) -> Verdict {
        let body = format!(r#"{{"items":[{{"productId":"{product}","quantity":1}}]}}"#);
        let request = Request::post(format!("http://{}/api/orders", self.gateway))
            .header(header::AUTHORIZATION, format!("Bearer {}", buyer.token))
            .header(header::CONTENT_TYPE, "application/json")
            .header("idempotency-key", &buyer.key)
            .body(Full::from(body));
        match self.send(request).await {
            Ok((StatusCode::CREATED, _)) => Verdict::Accepted,
            Ok((status, body)) => {
                let code =
                    serde_json::from_slice::<Problem>(&body).map_or_else(|_| status.to_string(), |p| p.code);
                // A gateway that gives up waiting cannot know what the order service did.
                if status.is_client_error() {
                    Verdict::Refused(code)
                } else {
                    Verdict::Unknown(code)
                }
            }
            Err(error) => Verdict::Unknown(format!("{error:#}")),
        }
    }

    /// Creates a product and returns its id.
    pub(crate) async fn create_product(&self, admin: &str, sku: &str, stock: u32) -> anyhow::Result<String> {
        let product = serde_json::json!({
            "sku": sku, "name": sku, "description": "Load", "category": "Bench", "price": 799.99, "stock": stock,
        });
        let request = Request::post(format!("http://{}/api/inventory/products", self.gateway))
            .header(header::AUTHORIZATION, format!("Bearer {admin}"))
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::from(product.to_string()));
        match self
            .send(request)
            .await
            .context("is QuickSale running? The bench does not start it")?
        {
            (StatusCode::CREATED, body) => Ok(serde_json::from_slice::<Created>(&body)?.product.id),
            (status, body) => bail!(
                "the product was refused: {status} {}",
                String::from_utf8_lossy(&body)
            ),
        }
    }

    /// Whether the gateway has heard of a product.
    pub(crate) async fn is_on_sale(&self, product: &str) -> anyhow::Result<bool> {
        let sale: Sale = self
            .get(format!("http://{}/api/sale", self.gateway), None)
            .await?;
        Ok(sale.products.iter().any(|listed| listed.product_id == product))
    }

    /// A product's account.
    pub(crate) async fn account(&self, product: &str) -> anyhow::Result<Account> {
        self.get(
            format!("http://{}/api/inventory/products/{product}", self.inventory),
            None,
        )
        .await
    }

    /// The numbers of the whole sale.
    pub(crate) async fn numbers(&self, service: &str) -> anyhow::Result<Numbers> {
        self.get(
            format!("http://{}/internal/settlement", self.order),
            Some(service),
        )
        .await
    }

    async fn get<T: for<'de> Deserialize<'de>>(&self, uri: String, token: Option<&str>) -> anyhow::Result<T> {
        let mut request = Request::builder().method(Method::GET).uri(&uri);
        if let Some(token) = token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        match self.send(request.body(Full::default())).await? {
            (StatusCode::OK, body) => Ok(serde_json::from_slice(&body).with_context(|| uri)?),
            (status, body) => bail!("{uri}: {status} {}", String::from_utf8_lossy(&body)),
        }
    }

    async fn send(&self, request: http::Result<Request<Full<Bytes>>>) -> anyhow::Result<(StatusCode, Bytes)> {
        let request = request?;
        let answered = async {
            let (head, body) = self.pool.request(request).await?.into_parts();
            let body = Limited::new(body, LARGEST_ANSWER)
                .collect()
                .await
                .map_err(anyhow::Error::from_boxed)?;
            anyhow::Ok((head.status, body.to_bytes()))
        };
        tokio::time::timeout(DEADLINE, answered)
            .await
            .context("no answer in time")?
    }
}
