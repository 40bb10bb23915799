//! Records of a topic: a message that can be read says the same when it is written again.

use crate::{fuzz, mangled, mangled_json};
use events::message::{Message, OrderCreated, OrderStatusChanged, OrderedItem, Payload};
use jiff::Timestamp;
use sale::{
    OrderId, ProductId, Quantity, UserId,
    order::{FailureReason, InventoryOutcome, InventoryStatus, OrderStatus},
};

fn payloads(quantity: Quantity) -> [Payload; 3] {
    [
        Payload::OrderCreated(OrderCreated {
            user_id: UserId::new("ada"),
            items: vec![OrderedItem {
                product_id: ProductId::new("p"),
                quantity,
            }],
        }),
        Payload::InventoryResult(InventoryOutcome::Rejected {
            reason: FailureReason::SoldOut,
        }),
        Payload::OrderStatus(OrderStatusChanged {
            user_id: UserId::new("ada"),
            status: OrderStatus::Failed,
            inventory_status: InventoryStatus::Reserved,
            message: "sold out".into(),
            reason: Some(FailureReason::SoldOut),
            hold_expires_at: Some(Timestamp::UNIX_EPOCH),
            again: true,
        }),
    ]
}

#[test]
fn a_record_is_refused_or_read_as_it_was_written() {
    let messages = payloads(Quantity::new(2).unwrap()).map(|payload| {
        let message = Message::new(OrderId::new("o"), Timestamp::UNIX_EPOCH, None, payload);
        serde_json::to_value(message).unwrap()
    });
    fuzz(|u| {
        let original = u.choose(&messages)?;
        let record = mangled_json(u, original)?;
        if let Ok(message) = Message::decode(Some(&record), None) {
            let written = serde_json::to_vec(&message).unwrap();
            assert_eq!(Message::decode(Some(&written), None).unwrap(), message);
            let _any = message.topic();
        }
        assert!(Message::decode(Some(&mangled(u, b"[[[[{\"v\":1")?), None).is_err());
        Ok(())
    });
}
