//! Tools of the tests: a running sale of its own, and conditions that are waited for.

pub mod world;
