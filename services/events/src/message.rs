//! The messages: JSON with a version, an id, the order's id as key.

use crate::topics::Topic;
use jiff::Timestamp;
use sale::{
    OrderId, ProductId, Quantity, UserId,
    order::{FailureReason, InventoryOutcome, InventoryStatus, OrderStatus},
};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::{sync::Mutex, time::Duration};
use uuid::{ContextV7, Uuid};

/// The version this code writes. A reader stops its lane at a later one, and sends what is no message to the dead letters.
pub const VERSION: u32 = 1;

/// One message about one order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Message {
    /// Version of the format.
    pub v: u32,
    /// Unique, and ordered in time as far as clocks agree (UUIDv7). A repeated message repeats its id.
    pub id: String,
    /// The order it is about; the key of the record.
    pub order_id: OrderId,
    /// When it was written.
    pub at: Timestamp,
    /// What is to be known of the order beside that, so that whoever is told need not look it up. A message may come without.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub about: Option<About>,
    /// W3C trace context of the request it all began with; a header of the record, not part of its body.
    #[serde(skip)]
    pub traceparent: Option<String>,
    /// What it says.
    #[serde(flatten)]
    pub payload: Payload,
}

/// What does not change about an order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct About {
    /// Who ordered.
    pub user_id: UserId,
    /// When it was accepted.
    pub accepted_at: Timestamp,
}

/// A message as it is read: what it says is read by its type, without a copy in between.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Read<'a> {
    v: u32,
    id: String,
    order_id: OrderId,
    at: Timestamp,
    #[serde(default)]
    about: Option<About>,
    #[serde(rename = "type")]
    topic: Topic,
    #[serde(borrow)]
    data: &'a RawValue,
}

impl Payload {
    fn read(topic: Topic, data: &RawValue) -> Result<Self, serde_json::Error> {
        let data = data.get();
        match topic {
            Topic::OrderCreated => serde_json::from_str(data).map(Self::OrderCreated),
            Topic::InventoryResult => serde_json::from_str(data).map(Self::InventoryResult),
            Topic::OrderStatus => serde_json::from_str(data).map(Self::OrderStatus),
        }
    }
}

/// What a message says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "type", content = "data")]
pub enum Payload {
    /// An order was accepted.
    #[serde(rename = "order.created")]
    OrderCreated(OrderCreated),
    /// Inventory has an answer about an order's units.
    #[serde(rename = "inventory.result")]
    InventoryResult(InventoryOutcome),
    /// An order has a new status.
    #[serde(rename = "order.status")]
    OrderStatus(OrderStatusChanged),
}

/// An order that was accepted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OrderCreated {
    /// Who ordered.
    pub user_id: UserId,
    /// What to reserve, whole or not at all.
    pub items: Vec<OrderedItem>,
}

/// One line of an order as inventory needs it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OrderedItem {
    /// The product.
    pub product_id: ProductId,
    /// Units.
    pub quantity: Quantity,
}

/// A new status of an order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OrderStatusChanged {
    /// Who ordered; empty where there is no such order, and nobody to be told.
    pub user_id: UserId,
    /// For the buyer.
    pub status: OrderStatus,
    /// For the units.
    pub inventory_status: InventoryStatus,
    /// A sentence for the buyer.
    pub message: String,
    /// Why it failed, if it did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<FailureReason>,
    /// Until when its units wait for a payment, while they do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold_expires_at: Option<Timestamp>,
    /// Whether this has been said before: somebody has not heard it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub again: bool,
}

/// Why a record is no message of ours.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// A record without a value.
    #[error("the record is empty")]
    Empty,
    /// Not our JSON.
    #[error("the record is not a message: {0}")]
    Json(#[from] serde_json::Error),
    /// A version from the future (or the past).
    #[error("the message has version {0}, and this reader knows {VERSION}")]
    Version(u32),
}

impl DecodeError {
    /// Whether a newer reader will be able to read it.
    pub fn is_from_the_future(&self) -> bool {
        matches!(self, Self::Version(version) if *version > VERSION)
    }
}

/// Why a value could not be read: whatever a later version looks like, it says that it is one.
fn unreadable(value: &[u8], error: serde_json::Error) -> DecodeError {
    #[derive(Deserialize)]
    struct Versioned {
        v: u32,
    }
    match serde_json::from_slice(value) {
        Ok(Versioned { v }) if v > VERSION => DecodeError::Version(v),
        _ => DecodeError::Json(error),
    }
}

/// What the ids of a process are counted by: of one moment they sort in the order in which they were made.
static IDS: Mutex<ContextV7> = Mutex::new(ContextV7::new());

/// A new id, which sorts by the time of its message.
fn id(at: Timestamp) -> String {
    let seconds = u64::try_from(at.as_second()).unwrap_or(0);
    let nanoseconds = u32::try_from(at.subsec_nanosecond()).unwrap_or(0);
    Uuid::new_v7(uuid::Timestamp::from_unix(&IDS, seconds, nanoseconds)).to_string()
}

/// When the message with an id was made, less some time, and the least id that one of then can have. `None` for what is no id.
pub fn before(id: &str, by: Duration) -> Option<(Timestamp, String)> {
    let id = Uuid::parse_str(id.get(..36)?).ok()?;
    let (seconds, nanoseconds) = id.get_timestamp()?.to_unix();
    let at = Duration::new(seconds, nanoseconds).saturating_sub(by);
    let millis = u64::try_from(at.as_millis()).ok()?;
    let least = uuid::Builder::from_unix_timestamp_millis(millis, &[0; 10]).into_uuid();
    let at = Timestamp::from_millisecond(i64::try_from(millis).ok()?).ok()?;
    Some((at, least.to_string()))
}

impl Message {
    /// A new message.
    pub fn new(order_id: OrderId, at: Timestamp, traceparent: Option<String>, payload: Payload) -> Self {
        Self {
            v: VERSION,
            id: id(at),
            order_id,
            at,
            about: None,
            traceparent,
            payload,
        }
    }

    /// The same with what is to be known of the order.
    #[must_use]
    pub fn about(mut self, about: Option<About>) -> Self {
        self.about = about;
        self
    }

    /// The topic it travels on.
    pub fn topic(&self) -> Topic {
        match self.payload {
            Payload::OrderCreated(_) => Topic::OrderCreated,
            Payload::InventoryResult(_) => Topic::InventoryResult,
            Payload::OrderStatus(_) => Topic::OrderStatus,
        }
    }

    /// Reads a record's value.
    ///
    /// # Errors
    /// [`DecodeError`].
    pub fn decode(value: Option<&[u8]>, traceparent: Option<String>) -> Result<Self, DecodeError> {
        let value = value.ok_or(DecodeError::Empty)?;
        let read: Read<'_> = serde_json::from_slice(value).map_err(|error| unreadable(value, error))?;
        if read.v != VERSION {
            return Err(DecodeError::Version(read.v));
        }
        Ok(Self {
            v: read.v,
            id: read.id,
            order_id: read.order_id,
            at: read.at,
            about: read.about,
            traceparent,
            payload: Payload::read(read.topic, read.data)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn examples() -> Vec<Payload> {
        vec![
            Payload::OrderCreated(OrderCreated {
                user_id: UserId::new("u"),
                items: vec![OrderedItem {
                    product_id: ProductId::new("p"),
                    quantity: Quantity::new(2).unwrap(),
                }],
            }),
            Payload::InventoryResult(InventoryOutcome::Rejected {
                reason: FailureReason::SoldOut,
            }),
            Payload::InventoryResult(InventoryOutcome::Reserved { expires_at: None }),
            Payload::InventoryResult(InventoryOutcome::Reserved {
                expires_at: Some(Timestamp::UNIX_EPOCH),
            }),
            Payload::OrderStatus(OrderStatusChanged {
                user_id: UserId::new("u"),
                status: OrderStatus::Confirmed,
                inventory_status: InventoryStatus::Reserved,
                message: "yours".into(),
                reason: None,
                hold_expires_at: None,
                again: false,
            }),
        ]
    }

    #[test]
    fn messages_survive_the_wire() {
        for payload in examples() {
            let message = Message::new(OrderId::new("o"), Timestamp::UNIX_EPOCH, None, payload);
            let json = serde_json::to_vec(&message).unwrap();
            assert_eq!(Message::decode(Some(&json), None).unwrap(), message);
            let json: serde_json::Value = serde_json::from_slice(&json).unwrap();
            assert_eq!(json["type"], message.topic().plain_name());
            assert_eq!(json["orderId"], "o");
            assert!(json.get("about").is_none());
            let about = About {
                user_id: UserId::new("u"),
                accepted_at: Timestamp::UNIX_EPOCH,
            };
            let told = message.about(Some(about));
            let json = serde_json::to_vec(&told).unwrap();
            assert_eq!(Message::decode(Some(&json), None).unwrap(), told);
        }
    }

    #[test]
    fn what_is_not_ours_is_refused_with_a_reason() {
        assert!(matches!(Message::decode(None, None), Err(DecodeError::Empty)));
        assert!(matches!(
            Message::decode(Some(b"{"), None),
            Err(DecodeError::Json(_))
        ));
        let mut message = Message::new(
            OrderId::new("o"),
            Timestamp::UNIX_EPOCH,
            None,
            examples().remove(1),
        );
        message.v = 2;
        let json = serde_json::to_vec(&message).unwrap();
        assert!(matches!(
            Message::decode(Some(&json), None),
            Err(DecodeError::Version(2))
        ));
        // What it says otherwise nobody can know today.
        let other = Message::decode(Some(br#"{"v": 3, "kind": {}}"#), None).unwrap_err();
        assert!(other.is_from_the_future(), "{other}");
        for garbage in [&br#"{"v": 1, "kind": {}}"#[..], br#"{"v": "3"}"#, br#"{"v": 0}"#] {
            let error = Message::decode(Some(garbage), None).unwrap_err();
            assert!(!error.is_from_the_future(), "{error}");
        }
    }

    #[test]
    fn an_id_leads_back_to_the_least_one_of_a_while_before() {
        let made = |millis: u64, rest: u8| {
            let id = uuid::Builder::from_unix_timestamp_millis(millis, &[rest; 10]);
            id.into_uuid().to_string()
        };
        let (at, least) = before(&made(10_000_000, 7), Duration::from_secs(600)).unwrap();
        assert_eq!(at, Timestamp::from_millisecond(9_400_000).unwrap());
        assert!(
            least < made(9_400_000, 1) && least > made(9_399_999, 255),
            "{least}"
        );
        // The twin of a dead letter begins with one.
        assert!(before(&format!("{}:twin", made(5, 7)), Duration::ZERO).is_some());
        assert_eq!(before("of another kind", Duration::ZERO), None);
    }

    #[test]
    fn ids_of_one_process_sort_in_the_order_in_which_they_were_made() {
        let at = |millis| Timestamp::from_millisecond(millis).unwrap();
        let ids: Vec<String> = [5_000, 5_000, 5_000, 4_000, 6_000]
            .map(|millis| id(at(millis)))
            .into();
        assert!(ids.is_sorted(), "{ids:?}");
    }
}
