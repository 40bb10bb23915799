//! Where spans go: by OTLP over HTTP to a collector.

use super::{TRACER, sampler::Choice};
use crate::{backends::tls, telemetry::instance};
use axum::http::Uri;
use http_body_util::{BodyExt, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use opentelemetry::{InstrumentationScope, Key, KeyValue, trace::TracerProvider};
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::{Resource, trace::SdkTracerProvider};
use sale::SaleId;
use serde::{Deserialize, Serialize};
use std::{
    fmt::Display,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::{Duration, Instant},
};
use tokio::runtime::Handle;
use url::Url;

/// How long a process that ends waits for its last spans to be taken.
const LAST: Duration = Duration::from_secs(1);
/// The version of the semantic conventions whose names the spans use.
const CONVENTIONS: &str = "https://opentelemetry.io/schemas/1.30.0";
/// How often it is said that a collector does not take what it is sent.
const COMPLAIN_EVERY: Duration = Duration::from_secs(60);
/// The most bytes of a collector's answer that are read.
const ANSWER_BYTES: usize = 64 * 1024;

/// Ends with the process.
static PROVIDER: OnceLock<SdkTracerProvider> = OnceLock::new();

/// What the configuration says of traces. The OTEL_ variables of the process go before it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Tracing {
    /// The collector's address, without `/v1/traces`.
    pub endpoint: Url,
    /// The part of all requests that is traced, from 0 to 1. The gateway chooses, and the others go by that.
    pub part: f64,
}

// No part is NaN: it is read from JSON, which has none.
impl Eq for Tracing {}

/// Why nothing is traced although somebody asked for it.
#[derive(Debug, thiserror::Error)]
#[error("cannot trace: {0}")]
pub struct StartError(String);

/// The variable of one signal, or that of all of them, as OpenTelemetry's specification says. Empty is unset.
fn variable(name: &str) -> Option<String> {
    let value = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    value(&format!("OTEL_EXPORTER_OTLP_TRACES_{name}"))
        .or_else(|| value(&format!("OTEL_EXPORTER_OTLP_{name}")))
}

fn is(name: &str, value: &str) -> bool {
    std::env::var(name).is_ok_and(|set| set.eq_ignore_ascii_case(value))
}

/// Begins to trace where an endpoint is given, by the variables of OpenTelemetry or by the configuration. Must be called within the
/// runtime that is to send the spans.
///
/// # Errors
/// What is wrong with what was given: the process goes on without traces.
pub fn start(service: &'static str, sale: &SaleId, configured: Option<&Tracing>) -> Result<(), StartError> {
    let is_off = is("OTEL_SDK_DISABLED", "true") || is("OTEL_TRACES_EXPORTER", "none");
    let given = variable("ENDPOINT");
    if is_off || (given.is_none() && configured.is_none()) {
        return Ok(());
    }
    if let Some(protocol) = variable("PROTOCOL").filter(|protocol| protocol != "http/protobuf") {
        return Err(StartError(format!(
            "OTEL_EXPORTER_OTLP_PROTOCOL is {protocol}, and this speaks http/protobuf alone; a collector takes it at port 4318"
        )));
    }
    let timeout = variable("TIMEOUT").and_then(|millis| millis.parse().ok());
    let timeout = timeout.map_or(Duration::from_secs(10), Duration::from_millis);
    let client = OnRuntime::new(timeout).map_err(StartError)?;
    let mut exporter = SpanExporter::builder()
        .with_http()
        .with_http_client(client)
        .with_timeout(timeout);
    if given.is_none()
        && let Some(Tracing { endpoint, .. }) = configured
    {
        exporter = exporter.with_endpoint(format!("{}/v1/traces", endpoint.as_str().trim_end_matches('/')));
    }
    let exporter = exporter.build().map_err(|error| StartError(error.to_string()))?;
    let provider = SdkTracerProvider::builder()
        .with_resource(resource(service, sale))
        .with_sampler(Choice::new(service, configured))
        .with_batch_exporter(exporter)
        .build();
    let scope = InstrumentationScope::builder("quicksale")
        .with_version(env!("CARGO_PKG_VERSION"))
        .with_schema_url(CONVENTIONS)
        .build();
    let tracer = provider.tracer_with_scope(scope);
    if PROVIDER.set(provider).is_ok() && TRACER.set(tracer).is_ok() {
        tracing::info!(
            endpoint = given.or_else(|| configured.map(|c| c.endpoint.to_string())),
            "traces go to a collector"
        );
    }
    Ok(())
}

/// Sends what is left, for a moment at the most. A process that does not call it loses its last seconds.
pub async fn finish() {
    let Some(provider) = PROVIDER.get() else {
        return;
    };
    let sent = tokio::task::spawn_blocking(|| provider.shutdown_with_timeout(LAST)).await;
    if let Ok(Err(error)) = sent {
        tracing::warn!(%error, "the last spans were not taken");
    }
}

/// Who this is, where OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES do not say otherwise.
fn resource(service: &str, sale: &SaleId) -> Resource {
    let told = Resource::builder().build();
    // The SDK makes a name up where none is told.
    let is_told = |key: &Key| {
        told.get(key)
            .is_some_and(|value| !value.as_str().starts_with("unknown_service"))
    };
    let ours = [
        KeyValue::new("service.name", format!("quicksale-{service}")),
        // Each sale has services of its own.
        KeyValue::new("service.namespace", sale.to_string()),
        KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
        KeyValue::new("service.instance.id", instance()),
    ];
    let untold = ours.into_iter().filter(|ours| !is_told(&ours.key));
    Resource::builder().with_attributes(untold).build()
}

/// Sends requests on a runtime: the SDK asks for it from a thread of its own, which has none.
#[derive(Debug)]
struct OnRuntime {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    deadline: Duration,
    runtime: Handle,
    complained: Arc<Mutex<Option<Instant>>>,
}

impl OnRuntime {
    fn new(deadline: Duration) -> Result<Self, String> {
        let runtime = Handle::try_current().map_err(|error| error.to_string())?;
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls::of_collector(&variable)?)
            .https_or_http()
            .enable_http1()
            .build();
        Ok(Self {
            client: Client::builder(TokioExecutor::new()).build(connector),
            deadline,
            runtime,
            complained: Arc::default(),
        })
    }
}

impl HttpClient for OnRuntime {
    fn send_bytes<'a, 'b>(
        &'a self,
        request: Request<Bytes>,
    ) -> Pin<Box<dyn Future<Output = Result<Response<Bytes>, HttpError>> + Send + 'b>>
    where
        'a: 'b,
        Self: 'b,
    {
        let endpoint = request.uri().clone();
        let (deadline, complained) = (self.deadline, Arc::clone(&self.complained));
        let sending = send(self.client.clone(), request);
        // The timer, too, needs the runtime around it.
        let sending = self.runtime.spawn(async move {
            let answer = match tokio::time::timeout(deadline, sending).await {
                Ok(answer) => answer,
                Err(_) => Err(format!("no answer within {deadline:?}").into()),
            };
            match &answer {
                Ok(answer) if answer.status().is_success() => {}
                Ok(answer) => complain(&complained, &endpoint, &answer.status()),
                Err(error) => complain(&complained, &endpoint, &chain(&**error)),
            }
            answer
        });
        Box::pin(async move { sending.await? })
    }
}

/// The SDK says that spans are lost, and neither where nor why.
fn complain(last: &Mutex<Option<Instant>>, endpoint: &Uri, why: &dyn Display) {
    let now = Instant::now();
    let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
    if last.is_none_or(|last| now.duration_since(last) >= COMPLAIN_EVERY) {
        *last = Some(now);
        tracing::warn!(error = %why, %endpoint, "the collector does not take spans");
    }
}

/// An error with what it came from.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

async fn send(
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    request: Request<Bytes>,
) -> Result<Response<Bytes>, HttpError> {
    let (head, body) = client.request(request.map(Full::new)).await?.into_parts();
    let body = Limited::new(body, ANSWER_BYTES).collect().await?;
    Ok(Response::from_parts(head, body.to_bytes()))
}
