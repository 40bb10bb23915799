//! Answers that are applied without a look at their orders: most are the first that was said of an order, and say themselves whose order it
//! is. Whether it was as expected the database says with the write, and where it was not, the same messages are applied by who looks
//! ([`crate::follow`]). So an order whose state can be read and the rest of it not comes to its end all the same: what is told of it is in the
//! message.

use crate::{
    document::told,
    ended::Ended,
    steps::{Step, Target, time},
};
use events::{
    Message, Payload,
    message::{About, OrderStatusChanged},
};
use jiff::Timestamp;
use sale::{
    OrderId,
    order::{Confirmation, OrderState},
};
use std::collections::HashSet;

/// What a batch comes to where each of its orders has just been accepted.
#[derive(Debug)]
pub(crate) struct Unasked {
    /// One for each order.
    pub(crate) steps: Vec<Step>,
    /// What buyers and inventory are told.
    pub(crate) news: Vec<Message>,
    /// What is counted.
    pub(crate) ended: Vec<Ended>,
}

/// The outcome of a batch, or `None` where one of its messages needs a look at its order: it does not say whose that is, it leads to no
/// end, or it is not the only one about it.
pub(crate) fn outcome(messages: &[Message], confirmation: Confirmation, now: Timestamp) -> Option<Unasked> {
    let mut seen: HashSet<&OrderId> = HashSet::with_capacity(messages.len());
    let mut all = Unasked {
        steps: Vec::with_capacity(messages.len()),
        news: Vec::with_capacity(messages.len()),
        ended: Vec::with_capacity(messages.len()),
    };
    for message in messages {
        let (Payload::InventoryResult(outcome), Some(about)) = (&message.payload, &message.about) else {
            return None;
        };
        let state = OrderState::ACCEPTED.after(*outcome, confirmation)?;
        if !state.status.is_terminal() || !seen.insert(&message.order_id) {
            return None;
        }
        let to = Target {
            state,
            reason: outcome.reason(),
            hold_expires_at: None,
        };
        all.news.push(news(message, about, to, now));
        all.ended
            .extend(Ended::since(time(about.accepted_at), state.status, now));
        all.steps.push(Step {
            order: message.order_id.clone(),
            to,
        });
    }
    Some(all)
}

/// What is said of an order, under the message that it follows from.
fn news(message: &Message, about: &About, to: Target, now: Timestamp) -> Message {
    let payload = Payload::OrderStatus(OrderStatusChanged {
        user_id: about.user_id.clone(),
        status: to.state.status,
        inventory_status: to.state.inventory,
        message: told(to.state.status, to.reason).to_owned(),
        reason: to.reason,
        hold_expires_at: None,
        again: false,
    });
    Message::new(
        message.order_id.clone(),
        now,
        message.traceparent.clone(),
        payload,
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use sale::{
        UserId,
        order::{FailureReason, InventoryOutcome, OrderStatus},
    };

    fn answer(order: &str, outcome: InventoryOutcome, is_about: bool) -> Message {
        let about = About {
            user_id: UserId::new("ada"),
            accepted_at: Timestamp::UNIX_EPOCH,
        };
        let payload = Payload::InventoryResult(outcome);
        Message::new(OrderId::new(order), Timestamp::UNIX_EPOCH, None, payload)
            .about(is_about.then_some(about))
    }

    const HELD: InventoryOutcome = InventoryOutcome::Reserved { expires_at: None };
    const NONE_LEFT: InventoryOutcome = InventoryOutcome::Rejected {
        reason: FailureReason::SoldOut,
    };

    #[test]
    fn first_answers_lead_to_ends_that_are_told() {
        let messages = [answer("a", HELD, true), answer("b", NONE_LEFT, true)];
        let all = outcome(&messages, Confirmation::Automatic, Timestamp::UNIX_EPOCH).unwrap();
        let ends: Vec<_> = all.steps.iter().map(|step| step.to.state.status).collect();
        assert_eq!(ends, [OrderStatus::Confirmed, OrderStatus::Failed]);
        let Payload::OrderStatus(told) = &all.news[1].payload else {
            panic!("{:?}", all.news[1]);
        };
        assert_eq!(
            (told.user_id.as_str(), told.reason),
            ("ada", Some(FailureReason::SoldOut))
        );
        assert_eq!(told.message, FailureReason::SoldOut.message());
        assert_eq!(all.ended.len(), 2);
    }

    #[test]
    fn whatever_needs_a_look_is_left_to_who_looks() {
        let automatic = Confirmation::Automatic;
        let needs_a_look = |messages: &[Message], confirmation| {
            outcome(messages, confirmation, Timestamp::UNIX_EPOCH).is_none()
        };
        assert!(
            needs_a_look(&[answer("a", HELD, false)], automatic),
            "whose it is"
        );
        assert!(
            needs_a_look(&[answer("a", HELD, true)], Confirmation::Payment),
            "no end"
        );
        let twice = [answer("a", HELD, true), answer("a", InventoryOutcome::Paid, true)];
        assert!(needs_a_look(&twice, automatic), "two of one order");
        assert!(!needs_a_look(&[answer("a", HELD, true)], automatic));
    }
}
