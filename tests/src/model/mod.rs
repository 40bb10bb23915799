//! Models of a sale, small enough that every order of events can be tried: what the processes do is cut into steps, any of which may
//! come next, and a crash, a loss or a frozen process may come between any two.
//!
//! - [`explore`] goes through all of them;
//! - [`acceptance`] is the way to an accepted order: keys, limits, the fence;
//! - [`ending`] is the way from there to the order's end: outbox, topics, lanes, units, payment and cancellation, news.
//!
//! The rules in them are the product's own wherever they are pure. Each model can be run with one safety taken out, and must then find
//! what goes wrong: a model that finds nothing either way would prove nothing.

mod acceptance;
mod ending;
mod explore;
