//! An order, as it is stored and as it is shown.

use crate::turns::Turn;
use jiff::Timestamp;
use mongodb::bson::DateTime;
use sale::{
    Currency, Money, OrderId, UserId,
    catalogue::PricedItem,
    money::JsonDecimal,
    order::{FailureReason, InventoryStatus, OrderState, OrderStatus},
};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use utoipa::ToSchema;

/// An order in the store. Amounts are minor units.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Order {
    /// Derived from user and idempotency key; see [`OrderId::derive`].
    #[serde(rename = "_id")]
    pub id: OrderId,
    /// Who ordered.
    pub user_id: UserId,
    /// Its number among those of its customer. What an earlier version has accepted has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub turn: Option<Turn>,
    /// What, at the prices of the time of acceptance.
    pub items: Vec<PricedItem>,
    /// Sum of the items.
    pub total_amount: Money,
    /// Where it stands for its buyer.
    pub status: OrderStatus,
    /// Where its units stand.
    pub inventory_status: InventoryStatus,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<FailureReason>,
    /// Until when its units wait for a payment; it has no meaning once the order is over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold_expires_at: Option<DateTime>,
    /// The buyer's key.
    pub idempotency_key: String,
    /// Hash of what was ordered, to tell a repeat from another order under the same key.
    pub body_hash: String,
    /// Trace of the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<String>,
    /// When it was accepted.
    pub created_at: DateTime,
    /// When it last changed.
    pub updated_at: DateTime,
    /// When inventory is asked about it again, while there is no answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ask_at: Option<DateTime>,
    /// How often it was asked again.
    #[serde(default, skip_serializing_if = "is_never")]
    pub asked: i32,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the shape that serde wants")]
fn is_never(asked: &i32) -> bool {
    *asked == 0
}

impl Order {
    /// The part that the rules look at.
    pub fn state(&self) -> OrderState {
        OrderState {
            status: self.status,
            inventory: self.inventory_status,
        }
    }

    /// Until when its units wait for a payment, while they do.
    pub fn waits_until(&self) -> Option<Timestamp> {
        let waits = self.status == OrderStatus::Pending && self.inventory_status == InventoryStatus::Reserved;
        let at = self.hold_expires_at.filter(|_| waits)?;
        Timestamp::from_millisecond(at.timestamp_millis()).ok()
    }

    /// A sentence for the buyer about where the order stands.
    pub fn message(&self) -> Cow<'static, str> {
        if let Some(until) = self.waits_until() {
            return format!("Your units are held until {until}. Pay before that, or they go back.").into();
        }
        told(self.status, self.reason).into()
    }

    /// The order as the API shows it.
    pub fn view(&self, currency: Currency) -> OrderView {
        let item = |item: &PricedItem| ItemView {
            product_id: item.product_id.as_str().to_owned(),
            sku: item.sku.as_str().to_owned(),
            quantity: item.quantity.get(),
            price: item.price.to_json(currency),
        };
        OrderView {
            id: self.id.as_str().to_owned(),
            user_id: self.user_id.as_str().to_owned(),
            items: self.items.iter().map(item).collect(),
            total_amount: self.total_amount.to_json(currency),
            currency: currency.code().to_owned(),
            status: self.status.as_str().to_owned(),
            inventory_status: self.inventory_status.as_str().to_owned(),
            reason: self.reason,
            message: self.message().into_owned(),
            hold_expires_at: self.waits_until().map(|at| at.to_string()),
            idempotency_key: self.idempotency_key.clone(),
            created_at: self.created_at.try_to_rfc3339_string().unwrap_or_default(),
            updated_at: self.updated_at.try_to_rfc3339_string().unwrap_or_default(),
        }
    }
}

/// A sentence for the buyer of an order that does not wait for a payment.
pub(crate) fn told(status: OrderStatus, reason: Option<FailureReason>) -> &'static str {
    match status {
        OrderStatus::Pending => "Your order is being processed.",
        OrderStatus::Confirmed => "Your order is confirmed.",
        OrderStatus::Failed => reason.map_or("Your order could not be fulfilled.", FailureReason::message),
        OrderStatus::Cancelled => "Your order was cancelled.",
        OrderStatus::Expired => "The hold on your units ran out before the order was paid.",
    }
}

/// An order as the API shows it.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct OrderView {
    /// Opaque id.
    #[serde(rename = "_id")]
    pub id: String,
    /// Who ordered.
    pub user_id: String,
    /// What was ordered.
    pub items: Vec<ItemView>,
    /// Sum of the items, with the currency's digits.
    #[schema(value_type = f64, example = 799.99)]
    pub total_amount: JsonDecimal,
    /// ISO 4217.
    pub currency: String,
    /// PENDING, CONFIRMED, FAILED, CANCELLED or EXPIRED.
    pub status: String,
    /// PENDING, RESERVED, REJECTED or RELEASED.
    pub inventory_status: String,
    /// Why it failed: sold_out, unknown_product, unprocessable or payment_failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub reason: Option<FailureReason>,
    /// A sentence for the buyer.
    pub message: String,
    /// Until when the units wait for a payment, while they do; RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hold_expires_at: Option<String>,
    /// The key it was placed with.
    pub idempotency_key: String,
    /// RFC 3339.
    pub created_at: String,
    /// RFC 3339.
    pub updated_at: String,
}

/// One line of an order.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ItemView {
    /// The product.
    pub product_id: String,
    /// Its SKU.
    pub sku: String,
    /// Units.
    pub quantity: u32,
    /// Price of a unit at the time of acceptance.
    #[schema(value_type = f64, example = 799.99)]
    pub price: JsonDecimal,
}
