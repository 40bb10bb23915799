//! `POST /api/orders`: the sale's clock and the gate stand before the order service.

use crate::{
    Buyer, Gateway,
    body::Whole,
    counting::Counted,
    gate::{Attempt, Doubt, Knowledge, Outcome, Passage, Passed, Short, Units, WantedUnits},
    products::Judgement,
    proxy::NoAnswer,
    subject,
    to_its_end::ToItsEnd,
    together::Order,
};
use axum::{
    body::Body,
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use platform::{
    http::{
        REQUEST_ID,
        authorization::bearer_token,
        idempotency, is_json,
        problem::{Code, Problem},
    },
    metrics::{Metric, must},
    retry::Backoff,
    traces::context,
};
use prometheus::{IntCounterVec, register_int_counter_vec};
use sale::{ProductId, Quantity, Sku, UserId, control::Admission, limits::LimitedRoute, order::MOST_ITEMS};
use serde::{Deserialize, de::IgnoredAny};
use std::{
    collections::BTreeMap,
    iter,
    net::IpAddr,
    pin::pin,
    sync::{Arc, LazyLock, atomic::Ordering},
    time::{Duration, Instant},
};
use tokio::sync::Semaphore;

/// How long an order waits for another one of the same user.
const UNDER_WAY: Duration = Duration::from_secs(10);

static REFUSED: LazyLock<IntCounterVec> = LazyLock::new(|| {
    must(register_int_counter_vec!(
        "quicksale_orders_refused_total",
        "Orders that the gateway refused without asking the order service, by the code of the answer.",
        &["code"]
    ))
});

/// Why the gateway itself refuses an order that it could read.
const REFUSALS: [Code; 7] = [
    Code::SoldOut,
    Code::UnitsHeld,
    Code::SaleNotOpen,
    Code::SaleClosed,
    Code::SaleHalted,
    Code::CustomerLimit,
    Code::Busy,
];

/// What is counted here.
pub(crate) fn metrics() -> Vec<Metric> {
    for code in REFUSALS.into_iter().chain([Code::RateLimited]) {
        REFUSED.with_label_values(&[&name(code)]);
    }
    vec![&*REFUSED]
}

/// A code as it is on the wire.
fn name(code: Code) -> String {
    let value = serde_json::to_value(code).ok();
    value
        .and_then(|value| value.as_str().map(str::to_owned))
        .unwrap_or_default()
}

/// A body as the order service takes it: for one that it will refuse, nothing may be taken from others.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    items: Vec<WantedItem>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct WantedItem {
    product_id: Option<String>,
    sku: Option<Sku>,
    quantity: Quantity,
}

/// Counts an order that was not accepted.
pub(crate) fn count_refusal(gateway: &Gateway, route: LimitedRoute, code: Code) {
    if route == LimitedRoute::Orders {
        REFUSED.with_label_values(&[&name(code)]).inc();
        gateway.refused.fetch_add(1, Ordering::Relaxed);
    }
}

/// Places an order.
pub(crate) async fn place(State(gateway): State<Arc<Gateway>>, request: Request) -> Response {
    let counted = request.extensions().get::<Arc<Counted>>().cloned();
    let mut placed = place_checked(Arc::clone(&gateway), request, counted.clone()).await;
    // Whatever it is refused for, it counts, and nobody is told anything who asks too often.
    if let (Some(counted), Err(_)) = (&counted, &placed)
        && !counted.is_done()
        && let Err(over) = counted.count(&gateway.limiter).await
    {
        placed = Err(over);
    }
    match placed {
        Ok(response) => response,
        Err(problem) => {
            if REFUSALS.contains(&problem.code) || problem.code == Code::RateLimited {
                count_refusal(&gateway, LimitedRoute::Orders, problem.code);
            }
            problem.into_response()
        }
    }
}

async fn place_checked(
    gateway: Arc<Gateway>,
    request: Request,
    counted: Option<Arc<Counted>>,
) -> Result<Response, Problem> {
    let token = bearer_token(request.headers()).ok_or_else(|| {
        Problem::unauthenticated("Send the access token in the header Authorization: Bearer <token>.")
    })?;
    let token = token.to_owned();
    let user = match request.extensions().get::<Buyer>() {
        Some(Buyer(user)) => user.clone(),
        None => gateway.authority.identify(&token)?.user,
    };
    let asker = Asker {
        user,
        authorization: request.headers().get(header::AUTHORIZATION).cloned(),
        client: subject::address(&request, &gateway.trusted),
        counted,
    };
    gateway.check_fresh(request.method())?;
    let Whole { parts, body, room } = read_body(&gateway, &asker, request).await?;
    // What is none is for the order service to refuse.
    let key = idempotency::key(&parts.headers).ok().flatten();
    check_clock(&gateway, &asker, key.as_deref()).await?;
    let asked = key.zip(wanted(&parts.headers, &body));
    // What is taken from the gate is given back also when the buyer hangs up.
    let work = async move {
        let Some((key, wanted)) = asked else {
            // The order service says what is wrong with it, exactly. Once more: it may have stood still since.
            gateway.check_fresh(&parts.method)?;
            asker.count(&gateway).await?;
            let forwarded = Request::from_parts(parts, Body::from(body));
            let answered = gateway.proxy.send(forwarded, asker.client).await;
            drop(room);
            return Ok(answered?);
        };
        let body = serde_json::from_slice(&body).map_err(|error| Problem::internal(&error))?;
        let passed = judge(&gateway, &asker, key.clone(), wanted).await?;
        let order = Order {
            token,
            key,
            traceparent: context::of_headers(&parts.headers).map(str::to_owned),
            request_id: parts
                .headers
                .get(REQUEST_ID)
                .and_then(|id| id.to_str().ok())
                .map(str::to_owned),
            body,
        };
        let answered = gateway.sender.send(order).await;
        drop(room);
        if let Some(passed) = passed {
            gateway.gate.settle(&passed, outcome(&answered)).await;
        }
        Ok::<_, Problem>(answered?)
    };
    ToItsEnd::of(work).await
}

/// How long the body of an order may take that is not counted yet: it nearly always comes with its head.
const AT_ONCE: Duration = Duration::from_millis(50);

/// Reads an order's body. Of a request that takes its time, or much room, it is asked first whether it is within its limit.
async fn read_body(gateway: &Gateway, asker: &Asker, request: Request) -> Result<Whole, Problem> {
    let mut reading = pin!(gateway.bodies.read(request));
    match tokio::time::timeout(AT_ONCE, &mut reading).await {
        Ok(whole) => {
            let whole = whole?;
            if whole.room.is_some() {
                asker.count(gateway).await?;
            }
            Ok(whole)
        }
        Err(_) => {
            asker.count(gateway).await?;
            reading.await
        }
    }
}

/// Who asks.
#[derive(Debug)]
struct Asker {
    user: UserId,
    authorization: Option<HeaderValue>,
    client: IpAddr,
    /// Where the request is still to be counted.
    counted: Option<Arc<Counted>>,
}

impl Asker {
    /// Counts the request before something is done for it that costs others.
    async fn count(&self, gateway: &Gateway) -> Result<(), Problem> {
        match &self.counted {
            Some(counted) => counted.count(&gateway.limiter).await,
            None => Ok(()),
        }
    }
}

/// Whether a key of this user has made an order, or may have: a repeat is for the order service to answer. Where Redis has lost
/// what it knew of that, the order service is asked.
async fn may_be_a_repeat(gateway: &Gateway, asker: &Asker, key: &str) -> Result<bool, Problem> {
    match gateway.gate.knows(&asker.user, key).await.map_err(unavailable)? {
        Knowledge::Marked => Ok(true),
        Knowledge::Unmarked => Ok(false),
        Knowledge::InDoubt(doubt) => has_made_an_order_after_all(gateway, asker, key, doubt).await,
    }
}

/// Asks the order service about a key whose marker may be lost. That there is no order is no answer while a try may be under way.
async fn has_made_an_order_after_all(
    gateway: &Gateway,
    asker: &Asker,
    key: &str,
    doubt: Doubt,
) -> Result<bool, Problem> {
    match (has_made_an_order(gateway, asker, key).await?, doubt) {
        (false, Doubt::TryMayBeUnderWay) => {
            let detail = "It is not known yet whether this Idempotency-Key has made an order. Please send the same request with \
                          the same key again in a few seconds; it is never made twice.";
            Err(Problem::new(Code::Busy, detail).retry_after(5))
        }
        (found, _) => Ok(found),
    }
}

/// Looks into the order service that go on at once: they must not push out the orders that it accepts.
static LOOKS: Semaphore = Semaphore::const_new(64);

/// Asks the order service.
async fn has_made_an_order(gateway: &Gateway, asker: &Asker, key: &str) -> Result<bool, Problem> {
    let _place = LOOKS.try_acquire().map_err(|_| Problem::busy())?;
    let key: String = url::form_urlencoded::byte_serialize(key.as_bytes()).collect();
    let mut request = Request::builder().uri(format!("/api/orders?idempotencyKey={key}"));
    if let Some(authorization) = &asker.authorization {
        request = request.header(header::AUTHORIZATION, authorization);
    }
    let request = request
        .body(Body::empty())
        .map_err(|error| Problem::internal(&error))?;
    let answer = gateway.proxy.send(request, asker.client).await?;
    if !answer.status().is_success() {
        return Err(Problem::busy());
    }
    let page = axum::body::to_bytes(answer.into_body(), LONGEST_PAGE).await;
    let page = page.map_err(|_| Problem::busy())?;
    let found: Found = serde_json::from_slice(&page).map_err(|error| Problem::internal(&error))?;
    Ok(!found.items.is_empty())
}

/// The most of a page with one order that is read, in bytes.
const LONGEST_PAGE: usize = 256 * 1024;

/// What is read of a page of orders: how many there are.
#[derive(Debug, Deserialize)]
struct Found {
    items: Vec<IgnoredAny>,
}

/// What the order service's answer says of an order.
fn outcome(answered: &Result<Response, NoAnswer>) -> Outcome {
    let response = match answered {
        Ok(response) => response,
        Err(NoAnswer::NotSent(_)) => return Outcome::NotSent,
        Err(NoAnswer::Lost) => return Outcome::Unknown,
    };
    match response.status() {
        StatusCode::CREATED if response.headers().contains_key(idempotency::REPLAYED) => Outcome::Known,
        StatusCode::CREATED => Outcome::Accepted,
        // The key has made another order.
        StatusCode::UNPROCESSABLE_ENTITY => Outcome::Known,
        status if status.is_client_error() => Outcome::Refused,
        _ => Outcome::Unknown,
    }
}

/// Refuses orders outside the sale's times, but not the repeat of one that may have been accepted: its answer is what
/// became of it.
async fn check_clock(gateway: &Gateway, asker: &Asker, key: Option<&str>) -> Result<(), Problem> {
    let admission = gateway.control.admission();
    let Some(refusal) = Problem::outside_the_sale(admission) else {
        return Ok(());
    };
    let may_repeat = match (admission, key) {
        // Nothing was accepted yet.
        (Admission::NotOpen { .. }, _) | (_, None) => false,
        (_, Some(key)) => {
            asker.count(gateway).await?;
            may_be_a_repeat(gateway, asker, key).await?
        }
    };
    if may_repeat { Ok(()) } else { Err(refusal) }
}

/// Looks at what is asked for before anything is taken for it, then lets it through the gate. `None` for an order that
/// the order service may have as it is: one whose key is marked.
async fn judge(
    gateway: &Gateway,
    asker: &Asker,
    key: String,
    wanted: Vec<(ProductId, u32)>,
) -> Result<Option<Passed>, Problem> {
    let (limits, units) = match gateway.products.judge(&wanted).await {
        Judgement::Fine(limits) => (limits, Units::Now),
        // A gateway that has just begun has nothing to judge by.
        Judgement::UnknownProduct if !gateway.products.are_known() => (Vec::new(), Units::Now),
        // The order service says which, and takes it if the product is newer than the list.
        Judgement::UnknownProduct => (Vec::new(), Units::Later),
        Judgement::AboveLimit { sku, limit } => {
            asker.count(gateway).await?;
            if may_be_a_repeat(gateway, asker, &key).await? {
                // It may have been accepted under an older limit.
                return Ok(None);
            }
            let detail = format!("Each customer may buy {limit} of {sku}. Order no more than that.");
            let mut problem = Problem::new(Code::CustomerLimit, detail);
            problem.sku = Some(sku);
            problem.limit = Some(limit);
            return Err(problem);
        }
    };
    let limits = limits.into_iter().chain(iter::repeat(None));
    let wanted = wanted
        .into_iter()
        .zip(limits)
        .map(|((product, units), limit)| WantedUnits {
            product,
            units,
            limit,
        });
    let attempt = Attempt {
        user: asker.user.clone(),
        key,
        wanted: wanted.collect(),
    };
    pass(gateway, asker, attempt, units).await
}

/// What is said where there are too few units.
fn too_few(gateway: &Gateway, attempt: &Attempt, short: Short) -> Problem {
    let Some(wanted) = attempt.wanted.get(short.index) else {
        return Problem::busy();
    };
    let sku = gateway.products.sku(&wanted.product);
    Problem::too_few(&sku, wanted.units, short.left, short.all_sold)
}

async fn pass(
    gateway: &Gateway,
    asker: &Asker,
    attempt: Attempt,
    units: Units,
) -> Result<Option<Passed>, Problem> {
    let passed = |attempt, has_units| Ok(Some(Passed { attempt, has_units }));
    let (until, mut backoff) = (
        Instant::now() + UNDER_WAY,
        Backoff::new(Duration::from_millis(10), Duration::from_millis(100)),
    );
    loop {
        let passage = match &asker.counted {
            Some(counted) if !counted.is_done() => count_and_pass(gateway, counted, &attempt, units).await?,
            _ => {
                let passage = match units {
                    Units::Now => gateway.gate.take(&attempt).await,
                    Units::Later => gateway.gate.mark(&attempt).await,
                };
                passage.map_err(unavailable)?
            }
        };
        match passage {
            Passage::Taken => return passed(attempt, true),
            Passage::TakesLater => return passed(attempt, false),
            Passage::Repeat => return Ok(None),
            Passage::Refused(short) => return Err(too_few(gateway, &attempt, short)),
            Passage::RefusedInDoubt(short, doubt) => {
                return if has_made_an_order_after_all(gateway, asker, &attempt.key, doubt).await? {
                    Ok(None)
                } else {
                    Err(too_few(gateway, &attempt, short))
                };
            }
            Passage::UnderWay if Instant::now() > until => {
                let detail = "Another order of yours is still under way. Please try again with the same Idempotency-Key.";
                return Err(Problem::new(Code::Busy, detail).retry_after(1));
            }
            Passage::UnderWay => tokio::time::sleep(backoff.next_wait()).await,
        }
    }
}

/// Asks the gate, and counts the request with it.
async fn count_and_pass(
    gateway: &Gateway,
    counted: &Counted,
    attempt: &Attempt,
    units: Units,
) -> Result<Passage, Problem> {
    let counting = gateway.limiter.counting(&counted.first, &counted.others);
    let asked = gateway
        .gate
        .count_and_pass(units, attempt, counted.first.limit, counting)
        .await;
    let (verdict, passage) = match asked {
        Ok((verdict, passage)) => (Ok(verdict), passage),
        Err(error) => (Err(error), None),
    };
    counted.note(verdict)?;
    passage.ok_or_else(Problem::busy)
}

#[expect(clippy::needless_pass_by_value, reason = "the shape that map_err wants")]
fn unavailable(error: fred::error::Error) -> Problem {
    tracing::debug!(%error, "the gate is not available");
    Problem::busy()
}

/// The units of each product, or `None` for a body that the order service will refuse.
fn wanted(headers: &HeaderMap, body: &[u8]) -> Option<Vec<(ProductId, u32)>> {
    let wanted: Wanted = is_json(headers)
        .then(|| serde_json::from_slice(body).ok())
        .flatten()?;
    if !(1..=MOST_ITEMS).contains(&wanted.items.len()) {
        return None;
    }
    let mut units: BTreeMap<ProductId, u32> = BTreeMap::new();
    for item in wanted.items {
        let product = match (item.product_id, item.sku) {
            (Some(id), None) => ProductId::new(id),
            (None, Some(sku)) => sku.product_id(),
            _ => return None,
        };
        if units.insert(product, item.quantity.get()).is_some() {
            return None;
        }
    }
    Some(units.into_iter().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_kept_unless_the_answer_says_that_they_are_not_needed() {
        let answer = |status: u16| {
            let mut response = Response::new(Body::empty());
            *response.status_mut() = StatusCode::from_u16(status).unwrap();
            response
        };
        let mut replayed = answer(201);
        replayed
            .headers_mut()
            .insert(idempotency::REPLAYED, "true".parse().unwrap());
        for (answered, meaning) in [
            (Ok(answer(201)), Outcome::Accepted),
            (Ok(replayed), Outcome::Known),
            (Ok(answer(422)), Outcome::Known),
            (Ok(answer(400)), Outcome::Refused),
            (Ok(answer(409)), Outcome::Refused),
            (Ok(answer(500)), Outcome::Unknown),
            (Ok(answer(503)), Outcome::Unknown),
            (Err(NoAnswer::NotSent(Problem::busy().into())), Outcome::NotSent),
            (Err(NoAnswer::Lost), Outcome::Unknown),
        ] {
            assert_eq!(outcome(&answered), meaning, "{answered:?}");
        }
    }

    #[test]
    fn a_body_that_will_be_refused_takes_nothing() {
        let mut headers = HeaderMap::new();
        let laptop = Sku::parse("FLASH-LAPTOP-001").unwrap().product_id();
        let body = br#"{"items":[{"sku":"FLASH-LAPTOP-001","quantity":2}]}"#;
        assert_eq!(wanted(&headers, body), None, "no content type");
        headers.insert("content-type", "application/json; charset=utf-8".parse().unwrap());
        assert_eq!(wanted(&headers, body), Some(vec![(laptop.clone(), 2)]));
        let too_many: Vec<String> = (0..=MOST_ITEMS)
            .map(|n| format!(r#"{{"sku":"S{n}","quantity":1}}"#))
            .collect();
        let too_many = format!(r#"{{"items":[{}]}}"#, too_many.join(","));
        let twice = format!(
            r#"{{"items":[{{"sku":"FLASH-LAPTOP-001","quantity":1}},{{"productId":"{laptop}","quantity":1}}]}}"#
        );
        for bad in [
            "{",
            r#"{"items":[]}"#,
            r#"{"items":[{"quantity":1}]}"#,
            r#"{"items":[{"sku":"A","quantity":0}]}"#,
            r#"{"items":[{"sku":"A","quantity":1}],"x":1}"#,
            r#"{"items":[{"sku":"A","quantity":1,"x":1}]}"#,
            r#"{"items":[{"sku":"A","quantity":1}]} trailing"#,
            &twice,
            &too_many,
        ] {
            assert_eq!(wanted(&headers, bad.as_bytes()), None, "{bad}");
        }
    }
}
