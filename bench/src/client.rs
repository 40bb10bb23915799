//! The few requests that the bench makes, each with a deadline.

use crate::{options::Options, wire::DEADLINE};
use anyhow::{Context, bail};
use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::{
    client::legacy::{Client as Pool, connect::HttpConnector},
    rt::TokioExecutor,
};
use serde::Deserialize;
use std::{collections::HashSet, net::SocketAddr};

/// The largest answer that is read.
const LARGEST_ANSWER: usize = 1 << 20;

/// A client of the system.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    pool: Pool<HttpConnector, Full<Bytes>>,
    gateways: Vec<SocketAddr>,
    inventory: SocketAddr,
    order: SocketAddr,
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

impl Client {
    /// A client that keeps its connections.
    pub(crate) fn new(options: &Options) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(DEADLINE));
        Self {
            pool: Pool::builder(TokioExecutor::new()).build(connector),
            gateways: options.gateways.clone(),
            inventory: options.inventory,
            order: options.order,
        }
    }

    /// Looks at the sale as the storefront with that number does, which has seen what is called `tag`; returns what it has seen now.
    pub(crate) async fn look_at_sale(&self, page: u32, tag: Option<&str>) -> anyhow::Result<Option<String>> {
        let gateway = self.gateways.get(page as usize % self.gateways.len().max(1));
        let gateway = gateway.context("no gateway is named")?;
        let mut request = Request::get(format!("http://{gateway}/api/sale"));
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

    /// Creates a product and returns its id.
    pub(crate) async fn create_product(
        &self,
        admin: &str,
        sku: &str,
        stock: u32,
        limit: Option<u32>,
    ) -> anyhow::Result<String> {
        let product = serde_json::json!({
            "sku": sku, "name": sku, "description": "Load", "category": "Bench", "price": 799.99, "stock": stock,
            "limitPerCustomer": limit,
        });
        let request = Request::post(format!("http://{}/api/inventory/products", self.inventory))
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

    /// Whether each gateway has heard of some products.
    pub(crate) async fn are_on_sale(&self, products: &[String]) -> anyhow::Result<bool> {
        for gateway in &self.gateways {
            let sale: Sale = self.get(format!("http://{gateway}/api/sale"), None).await?;
            let listed: HashSet<&str> = sale
                .products
                .iter()
                .map(|listed| listed.product_id.as_str())
                .collect();
            if !products.iter().all(|product| listed.contains(product.as_str())) {
                return Ok(false);
            }
        }
        Ok(true)
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

    /// What is answered there, as text.
    pub(crate) async fn text(&self, uri: String) -> anyhow::Result<String> {
        match self.send(Request::get(&uri).body(Full::default())).await? {
            (StatusCode::OK, body) => Ok(String::from_utf8_lossy(&body).into_owned()),
            (status, _) => bail!("{uri}: {status}"),
        }
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
