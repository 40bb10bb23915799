//! An OpenTelemetry collector of another make, which takes spans by OTLP as those of users do, and hands on to the test what it has
//! understood of them.

use crate::{ports, scenarios::SETTLED, world::eventually};
use anyhow::{Context, Result, bail};
use axum::{Router, body::Bytes, extract::State, http::StatusCode, routing::post};
use flate2::read::GzDecoder;
use opentelemetry_proto::tonic::{
    collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse},
    common::v1::{AnyValue, KeyValue, any_value::Value},
    trace::v1::{ResourceSpans, ScopeSpans, Span as WireSpan, status::StatusCode as Outcome},
};
use prost::Message;
use std::{
    collections::BTreeMap,
    io::Read,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

/// The variable that names the collector's executable.
const ROTEL: &str = "QUICKSALE_ROTEL";

/// The most bytes that are read of what it hands on at once.
const LARGEST: u64 = 16 * 1024 * 1024;

/// A span as it came out of the collector. Ids are in hex.
#[derive(Debug, Clone)]
pub struct Span {
    /// The service that it is of.
    pub service: String,
    /// What else is said of that service.
    pub resource: BTreeMap<String, String>,
    /// What was done.
    pub name: String,
    /// In what part, such as `SPAN_KIND_SERVER`.
    pub kind: &'static str,
    /// Its trace.
    pub trace: String,
    /// Its id.
    pub id: String,
    /// What it is under; empty where it is the first of its trace.
    pub parent: String,
    /// What else it has to do with: traces and spans.
    pub links: Vec<(String, String)>,
    /// What else is said of it, as text.
    pub attributes: BTreeMap<String, String>,
    /// When it began and ended, in nanoseconds since 1970.
    pub time: (u64, u64),
    /// Whether it did not go well.
    pub failed: bool,
}

/// A collector that runs until it is dropped.
#[derive(Debug)]
pub struct Collector {
    spans: Arc<Mutex<Vec<Span>>>,
    port: u16,
    process: Child,
    behind: JoinHandle<()>,
    dir: tempfile::TempDir,
}

impl Collector {
    /// Starts one.
    pub async fn start() -> Result<Self> {
        let executable = std::env::var(ROTEL).with_context(|| {
            format!("{ROTEL} must name the collector: hack/tools.sh rotel, and see hack/test.sh")
        })?;
        let spans = Arc::new(Mutex::new(Vec::new()));
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let behind = format!("http://{}", listener.local_addr()?);
        let router = Router::new()
            .route("/v1/traces", post(take))
            .with_state(Arc::clone(&spans));
        let serving = tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, router).await {
                eprintln!("nothing comes out of the collector: {error}");
            }
        });
        let [port, grpc] = ports::free()?;
        let dir = tempfile::tempdir()?;
        let log = std::fs::File::create(dir.path().join("log"))?;
        let process = Command::new("setpriv")
            .args(["--pdeathsig", "KILL"])
            .args([&executable, "start", "--pid-file"])
            .arg(dir.path().join("pid"))
            .args(["--otlp-http-endpoint", &format!("127.0.0.1:{port}")])
            .args(["--otlp-grpc-endpoint", &format!("127.0.0.1:{grpc}")])
            .args(["--exporter", "otlp", "--otlp-exporter-protocol", "http"])
            .args(["--otlp-exporter-endpoint", &behind])
            .stdout(log.try_clone()?)
            .stderr(log)
            .stdin(Stdio::null())
            .spawn()
            .with_context(|| format!("cannot start {executable}"))?;
        let collector = Self {
            spans,
            port,
            process,
            behind: serving,
            dir,
        };
        collector.listening().await?;
        Ok(collector)
    }

    async fn listening(&self) -> Result<()> {
        for _look in 0..200 {
            if TcpStream::connect(("127.0.0.1", self.port)).await.is_ok() {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let log = std::fs::read_to_string(self.dir.path().join("log"))?;
        bail!("the collector does not listen: {log}")
    }

    /// Where it takes spans.
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Sends a span of one's own, and waits until it has come: whatever was sent before has come then, too.
    pub async fn catch_up(&self) -> Result<()> {
        let id = uuid::Uuid::new_v4();
        let now = u64::try_from(jiff::Timestamp::now().as_nanosecond())?;
        let span = WireSpan {
            trace_id: id.as_bytes().to_vec(),
            span_id: id.as_bytes()[..8].to_vec(),
            name: "caught up".to_owned(),
            start_time_unix_nano: now,
            end_time_unix_nano: now,
            ..WireSpan::default()
        };
        let request = ExportTraceServiceRequest {
            resource_spans: vec![ResourceSpans {
                scope_spans: vec![ScopeSpans {
                    spans: vec![span],
                    ..ScopeSpans::default()
                }],
                ..ResourceSpans::default()
            }],
        };
        let request = reqwest::Client::new()
            .post(format!("{}/v1/traces", self.endpoint()))
            .header("content-type", "application/x-protobuf")
            .body(request.encode_to_vec());
        request.send().await?.error_for_status()?;
        let id = id.simple().to_string();
        eventually(SETTLED, "the collector has caught up", async || {
            Ok(!self.trace(&id).is_empty())
        })
        .await
    }

    /// All that have come so far.
    pub fn spans(&self) -> Vec<Span> {
        self.spans.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Those of one trace.
    pub fn trace(&self, id: &str) -> Vec<Span> {
        self.spans().into_iter().filter(|span| span.trace == id).collect()
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.behind.abort();
        if let Err(error) = self.process.kill().and_then(|()| self.process.wait()) {
            eprintln!("the collector does not end: {error}");
        }
    }
}

/// What comes out of the collector is compressed.
async fn take(State(spans): State<Arc<Mutex<Vec<Span>>>>, body: Bytes) -> Result<Vec<u8>, StatusCode> {
    let mut plain = Vec::new();
    let read = GzDecoder::new(&*body).take(LARGEST).read_to_end(&mut plain);
    read.map_err(|_| StatusCode::BAD_REQUEST)?;
    let request = ExportTraceServiceRequest::decode(&*plain).map_err(|_| StatusCode::BAD_REQUEST)?;
    spans
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .extend(request.resource_spans.into_iter().flat_map(of_resource));
    Ok(ExportTraceServiceResponse::default().encode_to_vec())
}

fn of_resource(spans: ResourceSpans) -> Vec<Span> {
    let resource = texts(spans.resource.unwrap_or_default().attributes);
    let service = resource.get("service.name").cloned().unwrap_or_default();
    let spans = spans.scope_spans.into_iter().flat_map(|scope| scope.spans);
    spans
        .map(|span| Span {
            service: service.clone(),
            kind: span.kind().as_str_name(),
            resource: resource.clone(),
            failed: span.status.as_ref().is_some_and(|s| s.code() == Outcome::Error),
            name: span.name,
            trace: hex(&span.trace_id),
            id: hex(&span.span_id),
            parent: hex(&span.parent_span_id),
            links: span
                .links
                .iter()
                .map(|link| (hex(&link.trace_id), hex(&link.span_id)))
                .collect(),
            attributes: texts(span.attributes),
            time: (span.start_time_unix_nano, span.end_time_unix_nano),
        })
        .collect()
}

fn hex(id: &[u8]) -> String {
    id.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn texts(attributes: Vec<KeyValue>) -> BTreeMap<String, String> {
    let text = |value: Option<AnyValue>| match value.and_then(|value| value.value) {
        Some(Value::StringValue(text)) => text,
        Some(Value::IntValue(number)) => number.to_string(),
        other => format!("{other:?}"),
    };
    attributes
        .into_iter()
        .map(|one| (one.key, text(one.value)))
        .collect()
}
