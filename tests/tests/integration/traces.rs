//! One trace for each order, from the click to the frame on the buyer's socket, as a collector of another make understands it.

use anyhow::{Context, Result, ensure};
use mongodb::bson::doc;
use platform::{tokens::Role, traces::Tracing};
use quicksale_tests::{
    collector::{Collector, Span},
    scenarios::SETTLED,
    shop::{Answer, next_update},
    world::{Setup, World, eventually},
};
use serde_json::json;
use std::{collections::BTreeMap, time::Duration};
use tokio::{io::AsyncReadExt, net::TcpListener, time::Instant};

/// The span that the buyer's page has for the click.
const CLICK: &str = "00f067aa0ba902b7";

/// A part of what is done for an order.
struct Part {
    service: &'static str,
    name: &'static str,
    kind: &'static str,
    /// What is said of it, among other things.
    says: &'static [&'static str],
}

/// What is done for an order, one after the other.
const WAY: [Part; 9] = [
    Part {
        service: "quicksale-gateway",
        name: "POST /api/orders",
        kind: "SPAN_KIND_SERVER",
        says: &[
            "http.route",
            "url.path",
            "http.response.status_code",
            "quicksale.request.id",
        ],
    },
    Part {
        service: "quicksale-gateway",
        name: "POST",
        kind: "SPAN_KIND_CLIENT",
        says: &[
            "url.full",
            "server.address",
            "server.port",
            "http.response.status_code",
        ],
    },
    Part {
        service: "quicksale-order",
        name: "POST /api/orders",
        kind: "SPAN_KIND_SERVER",
        says: &[
            "http.route",
            "url.path",
            "http.response.status_code",
            "quicksale.request.id",
        ],
    },
    sent("send order.created"),
    processed("quicksale-inventory", "process order.created"),
    sent("send inventory.result"),
    processed("quicksale-order", "process inventory.result"),
    sent("send order.status"),
    Part {
        service: "quicksale-notifier",
        name: "send order.update",
        kind: "SPAN_KIND_PRODUCER",
        says: &["quicksale.order.id", "messaging.message.id"],
    },
];

const fn sent(name: &'static str) -> Part {
    Part {
        service: "quicksale-processor",
        name,
        kind: "SPAN_KIND_PRODUCER",
        says: MESSAGE,
    }
}

const fn processed(service: &'static str, name: &'static str) -> Part {
    Part {
        service,
        name,
        kind: "SPAN_KIND_CONSUMER",
        says: MESSAGE,
    }
}

/// What is said of a record.
const MESSAGE: &[&str] = &[
    "messaging.system",
    "messaging.operation.name",
    "messaging.destination.name",
    "messaging.destination.partition.id",
    "messaging.kafka.offset",
    "messaging.message.id",
    "quicksale.order.id",
];

/// Spans leave every fifth of a second, and not every five.
fn soon() -> (&'static str, String) {
    ("OTEL_BSP_SCHEDULE_DELAY", "200".to_owned())
}

/// A sale whose gateway traces a part of all requests.
async fn traced(collector: &Collector, part: f64) -> Result<World> {
    World::start_as(Setup {
        tracing: Some(Tracing {
            endpoint: collector.endpoint().parse()?,
            part,
        }),
        environment: vec![soon()],
        ..Setup::default()
    })
    .await
}

/// Ada buys one unit, from a page that traces its click.
async fn clicked(world: &World, sku: &str, trace: &str) -> Result<Answer> {
    let shop = &world.shop;
    let request = shop
        .http
        .post(shop.url("/api/orders"))
        .bearer_auth(shop.token("ada", Role::Buyer)?)
        .header("idempotency-key", "k")
        .header("traceparent", format!("00-{trace}-{CLICK}-01"))
        .json(&json!({"items": [{"sku": sku, "quantity": 1}]}));
    Answer::of(request.send().await?).await
}

#[tokio::test]
async fn an_order_is_one_trace_from_the_click_to_the_frame() -> Result<()> {
    let collector = Collector::start().await?;
    let world = traced(&collector, 1.0).await?;
    world.shop.product("TRACED", 5, None).await?;
    let mut socket = world.shop.socket(&world.shop.token("ada", Role::Buyer)?).await?;
    let trace = uuid::Uuid::new_v4().simple().to_string();
    clicked(&world, "TRACED", &trace).await?.expect(201)?;
    next_update(&mut socket).await?;
    eventually(SETTLED, "the trace is whole", async || {
        let spans = collector.trace(&trace);
        is_whole(&spans)?;
        batches_are_linked(&collector, &spans)?;
        Ok(true)
    })
    .await?;
    // Nobody asked for traces of these, and each request has one; probes have none.
    let all = collector.spans();
    let socket = all
        .iter()
        .find(|span| span.trace != trace && span.name == "GET /ws")
        .context("no other trace")?;
    let sale = world.config.sale.to_string();
    ensure!(
        socket.resource.get("service.namespace") == Some(&sale),
        "{socket:?} is of no sale, or of another"
    );
    let probe = all
        .iter()
        .find(|span| span.name.contains("/livez") || span.name.contains("/metrics"));
    ensure!(probe.is_none(), "{probe:?} is traced");
    // A refusal names its trace, and so do the lines about it.
    let refused = world.shop.order("bob", "k", "UNKNOWN", 1).await?;
    refused.expect(400)?;
    let id = refused.json["traceId"].as_str().context("no traceId")?;
    eventually(SETTLED, "the refusal's trace has come", async || {
        Ok(collector
            .trace(id)
            .iter()
            .any(|span| span.service == "quicksale-order"))
    })
    .await?;
    ensure!(
        world.log_of("gateway")?.contains(id),
        "no line of the gateway names {id}"
    );
    Ok(())
}

/// Looks whether each part is under the one before it, by whom it should be, and the click above all of them.
fn is_whole(spans: &[Span]) -> Result<()> {
    let by_id: BTreeMap<&str, &Span> = spans.iter().map(|span| (span.id.as_str(), span)).collect();
    let frame = spans
        .iter()
        .find(|span| span.name == "send order.update")
        .with_context(|| {
            let names: Vec<_> = spans.iter().map(|span| (&span.service, &span.name)).collect();
            format!("no frame among {names:?}")
        })?;
    let mut way = vec![frame];
    let mut at = frame;
    while at.parent != CLICK {
        let above = by_id
            .get(at.parent.as_str())
            .with_context(|| format!("what {at:?} is under has not come"))?;
        ensure!(above.time.0 <= at.time.0, "{above:?} began after {at:?}");
        way.push(above);
        at = above;
    }
    way.reverse();
    let names: Vec<_> = way
        .iter()
        .map(|span| (span.service.as_str(), span.name.as_str()))
        .collect();
    ensure!(
        names == WAY.each_ref().map(|part| (part.service, part.name)),
        "the way was {names:?}"
    );
    for (span, part) in way.into_iter().zip(WAY) {
        ensure!(span.kind == part.kind, "{span:?}");
        for said in part.says {
            ensure!(
                span.attributes.contains_key(*said),
                "{said} is not said of {span:?}"
            );
        }
    }
    for span in spans {
        ensure!(!span.failed, "{span:?}");
        ensure!(
            span.parent == CLICK || by_id.contains_key(span.parent.as_str()),
            "{span:?} hangs in the air"
        );
    }
    // Both who read the news of the order did so under the same message.
    let readers: Vec<&str> = spans
        .iter()
        .filter(|span| span.name == "process order.status" && span.parent == frame.parent)
        .map(|span| span.service.as_str())
        .collect();
    for reader in ["quicksale-inventory", "quicksale-notifier"] {
        ensure!(readers.contains(&reader), "{reader} is not among {readers:?}");
    }
    Ok(())
}

/// What is done for many at once is in traces of its own, and each names the other.
fn batches_are_linked(collector: &Collector, spans: &[Span]) -> Result<()> {
    let all = collector.spans();
    let mut looked_at = 0;
    for span in spans {
        let whole = match span.name.as_str() {
            "accept order" => "accept batch",
            name if name.starts_with("process ") => "commit batch",
            _ => continue,
        };
        let (_, batch) = span
            .links
            .first()
            .with_context(|| format!("{span:?} has no link"))?;
        let batch = all
            .iter()
            .find(|other| other.id == *batch)
            .with_context(|| format!("the batch of {span:?} has not come"))?;
        ensure!(batch.name == whole && batch.trace != span.trace, "{batch:?}");
        ensure!(
            batch.links.contains(&(span.trace.clone(), span.id.clone())),
            "{batch:?} does not name {span:?}"
        );
        looked_at += 1;
    }
    let names: Vec<_> = spans.iter().map(|span| &span.name).collect();
    ensure!(
        looked_at >= 5,
        "only {looked_at} of {names:?} are parts of batches"
    );
    Ok(())
}

/// A caller who asks to be traced has no say in it, and behind the gateway nobody chooses once more.
#[tokio::test]
async fn what_the_gateway_does_not_choose_is_traced_by_nobody() -> Result<()> {
    let collector = Collector::start().await?;
    let world = traced(&collector, 0.0).await?;
    world.shop.product("UNCHOSEN", 5, None).await?;
    let trace = uuid::Uuid::new_v4().simple().to_string();
    clicked(&world, "UNCHOSEN", &trace).await?.expect(201)?;
    eventually(SETTLED, "the order has ended", async || {
        Ok(world.count_orders(doc! {"status": "CONFIRMED"}).await? == 1)
    })
    .await?;
    // Processes that end send what they have.
    world.end().await?;
    collector.catch_up().await?;
    let traced = collector.trace(&trace);
    ensure!(traced.is_empty(), "{traced:?}");
    Ok(())
}

/// A collector that takes connections and says nothing, the worst that one can do.
#[tokio::test]
async fn a_collector_that_says_nothing_keeps_no_order_waiting() -> Result<()> {
    let silent = TcpListener::bind("127.0.0.1:0").await?;
    let endpoint = format!("http://{}", silent.local_addr()?);
    let (asked, mut was_asked) = tokio::sync::mpsc::channel(1);
    let keeping = tokio::spawn(async move {
        let mut kept = Vec::new();
        while let Ok((mut stream, _)) = silent.accept().await {
            let mut some = [0; 16];
            if stream.read_exact(&mut some).await.is_ok() {
                let _known = asked.try_send(some);
            }
            kept.push(stream);
        }
    });
    let world = World::start_as(Setup {
        environment: vec![
            ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint),
            // A queue that is soon full, and spans that are sent soon.
            ("OTEL_BSP_MAX_QUEUE_SIZE", "16".to_owned()),
            ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "8".to_owned()),
            soon(),
        ],
        ..Setup::default()
    })
    .await?;
    world.shop.product("UNSEEN", 500, None).await?;
    world.shop.order("first", "k", "UNSEEN", 1).await?.expect(201)?;
    let first = tokio::time::timeout(SETTLED, was_asked.recv()).await?;
    ensure!(
        first.is_some_and(|said| said.starts_with(b"POST /v1/traces")),
        "{first:?}"
    );
    let begun = Instant::now();
    for number in 0..50 {
        let buyer = format!("buyer-{number}");
        world.shop.order(&buyer, "k", "UNSEEN", 1).await?.expect(201)?;
    }
    // The collector has ten seconds for each answer: an order that waited for one would show.
    ensure!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    eventually(SETTLED, "all orders have ended", async || {
        Ok(world.count_orders(doc! {"status": "CONFIRMED"}).await? == 51)
    })
    .await?;
    keeping.abort();
    Ok(())
}
