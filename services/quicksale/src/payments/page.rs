//! The page on which a buyer pays: a choice of what the card does, and the way back to the shop.

use super::{NewPayment, Provider, begin, payment::Card};
use axum::{
    extract::{Form, Query, State},
    response::{Html, IntoResponse, Redirect, Response},
};
use serde::Deserialize;

/// The order that a buyer was sent with.
#[derive(Debug, Deserialize)]
pub(super) struct Asked {
    order: String,
}

/// What was chosen.
#[derive(Debug, Deserialize)]
pub(super) struct Chosen {
    order: String,
    card: Card,
}

/// `GET /pay?order=…`: what to pay with.
pub(super) async fn show(Query(asked): Query<Asked>) -> Html<String> {
    let order = escaped(&asked.order);
    let choice = |card: &str, label: &str| format!(r#"<button name="card" value="{card}">{label}</button> "#);
    let choices = [
        choice("pays", "Pay"),
        choice("declines", "Pay with a card that is declined"),
        choice("twice", "Pay, and have it confirmed twice"),
        choice("slow", "Pay slowly: in half a minute"),
    ];
    page(&format!(
        r#"<form method="post" action="/pay"><input type="hidden" name="order" value="{order}"><p>Order <code>{order}</code></p><p>{}</p></form>"#,
        choices.concat()
    ))
}

/// `POST /pay`: pays, and sends the buyer back.
pub(super) async fn pay(State(provider): State<Provider>, Form(chosen): Form<Chosen>) -> Response {
    let back = format!("{}#orders", provider.shop.address());
    let new = NewPayment {
        order_id: chosen.order,
        card: chosen.card,
        seconds: None,
    };
    match begin(&provider, new) {
        Ok(_) => Redirect::to(&back).into_response(),
        Err((status, detail)) => {
            let (back, detail) = (escaped(&back), escaped(detail));
            let said = page(&format!(
                r#"<p>{detail}</p><p><a href="{back}">Back to the shop</a></p>"#
            ));
            (status, said).into_response()
        }
    }
}

fn page(content: &str) -> Html<String> {
    Html(format!(
        r#"<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1"><meta name="color-scheme" content="light dark"><title>Payment</title><main><h1>Payment</h1><p>This stands in for a provider of payments: no money moves.</p>{content}</main></html>"#
    ))
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('"', "&quot;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn whatever_a_buyer_was_sent_with_is_text_in_the_page() {
        let order = r#""><script>alert(1)</script>"#.to_owned();
        let Html(page) = show(Query(Asked { order })).await;
        assert!(!page.contains("<script>"), "{page}");
        assert!(page.contains("&quot;&gt;&lt;script&gt;"), "{page}");
    }
}
