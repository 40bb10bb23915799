//! What every process of QuickSale needs, whatever it does: configuration, telemetry, health, tasks and shutdown,
//! HTTP errors, tokens, and connections to the backends.
//!
//! Nothing in here knows what an order is beyond the types of [`sale`]. A service is built from these parts in
//! three steps: read a [`config::Config`], connect what it needs from [`backends`], and hand its router and its
//! workers to [`tasks::Tasks`], which owns them until the process ends.

pub mod admin;
pub mod audit;
pub mod backends;
pub mod clock;
pub mod command_line;
pub mod config;
pub mod control;
pub mod event_loop;
pub mod gate;
pub mod health;
pub mod http;
pub mod metrics;
pub mod mounted;
pub mod private;
pub mod pulse;
pub mod retry;
pub mod rounds;
pub mod standstill;
pub mod tasks;
pub mod telemetry;
pub mod tokens;
pub mod traces;
