//! An operator whose API server is unwell: it answers late, with errors and conflicts, ends watches as expired, and is away for a while. All
//! of it is done by a proxy between the two; behind it is the real server.
//!
//! Not run beside the other tests: theirs is an operator that would do the work of this one.

use super::{
    chart::{NAMESPACE, install, operator_command, operators_kubeconfig, told_by_the_chart},
    doors::{Door, pod, ready_at},
    marks::passing_sale,
    operator::services_are_deployed,
    statuses::control,
};
use anyhow::{Result, ensure};
use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use crds::FlashSale;
use k8s_openapi::api::apps::v1::Deployment;
use kube::{
    Client, Config, ResourceExt,
    api::{DeleteParams, ListParams, Patch, PatchParams},
    client::Body as ClientBody,
    config::{KubeConfigOptions, Kubeconfig},
};
use platform::clock::Clock;
use quicksale_tests::{cluster::Cluster, ports, world::eventually};
use serde_json::json;
use std::{
    net::Ipv4Addr,
    process::Child,
    sync::{
        Arc,
        atomic::{AtomicU8, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

/// How long what needs no luck may take.
const SOON: Duration = Duration::from_secs(30);
/// The same with a server that fails one request in eight, and as many writes and watches again: each try of a sale makes dozens of them, and
/// the waits between tries grow up to a minute.
const WITH_LUCK: Duration = Duration::from_secs(150);
/// How long the server is away: longer than the Lease lasts, than a liveness probe waits, and than any call's deadline.
const AWAY: Duration = Duration::from_secs(75);
/// How late answers are.
const LATE: Duration = Duration::from_millis(200);
/// How long a watch lasts before it is ended.
const WATCHED: Duration = Duration::from_secs(3);

/// How the server is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mood {
    Well,
    Unwell,
    Away,
}

struct Proxy {
    client: Client,
    mood: AtomicU8,
    asked: AtomicUsize,
}

impl Proxy {
    fn set(&self, mood: Mood) {
        self.mood.store(mood as u8, Ordering::Relaxed);
    }

    fn is(&self, mood: Mood) -> bool {
        self.mood.load(Ordering::Relaxed) == mood as u8
    }
}

/// An answer as the API server words it.
fn failure(status: StatusCode, reason: &str) -> Response {
    let body = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": "the test says so",
        "reason": reason, "code": status.as_u16()});
    (status, axum::Json(body)).into_response()
}

async fn pass(State(proxy): State<Arc<Proxy>>, request: Request) -> Response {
    let number = proxy.asked.fetch_add(1, Ordering::Relaxed);
    let is_watch = request
        .uri()
        .query()
        .is_some_and(|query| query.contains("watch=true"));
    let is_patch = request.method() == axum::http::Method::PATCH;
    if proxy.is(Mood::Away) {
        // As behind a load balancer without anybody behind it.
        return failure(StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable");
    }
    if proxy.is(Mood::Unwell) {
        tokio::time::sleep(LATE).await;
        match number % 8 {
            0 => return failure(StatusCode::INTERNAL_SERVER_ERROR, "InternalError"),
            4 if is_patch => return failure(StatusCode::CONFLICT, "Conflict"),
            4 if is_watch => return failure(StatusCode::GONE, "Expired"),
            _ => {}
        }
    }
    let (parts, body) = request.into_parts();
    let Ok(body) = axum::body::to_bytes(body, 8 << 20).await else {
        return failure(StatusCode::PAYLOAD_TOO_LARGE, "TooLarge");
    };
    let request = axum::http::Request::from_parts(parts, ClientBody::from(body.to_vec()));
    let answer = match proxy.client.send(request).await {
        Ok(answer) => answer,
        Err(error) => return failure(StatusCode::BAD_GATEWAY, &error.to_string()),
    };
    let (parts, body) = answer.into_parts();
    let body = Body::new(body);
    if !is_watch {
        return Response::from_parts(parts, body);
    }
    // Nobody is told of what happens while the server is away, nor for longer than a moment while it is unwell.
    let began = Instant::now();
    let frames = futures::stream::unfold(
        (body.into_data_stream(), proxy),
        move |(mut frames, proxy)| async move {
            loop {
                let wait =
                    tokio::time::timeout(Duration::from_millis(200), futures::StreamExt::next(&mut frames));
                let frame = wait.await;
                // Looked at after the wait: what comes once the server is away is told to nobody.
                if proxy.is(Mood::Away) || (proxy.is(Mood::Unwell) && began.elapsed() > WATCHED) {
                    return None;
                }
                if let Ok(frame) = frame {
                    return frame.map(|frame| (frame, (frames, proxy)));
                }
            }
        },
    );
    Response::from_parts(parts, Body::from_stream(frames))
}

/// The operator, which ends with this.
struct Operator {
    process: Child,
    port: u16,
}

impl Drop for Operator {
    fn drop(&mut self) {
        let _gone = self.process.kill().and_then(|()| self.process.wait().map(drop));
    }
}

impl Operator {
    /// Starts it behind the proxy.
    async fn start() -> Result<(Self, Arc<Proxy>)> {
        let own = operators_kubeconfig(NAMESPACE, "quicksale").await?;
        let (kubeconfig, usual) = (Kubeconfig::read_from(&own)?, KubeConfigOptions::default());
        let config = Config::from_custom_kubeconfig(kubeconfig, &usual);
        let proxy = Arc::new(Proxy {
            client: Client::try_from(config.await?)?,
            mood: AtomicU8::new(Mood::Well as u8),
            asked: AtomicUsize::new(0),
        });
        let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let server = format!("http://{}", listener.local_addr()?);
        let routes = Router::new().fallback(pass).with_state(Arc::clone(&proxy));
        tokio::spawn(async move { axum::serve(listener, routes).await });
        let mut config: serde_json::Value = serde_json::from_slice(&std::fs::read(&own)?)?;
        config["clusters"][0]["cluster"] = json!({"server": server});
        let behind = own.with_extension("proxied");
        std::fs::write(&behind, config.to_string())?;
        let [port] = ports::free()?;
        let process = operator_command(&behind, "unwell", port)
            .envs(told_by_the_chart(NAMESPACE, "quicksale").await?)
            .env("POD_NAMESPACE", NAMESPACE)
            .env("QUICKSALE_IMAGE", "quicksale:test")
            .spawn()?;
        Ok((Self { process, port }, proxy))
    }

    /// Whether its liveness probe is answered, and it has not ended.
    async fn lives(&mut self) -> Result<bool> {
        let ended = self.process.try_wait()?;
        ensure!(ended.is_none(), "the operator has ended: {ended:?}");
        let answer = reqwest::get(format!("http://127.0.0.1:{}/livez", self.port)).await;
        Ok(answer.is_ok_and(|answer| answer.status() == 200))
    }
}

#[tokio::test]
#[ignore = "needs an API server without another operator: hack/test.sh apiserver runs it alone"]
async fn an_operator_gets_by_with_an_api_server_that_is_unwell_or_away() -> Result<()> {
    install().await?;
    let (mut operator, proxy) = Operator::start().await?;
    let cluster = Cluster::with_namespace("unwell").await?;
    cluster.sell("shoes", &passing_sale()).await?;
    services_are_deployed(&cluster).await?;
    let mut doors = Vec::new();
    for (service, last) in [("gateway", 1), ("order", 2)] {
        let address = Ipv4Addr::new(127, 41, 0, last);
        doors.push(Door::open(&cluster, "shoes", address, Clock::System).await?);
        pod(&cluster, "shoes", service, &ready_at(address)).await?;
    }
    let since = "2026-01-01T00:00:00Z";
    let open = json!({"status": {"phase": "Live", "opensAt": since, "openedAt": since}});
    let sales = cluster.api::<FlashSale>();
    eventually(SOON, "the sale is open", async || {
        let now = cluster.sale("shoes").await?.status.unwrap_or_default();
        if now.opened_at.is_none() {
            sales
                .patch_status("shoes", &PatchParams::default(), &Patch::Merge(&open))
                .await?;
        }
        Ok(now.opened_at.is_some() && doors.iter().all(|door| door.control.current().opens_at.is_some()))
    })
    .await?;
    let obeys = |halted: bool| doors.iter().all(|door| door.control.current().halted == halted);
    let written = async |halted: bool| Ok::<_, anyhow::Error>(control(&cluster).await?["halted"] == halted);

    proxy.set(Mood::Unwell);
    cluster.edit("shoes", &json!({"halted": true})).await?;
    eventually(WITH_LUCK, "the halt is in force and written down", async || {
        Ok(obeys(true) && written(true).await?)
    })
    .await?;
    cluster.sell("boots", &passing_sale()).await?;
    let deployments = cluster.api::<Deployment>();
    ensure!(operator.lives().await?, "it does not live");
    let applied = Instant::now();
    eventually(WITH_LUCK, "another sale gets its services", async || {
        let all = deployments.list_metadata(&ListParams::default()).await?.items;
        let boots = all
            .iter()
            .filter(|deployment| deployment.name_any().starts_with("boots-"));
        Ok(boots.count() == 6)
    })
    .await?;
    println!(
        "with one request in eight failed, a sale got its services after {:.0} s",
        applied.elapsed().as_secs_f64()
    );
    proxy.set(Mood::Well);
    ensure!(operator.lives().await?, "it does not live");

    proxy.set(Mood::Away);
    let back = Instant::now() + AWAY;
    cluster.edit("shoes", &json!({"halted": false})).await?;
    deployments
        .delete("boots-order", &DeleteParams::background())
        .await?;
    while Instant::now() < back {
        ensure!(
            operator.lives().await?,
            "its liveness probe fails while the API server is away"
        );
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    ensure!(obeys(true), "nobody can have told the doors");
    proxy.set(Mood::Well);
    eventually(SOON, "what was missed is made up for", async || {
        Ok(obeys(false) && written(false).await? && deployments.get_opt("boots-order").await?.is_some())
    })
    .await?;
    ensure!(operator.lives().await?, "it does not live");
    Ok(())
}
