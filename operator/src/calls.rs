//! Calls to the services of a sale, each with a deadline and a token signed with the sale's own key.

use crds::Component;
use reqwest::{Method, Response, StatusCode};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::{net::SocketAddr, time::Duration};

/// How long a service may take to answer. Several calls follow one another in a reconciliation, and the change of a
/// control document waits for that: short, and tried again a second later.
pub const CALL_DEADLINE: Duration = Duration::from_secs(1);
/// The largest answer that is read, in bytes. The pods belong to a tenant, and the operator's memory to everybody: the
/// longest honest answer, a catalogue of a hundred products, is far shorter.
const LARGEST_ANSWER: usize = 512 * 1024;
/// As much as is shown of a sentence that a service wrote.
const LONGEST_DETAIL: usize = 300;

/// A client for calls to pods of tenants: it follows no redirect and uses no proxy, so a call ends where it was sent.
///
/// # Errors
/// When no client can be made.
pub fn client() -> Result<reqwest::Client, reqwest::Error> {
    reqwest::Client::builder()
        // A connection that is kept stays with the replica it was made to; a new one for each of the few calls goes to
        // one that is there now.
        .pool_max_idle_per_host(0)
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .build()
}

/// Calls one replica of a service.
#[derive(Debug, Clone)]
pub struct ServiceCalls {
    http: reqwest::Client,
    component: Component,
    address: Option<SocketAddr>,
    token: String,
    deadline: Duration,
}

/// Why a call failed. These sentences end up in conditions that tenants read, so they say nothing of what stands where
/// a pod should: the causes are in the operator's log.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// Nobody to ask.
    #[error("no replica of {0} is ready")]
    NoReplica(Component),
    /// No answer that can be understood.
    #[error("{0} does not answer")]
    Unreachable(Component),
    /// The service said no.
    #[error("{component} answered {status} {code}: {detail}")]
    Refused {
        /// Who.
        component: Component,
        /// HTTP status.
        status: StatusCode,
        /// The problem's stable code.
        code: String,
        /// The problem's sentence.
        detail: String,
    },
}

impl CallError {
    /// Whether the service refused with this code.
    pub fn is_code(&self, wanted: &str) -> bool {
        matches!(self, Self::Refused { code, .. } if code == wanted)
    }
}

/// The part of a problem document that decides.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ProblemDocument {
    code: String,
    detail: String,
}

impl ServiceCalls {
    /// Calls the replica at an address with a token. Without an address every call fails.
    pub fn new(
        http: &reqwest::Client,
        component: Component,
        address: Option<SocketAddr>,
        token: &str,
    ) -> Self {
        Self {
            http: http.clone(),
            component,
            address,
            token: token.to_owned(),
            deadline: CALL_DEADLINE,
        }
    }

    /// The same with a deadline of its own.
    #[must_use]
    pub fn within(self, deadline: Duration) -> Self {
        Self { deadline, ..self }
    }

    /// Reads.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, CallError> {
        self.call(Method::GET, path, None::<&()>, None).await
    }

    /// Sends a body; with an idempotency key the effect is made once.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn send<B: Serialize + Sync, T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: &B,
        idempotency_key: Option<&str>,
    ) -> Result<T, CallError> {
        self.call(method, path, Some(body), idempotency_key).await
    }

    async fn call<B: Serialize + Sync, T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<&B>,
        idempotency_key: Option<&str>,
    ) -> Result<T, CallError> {
        let component = self.component;
        let address = self.address.ok_or(CallError::NoReplica(component))?;
        let url = format!("http://{address}{path}");
        let unreachable = |error: &dyn std::error::Error| {
            tracing::debug!(%component, url, error = causes(error), "a service does not answer");
            CallError::Unreachable(component)
        };
        let mut request = self
            .http
            .request(method, &url)
            .bearer_auth(&self.token)
            .timeout(self.deadline);
        if let Some(body) = body {
            request = request.json(body);
        }
        if let Some(key) = idempotency_key {
            request = request.header("idempotency-key", key);
        }
        let answer = request.send().await.map_err(|error| unreachable(&error))?;
        let status = answer.status();
        let body = bounded(answer)
            .await
            .map_err(|error| unreachable(error.as_ref()))?;
        if status.is_success() {
            return serde_json::from_slice(&body).map_err(|error| unreachable(&error));
        }
        let problem: ProblemDocument = serde_json::from_slice(&body).unwrap_or_default();
        let short = |text: String| text.chars().take(LONGEST_DETAIL).collect();
        Err(CallError::Refused {
            component,
            status,
            code: short(problem.code),
            detail: short(problem.detail),
        })
    }
}

/// Reads what stands at an address as text, whatever the status of the answer.
///
/// # Errors
/// A sentence for the log, not for tenants.
pub async fn text(http: &reqwest::Client, url: &str, deadline: Duration) -> Result<String, String> {
    let answer = http.get(url).timeout(deadline).send().await;
    let answer = answer.map_err(|error| causes(&error))?;
    let body = bounded(answer).await.map_err(|error| causes(error.as_ref()))?;
    Ok(String::from_utf8_lossy(&body).into_owned())
}

/// Reads a body that is not too large.
async fn bounded(mut answer: Response) -> Result<Vec<u8>, Box<dyn std::error::Error + Send + Sync>> {
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await? {
        if body.len() + chunk.len() > LARGEST_ANSWER {
            return Err(format!("the answer is longer than {LARGEST_ANSWER} bytes").into());
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// An error with its causes: reqwest alone says little more than "error sending request".
fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{Ipv4Addr, SocketAddr};
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
    };

    /// What comes of a call that one listener answers with these bytes, and whether it was asked at all.
    async fn answered_with(head: &'static str, body: Vec<u8>) -> Result<serde_json::Value, CallError> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address: SocketAddr = listener.local_addr().unwrap();
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 4096];
            let _read = stream.read(&mut request).await.unwrap();
            let head = format!("HTTP/1.1 {head}\r\ncontent-length: {}\r\n\r\n", body.len());
            stream.write_all(head.as_bytes()).await.unwrap();
            // The caller hangs up on what is too long.
            let _cut_short = stream.write_all(&body).await;
        });
        let calls = ServiceCalls::new(&client().unwrap(), Component::Order, Some(address), "t");
        let answer = calls.within(Duration::from_secs(20)).get("/x").await;
        server.await.unwrap();
        answer
    }

    #[tokio::test]
    async fn an_answer_that_is_too_long_is_not_read() {
        let fits = [b"\"".as_slice(), &vec![b'x'; 1_000], b"\""].concat();
        answered_with("200 OK", fits).await.unwrap();
        let too_long = [b"\"".as_slice(), &vec![b'x'; LARGEST_ANSWER], b"\""].concat();
        let error = answered_with("200 OK", too_long).await.unwrap_err();
        assert!(
            matches!(error, CallError::Unreachable(Component::Order)),
            "{error}"
        );
    }

    #[tokio::test]
    async fn a_redirect_leads_nowhere_and_a_sentence_is_cut() {
        let error = answered_with(
            "307 Temporary Redirect\r\nlocation: http://127.0.0.1:1/",
            Vec::new(),
        )
        .await
        .unwrap_err();
        assert!(
            matches!(&error, CallError::Refused { status, .. } if *status == 307),
            "{error}"
        );
        let long = serde_json::json!({"code": "busy", "detail": "x".repeat(10_000)}).to_string();
        let error = answered_with("503 Service Unavailable", long.into_bytes())
            .await
            .unwrap_err();
        assert!(error.is_code("busy") && error.to_string().len() < 500, "{error}");
    }

    #[tokio::test]
    async fn what_stands_where_a_pod_should_is_not_told() {
        let closed = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = closed.local_addr().unwrap();
        drop(closed);
        let calls = ServiceCalls::new(&client().unwrap(), Component::Order, Some(address), "t");
        let refused = calls
            .get::<serde_json::Value>("/x")
            .await
            .unwrap_err()
            .to_string();
        let garbage = answered_with("200 OK", b"SSH-2.0-OpenSSH".to_vec())
            .await
            .unwrap_err()
            .to_string();
        assert_eq!(
            refused, garbage,
            "a closed port and another protocol look the same"
        );
    }
}
