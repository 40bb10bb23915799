//! The gateway: the front door of a sale.
//!
//! A request gets its trace and its line in the log, and meets, in this order: [`cors`], the rate [`limiter`] (a buyer's order is counted by the script that asks the gate, see `counting`), for administrators the question whether they still
//! are ([`administrators`]), for orders the sale's clock and the [`gate`], and
//! the [`proxy`] that takes it to its service, orders `together`, unless that gives no answers (`breaker`). [`sale_page`] answers `GET /api/sale` from memory, [`upgrade`] passes
//! WebSockets on where there is no ingress. [`warm_up`] keeps a process that has just started out of the way.

mod access;
pub mod administrators;
mod body;
mod breaker;
pub mod cors;
mod counting;
mod frames;
pub mod gate;
pub mod limiter;
pub mod one_address;
pub mod orders;
mod pages;
pub mod products;
pub mod proxy;
pub mod sale_page;
pub mod scripts;
pub mod subject;
mod to_its_end;
mod together;
mod trail;
pub mod upgrade;
mod warm_up;

use axum::{
    Router,
    extract::{Request, State},
    http::{HeaderName, HeaderValue, Method},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{any, get, post},
};
use counting::Counted;
use futures::{FutureExt, future::BoxFuture};
use platform::{
    config::Config,
    control::Control,
    health::Health,
    http::{
        authorization::{Authority, bearer_token},
        client_address::Network,
        https,
        problem::Problem,
        server,
    },
    metrics::Metric,
    standstill::Standstill,
    tokens::{Audience, Role},
};
use sale::{
    UserId,
    limits::{LimitedRoute, Verdict},
};
use std::{
    sync::{Arc, atomic::AtomicU64},
    time::Instant,
};
use subject::Subject;
use tokio_util::sync::CancellationToken;

/// What the service counts.
pub fn metrics() -> Vec<Metric> {
    let mut all = orders::metrics();
    all.extend(scripts::metrics());
    all.extend(together::metrics());
    all.extend(one_address::metrics());
    all.push(trail::metric());
    all.extend(breaker::metrics());
    all
}

/// What the service is built from.
pub struct Dependencies {
    /// The sale's configuration.
    pub config: Config,
    /// Times, switches and limits of the sale.
    pub control: Control,
    /// Redis.
    pub redis: fred::clients::Client,
    /// Verifies tokens.
    pub authority: Authority,
    /// Counts refused orders.
    pub refused: Arc<AtomicU64>,
    /// Health of the process.
    pub health: Health,
    /// Cancelled when the process ends.
    pub stop: CancellationToken,
}

/// The routes of the service and the tasks that must run beside them.
pub struct Service {
    /// Routes.
    pub router: Router,
    /// Named tasks that last as long as the process.
    pub tasks: Vec<(&'static str, BoxFuture<'static, ()>)>,
}

/// What the routes work with. Each layer and each route takes a copy for every request, so they share one.
pub(crate) struct Gateway {
    pub(crate) control: Control,
    pub(crate) authority: Authority,
    pub(crate) administrators: administrators::Administrators,
    pub(crate) limiter: limiter::Limiter,
    pub(crate) gate: gate::Gate,
    pub(crate) products: products::Products,
    pub(crate) sale_page: sale_page::SalePage,
    pub(crate) proxy: proxy::Proxy,
    pub(crate) sender: together::Sender,
    pub(crate) bodies: body::Bodies,
    pub(crate) upgrades: upgrade::Upgrades,
    pub(crate) trusted: Arc<Vec<Network>>,
    pub(crate) origins: Arc<Vec<String>>,
    /// Which requests have a line in the log.
    pub(crate) access_sample: access::Sample,
    pub(crate) one_address: Arc<one_address::OneAddress>,
    pub(crate) currency: sale::Currency,
    pub(crate) refused: Arc<AtomicU64>,
    pub(crate) standstill: Standstill,
}

/// Puts the service together. Nothing is awaited: backends and services may come later. `extra` are routes of the
/// process that are open to everyone, such as the API's documentation; they are limited like all others.
pub fn build(deps: Dependencies, extra: Router) -> Service {
    let config = deps.config;
    let products = products::Products::new(config.upstreams.inventory.clone());
    let warming = warm_up::run(
        deps.redis.clone(),
        products.clone(),
        deps.health.gate("Redis and products"),
        deps.stop.clone(),
    );
    let (scripts, asking) = scripts::start(
        deps.redis,
        &config.redis_prefix,
        deps.health.work("asking Redis"),
        deps.stop.clone(),
    );
    let standstill = Standstill::new(Instant::now());
    let one_address = Arc::new(one_address::OneAddress::new(Instant::now()));
    let proxy = proxy::Proxy::new(&config.upstreams);
    let upgrades = upgrade::Upgrades::new(&config.upstreams.notifier, deps.stop.clone());
    let gateway = Arc::new(Gateway {
        control: deps.control,
        authority: deps.authority,
        administrators: administrators::Administrators::new(&config.upstreams.auth),
        limiter: limiter::Limiter::new(scripts.clone(), &config.redis_prefix),
        gate: gate::Gate::new(scripts, &config.redis_prefix),
        products: products.clone(),
        sale_page: sale_page::SalePage::default(),
        sender: together::Sender::new(proxy.clone(), standstill.clone()),
        proxy,
        bodies: body::Bodies::new(),
        upgrades: upgrades.clone(),
        trusted: Arc::new(config.http.trusted_networks()),
        origins: Arc::new(config.http.cors_origins.clone()),
        access_sample: access::Sample::new(Instant::now()),
        one_address: Arc::clone(&one_address),
        currency: config.currency,
        refused: deps.refused,
        standstill: standstill.clone(),
    });
    // Layers that are added together, the outermost first, cost a request less than one after the other: each time, the router wraps every
    // route anew, and takes a copy of the whole for every request.
    let limited = Router::new()
        .route("/api/orders", get(proxy::forward).post(orders::place))
        .route("/api/orders/{*rest}", any(proxy::forward))
        .route("/api/dead-letters", any(proxy::forward))
        .route("/api/dead-letters/{*rest}", any(proxy::forward))
        .route("/api/auth/{*rest}", any(proxy::forward))
        .route("/.well-known/jwks.json", any(proxy::forward))
        .route("/api/inventory/{*rest}", any(proxy::forward))
        .route("/api/notifications", any(proxy::forward))
        .route("/api/notifications/{*rest}", any(proxy::forward))
        .route("/api/ws-ticket", post(proxy::forward))
        .route("/ws", get(upgrade::connect))
        // Before the layers, so that these answers go through them as well: a preflight is one of them.
        .method_not_allowed_fallback(server::method_not_allowed)
        .layer((
            middleware::from_fn_with_state(Arc::clone(&gateway), limit),
            middleware::from_fn_with_state(Arc::clone(&gateway), check_caller),
        ))
        .with_state(Arc::clone(&gateway));
    let extra = extra.layer(middleware::from_fn_with_state(Arc::clone(&gateway), limit));
    // Like the pages it is from memory, and nobody's business to count.
    let sale = Router::new()
        .route("/api/sale", get(sale_page::show))
        .method_not_allowed_fallback(server::method_not_allowed)
        .with_state(Arc::clone(&gateway));
    let router = limited
        .merge(extra)
        .merge(sale)
        .merge(pages::router(config.http.payment_url.as_deref()))
        .layer((
            cors::layer(&config.http.cors_origins),
            middleware::from_fn_with_state(Arc::clone(&gateway), trail::follow),
        ));
    let mut router = https::require_if(router, config.http.https_host.as_deref());
    // Each layer costs every request something, also one that does nothing.
    if config.http.access_log {
        router = router.layer(middleware::from_fn_with_state(gateway, access::follow));
    }
    let tasks = vec![
        ("standstill", standstill.watch(deps.stop.clone()).boxed()),
        (
            "requests of one address",
            one_address.forget(deps.stop.clone()).boxed(),
        ),
        ("gateway products", products.refresh_until(deps.stop).boxed()),
        ("sockets passed on", upgrades.until_all_are_told().boxed()),
        ("gateway warm-up", warming.boxed()),
        ("gateway scripts", asking.boxed()),
    ];
    Service { router, tasks }
}

impl Gateway {
    /// Fails for what may have waited here while this process stood still, if it changes anything: whoever asked for it has been told
    /// otherwise since.
    pub(crate) fn check_fresh(&self, method: &Method) -> Result<(), Problem> {
        if !method.is_safe() && self.standstill.may_be_stale(Instant::now()) {
            return Err(Problem::busy());
        }
        Ok(())
    }
}

#[derive(utoipa::OpenApi)]
#[openapi(paths(sale_page::show))]
struct Api;

/// The gateway's own routes as an OpenAPI document.
pub fn openapi() -> utoipa::openapi::OpenApi {
    <Api as utoipa::OpenApi>::openapi()
}

/// Refuses a token that parts of QuickSale call each other with: the services behind would take it. And that of an administrator who is
/// none any more.
async fn check_caller(State(gateway): State<Arc<Gateway>>, request: Request, next: Next) -> Response {
    // Most are buyers, and it is known who they are: there is nothing more to ask about them.
    if request.extensions().get::<Buyer>().is_some() {
        return next.run(request).await;
    }
    let token = bearer_token(request.headers());
    if token.is_some_and(|token| gateway.authority.must_stay_inside(token)) {
        return Problem::unauthenticated("The access token is not valid; log in again.").into_response();
    }
    match administrators::check(&gateway, &request).await {
        Ok(()) => next.run(request).await,
        Err(problem) => problem.into_response(),
    }
}

/// A buyer whose bearer token was verified on this request.
#[derive(Debug, Clone)]
pub(crate) struct Buyer(pub(crate) UserId);

/// Counts the request against its limit, and says so in the answer's headers.
async fn limit(State(gateway): State<Arc<Gateway>>, mut request: Request, next: Next) -> Response {
    let route = LimitedRoute::of(request.method().as_str(), request.uri().path());
    let limit = gateway.control.current().rate_limits.get(route);
    gateway
        .one_address
        .count(subject::address(&request, &gateway.trusted));
    let Subject {
        first,
        others,
        caller,
    } = subject::counts(&request, &gateway.authority, &gateway.trusted, limit);
    let counted = Arc::new(Counted::not_yet(first, others));
    let buyer = caller.filter(|caller| caller.role == Role::Buyer && caller.audience == Audience::Public);
    let is_a_buyer = buyer.is_some();
    // Of a socket the token may be another one than the header's.
    if let Some(buyer) = buyer.filter(|_| request.uri().path() != "/ws") {
        request.extensions_mut().insert(Buyer(buyer.user));
    }
    if route == LimitedRoute::Orders && is_a_buyer {
        // Whoever places the order counts it, with what it asks the gate.
        request.extensions_mut().insert(Arc::clone(&counted));
        let mut response = next.run(request).await;
        if !counted.is_done()
            && let Err(over) = counted.count(&gateway.limiter).await
        {
            response = over.into_response();
        }
        return with_verdict(response, &counted);
    }
    if let Err(over) = counted.count(&gateway.limiter).await {
        // Without Redis nobody can count over all replicas. What is costly or open to guessing is refused;
        // reading goes on, since a buyer's view of an order is worth more than an exact limit on looking.
        if counted.verdict().is_none() && route == LimitedRoute::Default {
            return next.run(request).await;
        }
        orders::count_refusal(&gateway, route, over.code);
        let response = over.into_response();
        return with_verdict(response, &counted);
    }
    with_verdict(next.run(request).await, &counted)
}

/// Says in an answer's headers what came of the count, where somebody could count.
fn with_verdict(response: Response, counted: &Counted) -> Response {
    match counted.verdict() {
        Some(verdict) => with_headers(response, verdict),
        None => response,
    }
}

fn with_headers(mut response: Response, verdict: &Verdict) -> Response {
    let reset = if verdict.allowed() {
        verdict.limit.window_ms.div_ceil(1_000)
    } else {
        verdict.retry_after_seconds()
    };
    let headers = response.headers_mut();
    for (name, value) in [
        ("ratelimit-limit", u64::from(verdict.limit.limit)),
        ("ratelimit-remaining", u64::from(verdict.remaining)),
        ("ratelimit-reset", reset),
    ] {
        headers.insert(HeaderName::from_static(name), HeaderValue::from(value));
    }
    response
}
