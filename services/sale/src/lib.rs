//! The pure rules of a flash sale: money, stock, order states, admission and limits.
//!
//! Nothing here does IO, reads a clock or spawns a task: time comes in as an argument, so every rule can be
//! tested at any instant. The vocabulary:
//!
//! - a **sale** is one FlashSale, named by namespace and name ([`SaleId`]);
//! - a **product** is what is sold, named by its [`Sku`] inside a sale; one piece of it is a **unit**;
//! - a **reservation** holds units for one order;
//! - an **accepted order** is one that was answered 201 and therefore must reach a terminal state.
//!
//! A new rule gets a module of its own, takes plain values and returns plain values.

pub mod account;
pub mod books;
pub mod catalogue;
pub mod control;
pub mod guesses;
pub mod ids;
pub mod image_url;
pub mod ledger;
pub mod limits;
pub mod money;
pub mod order;
pub mod payment_url;
pub mod phase;
pub mod quantity;
pub mod stock;

#[cfg(test)]
mod properties;

pub use ids::{OrderId, ProductId, SaleId, Sku, UserId};
pub use image_url::ImageUrl;
pub use money::{Currency, Money};
pub use payment_url::PaymentUrl;
pub use quantity::Quantity;
