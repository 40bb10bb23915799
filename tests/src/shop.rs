//! A shop as buyers see it: its address, and what they can ask for.

use anyhow::{Context, Result, bail};
use futures::StreamExt;
use jiff::Timestamp;
use platform::tokens::{Role, Signer};
use reqwest::Method;
use sale::UserId;
use serde_json::{Value, json};
use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};
use tokio::net::TcpStream;
use tokio_tungstenite::{WebSocketStream, tungstenite::Message};

/// How long an answer may take.
const DEADLINE: Duration = Duration::from_secs(20);
/// How long a client asks again that is told to.
const PATIENCE: Duration = Duration::from_secs(20);

/// A WebSocket to the shop.
pub type Socket = WebSocketStream<TcpStream>;

/// The address of a running sale, and the key that its tokens are signed with.
pub struct Shop {
    /// A client without any defaults.
    pub http: reqwest::Client,
    host: String,
    address: SocketAddr,
    signer: Signer,
}

impl Shop {
    /// The shop that answers at `address` to the name `host`, whose tokens are signed with this key.
    pub fn new(host: &str, address: SocketAddr, private_pem: &str) -> Result<Self> {
        Ok(Self {
            http: reqwest::Client::builder()
                .timeout(DEADLINE)
                .resolve(host, address)
                .build()?,
            host: format!("{host}:{}", address.port()),
            address,
            signer: Signer::from_pem(private_pem)?,
        })
    }

    /// The address of a path.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.host)
    }

    /// A client that keeps no connection, like one that comes for the first time.
    pub fn newcomer(&self) -> Result<reqwest::Client> {
        let (name, _) = self.host.split_once(':').context("no port")?;
        let client = reqwest::Client::builder()
            .timeout(DEADLINE)
            .pool_max_idle_per_host(0);
        Ok(client.resolve(name, self.address).build()?)
    }

    /// Opens the WebSocket.
    pub async fn socket(&self, token: &str) -> Result<Socket> {
        let stream = TcpStream::connect(self.address).await?;
        let url = format!("ws://{}/ws?token={token}", self.host);
        Ok(tokio_tungstenite::client_async(url, stream).await?.0)
    }

    /// An access token of somebody: accounts cost a password hash each, and a crowd needs none.
    pub fn token(&self, user: &str, role: Role) -> Result<String> {
        Ok(self
            .signer
            .access_token(&UserId::new(user), role, Timestamp::now())?)
    }

    /// A token of a part of QuickSale, which calls others inside of the cluster.
    pub fn internal_token(&self, caller: &str) -> Result<String> {
        Ok(self.signer.service_token(caller, Timestamp::now())?)
    }

    /// A buyer's token that was made at some other time.
    pub fn token_at(&self, user: &str, at: Timestamp) -> Result<String> {
        Ok(self.signer.access_token(&UserId::new(user), Role::Buyer, at)?)
    }

    /// A token of an administrator that nobody was before: whoever waits for something by looking again and again must
    /// not run into the limit for one user.
    pub fn observer(&self) -> Result<String> {
        self.token(&uuid::Uuid::new_v4().to_string(), Role::Admin)
    }

    /// Sends JSON and returns status, headers and body.
    pub async fn send(
        &self,
        method: Method,
        path: &str,
        token: Option<&str>,
        body: Option<Value>,
    ) -> Result<Answer> {
        let mut request = self.http.request(method, self.url(path));
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        if let Some(body) = body {
            request = request.json(&body);
        }
        Answer::of(request.send().await?).await
    }

    /// Creates a product as an admin and returns its id.
    pub async fn product(&self, sku: &str, stock: u32, limit: Option<u32>) -> Result<String> {
        let admin = self.token("an-admin", Role::Admin)?;
        let body =
            json!({"sku": sku, "name": sku, "price": 799.99, "stock": stock, "limitPerCustomer": limit});
        let answer = self
            .send(Method::POST, "/api/inventory/products", Some(&admin), Some(body))
            .await?;
        answer.expect(201)?;
        Ok(answer.json["product"]["_id"]
            .as_str()
            .context("no _id")?
            .to_owned())
    }

    /// Orders under a key.
    pub async fn place(&self, token: &str, key: &str, items: Value) -> Result<Answer> {
        let request = self
            .http
            .post(self.url("/api/orders"))
            .bearer_auth(token)
            .header("Idempotency-Key", key)
            .json(&json!({"items": items}));
        Answer::of(request.send().await?).await
    }

    /// Orders units of one product for somebody.
    pub async fn order(&self, user: &str, key: &str, sku: &str, quantity: u32) -> Result<Answer> {
        let token = self.token(user, Role::Buyer)?;
        self.place(&token, key, json!([{"sku": sku, "quantity": quantity}]))
            .await
    }

    /// Orders, and asks again with the same key on 503 and on an ingress's own 404, 500, 502 and 504, for some seconds; then returns
    /// the last answer.
    pub async fn place_patiently(&self, token: &str, key: &str, items: Value) -> Result<Answer> {
        let until = Instant::now() + PATIENCE;
        loop {
            let answer = self.place(token, key, items.clone()).await?;
            // What an ingress says while it has no way to a gateway is a page of its own.
            let by_the_ingress = [404, 500, 502, 504].contains(&answer.status) && answer.json.is_null();
            if !(answer.status == 503 || by_the_ingress) || Instant::now() > until {
                return Ok(answer);
            }
            tokio::time::sleep(Duration::from_secs(answer.retry_after().unwrap_or(1))).await;
        }
    }

    /// Orders units of one product for somebody, like [`Self::place_patiently`].
    pub async fn order_patiently(&self, user: &str, key: &str, sku: &str, quantity: u32) -> Result<Answer> {
        let token = self.token(user, Role::Buyer)?;
        self.place_patiently(&token, key, json!([{"sku": sku, "quantity": quantity}]))
            .await
    }

    /// A product as the shop shows it.
    pub async fn shown(&self, sku: &str) -> Result<Value> {
        let admin = self.observer()?;
        let list = self
            .send(
                Method::GET,
                "/api/inventory/products?limit=100",
                Some(&admin),
                None,
            )
            .await?;
        let items = list.expect(200)?.json["items"].as_array().cloned();
        items
            .unwrap_or_default()
            .into_iter()
            .find(|product| product["sku"] == sku)
            .with_context(|| format!("no product {sku}"))
    }
}

/// The close code of a server that restarts ("Service Restart", <https://www.iana.org/assignments/websocket/websocket.xhtml>).
pub const RESTART: u16 = 1012;

/// The code that the server closes a socket with, whatever comes before; `None` if it just goes.
pub async fn close_code(socket: &mut Socket) -> Option<u16> {
    while let Some(Ok(message)) = socket.next().await {
        if let Message::Close(frame) = message {
            return frame.map(|frame| frame.code.into());
        }
    }
    None
}

/// The next order.update that a socket receives.
pub async fn next_update(socket: &mut Socket) -> Result<Value> {
    let wait = async {
        while let Some(message) = socket.next().await {
            let message = message?;
            if message.is_text() {
                let frame: Value = serde_json::from_str(message.to_text()?)?;
                if frame["type"] == "order.update" {
                    return Ok(frame);
                }
            }
        }
        bail!("the socket was closed")
    };
    tokio::time::timeout(Duration::from_secs(30), wait).await?
}

/// An answer, read whole.
#[derive(Debug)]
pub struct Answer {
    /// Status.
    pub status: u16,
    /// Headers.
    pub headers: reqwest::header::HeaderMap,
    /// Body as text.
    pub text: String,
    /// Body as JSON; null when it is none.
    pub json: Value,
}

impl Answer {
    /// Reads an answer.
    pub async fn of(response: reqwest::Response) -> Result<Self> {
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let text = response.text().await?;
        let json = serde_json::from_str(&text).unwrap_or_default();
        Ok(Self {
            status,
            headers,
            text,
            json,
        })
    }

    /// After how many seconds to ask again, where the answer says so.
    pub fn retry_after(&self) -> Option<u64> {
        self.headers.get("retry-after")?.to_str().ok()?.parse().ok()
    }

    /// Fails unless the status is this one.
    pub fn expect(&self, status: u16) -> Result<&Self> {
        if self.status != status {
            bail!("expected {status}, got {}: {}", self.status, self.text);
        }
        Ok(self)
    }

    /// Fails unless it is a problem document with this status and code.
    pub fn expect_problem(&self, status: u16, code: &str) -> Result<&Self> {
        self.expect(status)?;
        let kind = self
            .headers
            .get("content-type")
            .and_then(|v| v.to_str().ok())
            .unwrap_or_default();
        if self.json["code"] != code || kind != "application/problem+json" || self.json["requestId"].is_null()
        {
            bail!("expected a problem {code}, got {kind}: {}", self.text);
        }
        Ok(self)
    }
}
