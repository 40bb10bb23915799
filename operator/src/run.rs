//! The process: one leader reconciles, the others wait.

use crate::{
    administrator, api_client,
    controller::{context::Context, reconcile},
    deadline::within,
    fence::{Fence, Fenced},
    heap,
    lease::{LEASE, Leadership},
    metrics::{self, LEADER},
    sale_metrics::ShownSales,
    scope::Scope,
    settings::Settings,
    staleness, switches,
    watched::follow,
};
use crds::Readable;
use futures::{StreamExt, TryStreamExt, stream};
use k8s_openapi::api::core::v1::Namespace;
use kube::{
    Api, Client, Resource,
    runtime::{
        Controller, PredicateConfig, WatchStreamExt,
        controller::Config,
        reflector::{self, ObjectRef},
    },
};
use platform::{
    admin,
    clock::Clock,
    event_loop,
    health::{Health, Heartbeat},
    http::server::Server,
    retry::Backoff,
    tasks::Tasks,
};
use std::{
    hash::{DefaultHasher, Hash, Hasher},
    net::{IpAddr, Ipv6Addr},
    process::ExitCode,
    sync::Arc,
    time::Duration,
};
use tokio_util::sync::CancellationToken;

/// Sales that are reconciled at the same time: each has its objects in memory for that long, a megabyte or two, of which malloc keeps the
/// most there ever was (bench/RESULTS.md). Halts and openings do not wait for it.
const CONCURRENCY: u16 = 6;
/// Applying a sale makes some fifty events of its own objects within a moment; they are answered once.
const DEBOUNCE: Duration = Duration::from_millis(100);
/// A lease that was not even asked for in this time means that the process hangs.
const LEASE_STALE: Duration = Duration::from_secs(60);

/// Runs until a signal.
///
/// # Errors
/// When it cannot start.
pub async fn run(settings: Settings) -> anyhow::Result<ExitCode> {
    let mut tasks = Tasks::new();
    let stop = tasks.stop_token();
    metrics::show();
    tasks.spawn("event loop", event_loop::measure(stop.clone()));
    tasks.spawn("memory", heap::give_back(stop.clone()));
    let health = Health::new(stop.clone());
    let lease_seen = health.gate("the lease");
    let rights = health.gate("the right to read what a sale needs");
    let bind = IpAddr::V6(Ipv6Addr::UNSPECIFIED);
    let server = Server::bind(
        "operator",
        bind,
        settings.admin_port,
        admin::routes(health.clone()),
    )
    .await?;
    tasks.spawn("admin server", server.run(stop.clone()));
    let config = kube::Config::infer().await?;
    let fence = Arc::new(Fence::default());
    // The Lease is written by whoever does not lead yet; everything else by the leader alone.
    let client = api_client::builder(&config)?.with_layer(&Fenced(None)).build();
    let fenced = api_client::builder(&config)?
        .with_layer(&Fenced(Some(Arc::clone(&fence))))
        .build();
    let lease_heart = health.heartbeat("the lease", LEASE_STALE);
    let leadership = Leadership::new(
        &client,
        &settings.namespace,
        &settings.lease,
        &settings.identity,
        Clock::System,
        fence,
    );
    let scope = Scope::new(client, &settings.watch_namespaces);
    let asked = stop.clone();
    let with_routes = settings.entrances.gateway_api;
    tasks.spawn("rights", async move {
        if granted(&scope, with_routes, &asked).await {
            rights.release();
        }
        asked.cancelled().await;
    });
    tasks.spawn("operator", async move {
        let mut lease_seen = Some(lease_seen);
        let mut tried = |answered: bool| {
            // An API server that is away is no reason to start anew: only a loop that does not turn is.
            lease_heart.beat();
            if answered && let Some(gate) = lease_seen.take() {
                gate.release();
            }
        };
        while leadership.acquire(&stop, &mut tried).await {
            lead(&leadership, &fenced, &settings, &health, &lease_heart, &stop).await;
        }
    });
    Ok(tasks.run_until_stopped().await)
}

/// How often the rights are asked for while they are missing.
const RIGHTS_EVERY: Duration = Duration::from_secs(5);

/// Waits until every kind of object that the operator follows may be read: a release that lacks a right is not ready, and a rolling
/// upgrade stops there. `false` when asked to stop.
async fn granted(scope: &Scope, with_routes: bool, stop: &CancellationToken) -> bool {
    loop {
        match follow::may_read(scope, with_routes).await {
            Ok(()) => return true,
            Err(error) => tracing::warn!(%error, "what a sale needs cannot be read; see the chart's roles"),
        }
        tokio::select! {
            () = stop.cancelled() => return false,
            () = tokio::time::sleep(RIGHTS_EVERY) => {}
        }
    }
}

/// Reconciles for as long as the Lease holds. When it returns before it was asked to, another replica may lead: whatever is still
/// under way writes nothing any more, because the fence is closed.
async fn lead(
    leadership: &Leadership,
    client: &Client,
    settings: &Settings,
    health: &Health,
    heart: &Heartbeat,
    stop: &CancellationToken,
) {
    heart.beat();
    LEADER.set(1);
    let reconciling = CancellationToken::new();
    let watch_heart = health.heartbeat("the watch", staleness::AT_MOST);
    let work = reconcile_until(
        client.clone(),
        settings.clone(),
        Clock::System,
        watch_heart.clone(),
        reconciling.clone(),
    );
    let mut reconcile = Box::pin(async { tokio::join!(work, leadership.announce(client)).0 });
    let lost = tokio::select! {
        () = leadership.keep(stop, || heart.beat()) => !stop.is_cancelled(),
        () = &mut reconcile => true,
    };
    LEADER.set(0);
    if !lost {
        reconciling.cancel();
        // What has begun may end while the Lease is still ours.
        let _bounded = tokio::time::timeout(LEASE / 3, &mut reconcile).await;
    }
    // Before the Lease is given back: what still runs must not.
    drop(reconcile);
    watch_heart.retire();
    leadership.release().await;
}

/// Reconciles every FlashSale until `stop`. The caller holds the Lease.
pub async fn reconcile_until(
    client: Client,
    settings: Settings,
    clock: Clock,
    heart: Heartbeat,
    stop: CancellationToken,
) {
    administrator::ensure(&client, &settings, &stop, || heart.beat()).await;
    let scope = Scope::new(client.clone(), &settings.watch_namespaces);
    let (store, writer) = reflector::store();
    let (edits, seen) = switches::way();
    let following = follow::everything(&scope, settings.entrances.gateway_api);
    let sales = scope
        .watch::<Readable>()
        .reflect(writer)
        .applied_objects()
        .inspect_ok(move |sale| edits.saw(sale))
        .predicate_filter(what_people_change, PredicateConfig::default());
    let asked_to = stop.clone();
    // What is deleted or edited by hand comes back. Secrets are not watched: that would take the right to list those of everybody.
    let mut told = following.told;
    let told = stream::poll_fn(move |task| told.poll_recv(task))
        .map(|sale| ObjectRef::new(&sale.name).within(&sale.namespace));
    let controller = Controller::for_stream(sales, store.clone())
        .reconcile_on(told)
        .with_config(Config::default().debounce(DEBOUNCE).concurrency(CONCURRENCY))
        .graceful_shutdown_on(async move { asked_to.cancelled().await });
    let Some(cluster) = cluster_id(&client, &settings, &stop).await else {
        return;
    };
    let context = match Context::new(client, cluster, settings, clock, store.clone(), following.watched) {
        Ok(context) => Arc::new(context),
        Err(error) => {
            tracing::error!(%error, "no HTTP client can be made");
            return;
        }
    };
    let _shown = ShownSales::of(store.clone());
    let switches = switches::carry(Arc::clone(&context), store.clone(), seen);
    let compare = staleness::compare_until(scope, store.clone(), heart, stop.clone());
    let run = controller
        .run(reconcile::reconcile, reconcile::after_error, context)
        .for_each(|result| {
            // Errors of reconciliations are logged where they are answered; these are errors of the queue and of watches.
            if let Err(error) = result {
                tracing::debug!(%error, "controller");
            }
            std::future::ready(())
        });
    // The comparison ends at once when asked to, the controller when what it has begun is done; the others with it.
    let until_both_end = async { tokio::join!(run, compare) };
    tokio::select! {
        _ = until_both_end => {}
        () = following.work => tracing::error!("the watches of the sales' objects have ended"),
        () = switches => tracing::error!("the fast way of switches has ended"),
    }
}

/// What tells this cluster from others that use the same backends. Waits for an API server that does not answer; `None`
/// when asked to stop.
async fn cluster_id(client: &Client, settings: &Settings, stop: &CancellationToken) -> Option<String> {
    if let Some(cluster) = &settings.cluster {
        return Some(cluster.clone());
    }
    let api: Api<Namespace> = Api::all(client.clone());
    let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(10));
    loop {
        match within(api.get_metadata("kube-system")).await {
            Ok(namespace) => return namespace.metadata.uid,
            Err(error) => tracing::warn!(
                %error,
                "cannot tell which cluster this is; name it in QUICKSALE_CLUSTER, or allow to get the namespace kube-system"
            ),
        }
        tokio::select! {
            () = stop.cancelled() => return None,
            () = tokio::time::sleep(backoff.next_wait()) => {}
        }
    }
}

/// Everything about a FlashSale but its status: our own writes of that must not start another reconciliation. The
/// uid is part of it, or a sale that is made anew under its old name would go unnoticed.
fn what_people_change(sale: &Readable) -> Option<u64> {
    let mut hash = DefaultHasher::new();
    let meta = sale.meta();
    (&meta.uid, &meta.generation, &meta.annotations, &meta.finalizers).hash(&mut hash);
    meta.deletion_timestamp.is_some().hash(&mut hash);
    Some(hash.finish())
}
