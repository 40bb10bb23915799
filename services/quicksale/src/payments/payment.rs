//! One payment.

use super::shop::{Shop, ShopAnswer};
use serde::{Deserialize, Serialize};

/// What the card of a buyer does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Card {
    /// Pays at once.
    Pays,
    /// Is declined.
    Declines,
    /// Pays after a while, maybe too late.
    Slow,
    /// Pays, and the provider says so twice at the same time.
    Twice,
}

/// Where a payment stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub(super) enum PaymentState {
    /// Under way.
    Pending,
    /// The money was taken, and the order is confirmed.
    Captured,
    /// The card was declined, and the order has failed.
    Declined,
    /// The order had ended in another way: the money was given back.
    Refunded,
    /// The shop gave no answer that says how the order stands. Somebody has to look.
    Unclear,
}

/// A payment for one order.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Payment {
    card: Card,
    pub(super) state: PaymentState,
    /// What the shop said, one for each time that it was told.
    answers: Vec<ShopAnswer>,
}

impl Payment {
    /// One that is under way.
    pub(super) fn new(card: Card) -> Self {
        Self {
            card,
            state: PaymentState::Pending,
            answers: Vec::new(),
        }
    }

    /// Tells the shop, and ends as it answers.
    pub(super) async fn go_through(mut self, shop: &Shop, order: &str) -> Self {
        self.answers = match self.card {
            Card::Pays | Card::Slow => vec![shop.tell(order, "confirm").await],
            Card::Declines => vec![shop.tell(order, "fail").await],
            Card::Twice => {
                let (one, other) = tokio::join!(shop.tell(order, "confirm"), shop.tell(order, "confirm"));
                vec![one, other]
            }
        };
        self.state = ended(self.card, &self.answers);
        self
    }
}

/// What the shop's answers come to. They are about the same order, so one that is clear is enough.
fn ended(card: Card, answers: &[ShopAnswer]) -> PaymentState {
    let done = answers.iter().any(|answer| answer.status == 200);
    let is_final = answers
        .iter()
        .any(|answer| answer.code.as_deref() == Some("order_final"));
    match (card, done, is_final) {
        (Card::Declines, true, _) | (Card::Declines, _, true) => PaymentState::Declined,
        (_, true, _) => PaymentState::Captured,
        (_, false, true) => PaymentState::Refunded,
        (_, false, false) => PaymentState::Unclear,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn money_is_kept_for_a_confirmed_order_and_given_back_for_one_that_is_over() {
        let answer = |status: u16, code: Option<&str>| ShopAnswer {
            status,
            code: code.map(str::to_owned),
        };
        let (done, too_late) = (answer(200, None), answer(409, Some("order_final")));
        for (card, answers, wanted) in [
            (Card::Pays, vec![done.clone()], PaymentState::Captured),
            (Card::Slow, vec![too_late.clone()], PaymentState::Refunded),
            (
                Card::Twice,
                vec![done.clone(), done.clone()],
                PaymentState::Captured,
            ),
            (Card::Declines, vec![done], PaymentState::Declined),
            (Card::Declines, vec![too_late], PaymentState::Declined),
            (Card::Pays, vec![answer(0, None)], PaymentState::Unclear),
            (
                Card::Pays,
                vec![answer(404, Some("not_found"))],
                PaymentState::Unclear,
            ),
        ] {
            assert_eq!(ended(card, &answers), wanted, "{card:?} {answers:?}");
        }
    }
}
