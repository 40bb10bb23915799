//! `POST /api/orders`: the sale's clock and the gate stand before the order service.

use crate::{
    Gateway,
    gate::{Attempt, Outcome, Passage},
    proxy::{self, NoAnswer},
    subject,
};
use axum::{
    body::Body,
    extract::{Request, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
};
use platform::{
    http::{
        authorization::bearer_token,
        problem::{Code, Problem},
    },
    metrics::must,
};
use prometheus::{IntCounterVec, register_int_counter_vec};
use sale::{ProductId, Quantity, Sku, UserId, control::Admission, limits::LimitedRoute};
use serde::Deserialize;
use std::{
    collections::BTreeMap,
    sync::{LazyLock, atomic::Ordering},
};

static REFUSED: LazyLock<IntCounterVec> = LazyLock::new(|| {
    must(register_int_counter_vec!(
        "quicksale_orders_refused_total",
        "Orders that were not accepted, by the code of the answer.",
        &["code"]
    ))
});

/// What the gate needs to know of a body. Anything else about it is for the order service to judge.
#[derive(Debug, Deserialize)]
struct Wanted {
    items: Vec<WantedItem>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct WantedItem {
    product_id: Option<String>,
    sku: Option<Sku>,
    quantity: Quantity,
}

/// Counts an order that was not accepted.
pub(crate) fn count_refusal(gateway: &Gateway, route: LimitedRoute, code: Code) {
    if route == LimitedRoute::Orders {
        let name = serde_json::to_value(code)
            .ok()
            .and_then(|v| v.as_str().map(str::to_owned))
            .unwrap_or_default();
        REFUSED.with_label_values(&[&name]).inc();
        gateway.refused.fetch_add(1, Ordering::Relaxed);
    }
}

/// Places an order.
pub(crate) async fn place(State(gateway): State<Gateway>, request: Request) -> Response {
    match place_checked(&gateway, request).await {
        Ok(response) => response,
        Err(problem) => {
            let whole_sale_refusals = [
                Code::SoldOut,
                Code::SaleNotOpen,
                Code::SaleClosed,
                Code::SaleHalted,
                Code::Busy,
            ];
            if whole_sale_refusals.contains(&problem.code) {
                count_refusal(&gateway, LimitedRoute::Orders, problem.code);
            }
            problem.into_response()
        }
    }
}

async fn place_checked(gateway: &Gateway, request: Request) -> Result<Response, Problem> {
    let token = bearer_token(request.headers()).ok_or_else(|| {
        Problem::unauthenticated("Send the access token in the header Authorization: Bearer <token>.")
    })?;
    let user = gateway.authority.identify(token)?.user;
    let client = subject::address(&request, &gateway.trusted);
    let (parts, body) = proxy::with_whole_body(request).await?;
    let key = idempotency_key(&parts.headers);
    check_clock(gateway, &user, key.as_deref()).await?;
    let taken = match (key, wanted(&body)) {
        (Some(key), Some(wanted)) => pass(gateway, Attempt { user, key, wanted }).await?,
        // The order service says what is wrong with it, exactly.
        _ => None,
    };
    let forwarded = Request::from_parts(parts, Body::from(body));
    let gateway = gateway.clone();
    // In a task of its own: what was taken from the gate is given back also when the buyer hangs up.
    let work = async move {
        let answered = gateway.proxy.send(forwarded, client).await;
        if let Some(attempt) = taken {
            gateway.gate.settle(&attempt, outcome(&answered)).await;
        }
        answered
    };
    let answered = tokio::spawn(work)
        .await
        .map_err(|error| Problem::internal(&error))?;
    Ok(answered?)
}

/// What the order service's answer says of an order.
fn outcome(answered: &Result<Response, NoAnswer>) -> Outcome {
    let response = match answered {
        Ok(response) => response,
        Err(NoAnswer::NotSent(_)) => return Outcome::Refused,
        Err(NoAnswer::Lost) => return Outcome::Unknown,
    };
    match response.status() {
        StatusCode::CREATED if response.headers().contains_key("idempotency-replayed") => Outcome::Known,
        StatusCode::CREATED => Outcome::Accepted,
        // The key has made another order.
        StatusCode::UNPROCESSABLE_ENTITY => Outcome::Known,
        status if status.is_client_error() => Outcome::Refused,
        _ => Outcome::Unknown,
    }
}

/// Refuses orders outside the sale's times, but not the repeat of one that may have been accepted: its answer is what
/// became of it.
async fn check_clock(gateway: &Gateway, user: &UserId, key: Option<&str>) -> Result<(), Problem> {
    let admission = gateway.control.admission();
    let Some(refusal) = Problem::outside_the_sale(admission) else {
        return Ok(());
    };
    let may_repeat = match (admission, key) {
        // Nothing was accepted yet.
        (Admission::NotOpen { .. }, _) | (_, None) => false,
        (_, Some(key)) => gateway.gate.knows(user, key).await.map_err(unavailable)?,
    };
    if may_repeat { Ok(()) } else { Err(refusal) }
}

/// Lets an order through the gate; the attempt comes back if it took units.
async fn pass(gateway: &Gateway, attempt: Attempt) -> Result<Option<Attempt>, Problem> {
    match gateway.gate.take(&attempt).await.map_err(unavailable)? {
        Passage::Taken => Ok(Some(attempt)),
        Passage::Repeat => Ok(None),
        Passage::Refused => Err(Problem::new(Code::SoldOut, "No units are left.")),
    }
}

#[expect(clippy::needless_pass_by_value, reason = "the shape that map_err wants")]
fn unavailable(error: fred::error::Error) -> Problem {
    tracing::debug!(%error, "the gate is not available");
    Problem::busy()
}

fn idempotency_key(headers: &HeaderMap) -> Option<String> {
    headers
        .get("idempotency-key")?
        .to_str()
        .ok()
        .map(|key| key.trim().to_owned())
}

/// The units of each product, or `None` for a body that the order service will refuse.
fn wanted(body: &[u8]) -> Option<Vec<(ProductId, u32)>> {
    let wanted: Wanted = serde_json::from_slice(body).ok()?;
    let mut units: BTreeMap<ProductId, u32> = BTreeMap::new();
    for item in wanted.items {
        let product = match (item.product_id, item.sku) {
            (Some(id), None) => ProductId::new(id),
            (None, Some(sku)) => sku.product_id(),
            _ => return None,
        };
        *units.entry(product).or_default() += item.quantity.get();
    }
    (!units.is_empty()).then(|| units.into_iter().collect())
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
            .insert("idempotency-replayed", "true".parse().unwrap());
        for (answered, meaning) in [
            (Ok(answer(201)), Outcome::Accepted),
            (Ok(replayed), Outcome::Known),
            (Ok(answer(422)), Outcome::Known),
            (Ok(answer(400)), Outcome::Refused),
            (Ok(answer(409)), Outcome::Refused),
            (Ok(answer(500)), Outcome::Unknown),
            (Ok(answer(503)), Outcome::Unknown),
            (Err(NoAnswer::NotSent(Problem::busy())), Outcome::Refused),
            (Err(NoAnswer::Lost), Outcome::Unknown),
        ] {
            assert_eq!(outcome(&answered), meaning, "{answered:?}");
        }
    }

    #[test]
    fn a_body_that_parses_tells_its_units() {
        let laptop = Sku::parse("FLASH-LAPTOP-001").unwrap().product_id();
        let body = br#"{"items":[{"sku":"FLASH-LAPTOP-001","quantity":2}]}"#;
        assert_eq!(wanted(body), Some(vec![(laptop, 2)]));
        for bad in [
            &b"{"[..],
            br#"{"items":[]}"#,
            br#"{"items":[{"quantity":1}]}"#,
            br#"{"items":[{"sku":"A","quantity":0}]}"#,
        ] {
            assert_eq!(wanted(bad), None);
        }
    }
}
