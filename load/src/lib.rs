//! Load: buyers who order, by a schedule that does not care how the system fares. The bench measures with it, and rehearsals find out with it
//! what a cluster holds.
//!
//! - [`buyers`] mints a token for each buyer, so that password hashing is no part of what is measured;
//! - [`doors`] are the gateways and the connections to them, [`wire`] is one of these;
//! - [`orders`] fires the orders and notes what was answered, and when;
//! - [`step`] says whether a rate was held, [`search`] finds the highest that is, [`rehearsal`] puts the two together.
//!
//! Latencies count from the moment at which an order was meant to start, so that a system that stalls cannot make the load wait and the
//! figures look good.

pub mod buyers;
pub mod doors;
pub mod orders;
pub mod rehearsal;
pub mod search;
pub mod step;
pub mod wire;
