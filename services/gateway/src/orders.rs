//! `POST /api/orders`: the sale's clock and the gate stand before the order service.

use crate::{Gateway, gate::Passage, proxy, subject};
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
    check_clock(gateway)?;
    let key = idempotency_key(&parts.headers);
    let wanted = wanted(&body);
    let passage = match (&key, &wanted) {
        (Some(key), Some(wanted)) => pass(gateway, &user, key, wanted).await?,
        // The order service says what is wrong with it, exactly.
        _ => Passage::Repeat,
    };
    let forwarded = Request::from_parts(parts, Body::from(body));
    let gateway = gateway.clone();
    // In a task of its own: what was taken from the gate is given back also when the buyer hangs up.
    let work = async move {
        let answered = gateway.proxy.send(forwarded, client).await;
        let accepted = answered
            .as_ref()
            .is_ok_and(|response| response.status() == StatusCode::CREATED);
        let replayed = answered
            .as_ref()
            .is_ok_and(|r| r.headers().contains_key("idempotency-replayed"));
        if let (Passage::Taken, Some(wanted)) = (passage, &wanted)
            && (!accepted || replayed)
        {
            gateway.gate.give_back(wanted).await;
        }
        if let (true, Some(key)) = (accepted, &key)
            && passage == Passage::Taken
        {
            gateway.gate.mark(&user, key).await;
        }
        answered
    };
    tokio::spawn(work)
        .await
        .map_err(|error| Problem::internal(&error))?
}

fn check_clock(gateway: &Gateway) -> Result<(), Problem> {
    match gateway.control.admission() {
        Admission::Open => Ok(()),
        Admission::NotOpen { opens_at } => {
            let detail = match opens_at {
                Some(at) => format!("The sale opens at {at}."),
                None => "The sale has not opened yet.".to_owned(),
            };
            let mut problem = Problem::new(Code::SaleNotOpen, detail);
            problem.opens_at = opens_at.map(|at| at.to_string());
            Err(problem)
        }
        Admission::Closed => Err(Problem::new(Code::SaleClosed, "The sale is over.")),
        Admission::Halted => Err(Problem::new(
            Code::SaleHalted,
            "The sale is paused; please come back in a moment.",
        )),
    }
}

async fn pass(
    gateway: &Gateway,
    user: &UserId,
    key: &str,
    wanted: &[(ProductId, u32)],
) -> Result<Passage, Problem> {
    match gateway.gate.take(user, key, wanted).await {
        Ok(Passage::Refused) => Err(Problem::new(Code::SoldOut, "No units are left.")),
        Ok(passage) => Ok(passage),
        Err(error) => {
            tracing::debug!(%error, "the gate is not available");
            Err(Problem::busy())
        }
    }
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
