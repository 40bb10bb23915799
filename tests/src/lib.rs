//! Tools of the tests: backends, a running sale of its own, a cluster to apply FlashSales to, a buyer's view of either, and
//! conditions that are waited for.

pub mod backends;
pub mod cluster;
pub mod collector;
pub mod confined;
pub mod console;
pub mod ecs;
pub mod orders;
pub mod ports;
pub mod records;
pub mod scenarios;
pub mod shop;
pub mod unsaid;
pub mod world;

#[cfg(test)]
mod certificates;
#[cfg(test)]
mod model;
