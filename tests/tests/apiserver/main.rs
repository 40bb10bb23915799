//! FlashSales on a real API server without nodes: what it refuses, what the operator makes, how the chart behaves.
//!
//! `hack/test.sh apiserver` starts the server and the backends.

mod chart;
mod credentials;
mod deletion;
mod doors;
mod entrances;
mod many;
mod marks;
mod operator;
mod ownership;
mod reading;
mod refusals;
mod released;
mod rights;
mod rules;
mod secrets;
mod statuses;
mod stuck;
mod unwell;
