//! Laws of the rules, tried on inputs that nobody has thought of.
//!
//! Each file is about one subject and says what holds for all of its inputs; examples stay beside their rule. A failure
//! prints the smallest input found that still breaks the law: make it a test beside the rule. Every run tries other inputs,
//! and `PROPTEST_CASES=100000 cargo test -p sale properties` tries more of them.

use proptest::{
    strategy::Strategy,
    test_runner::{Config, TestCaseError, TestRunner},
};

mod books;
mod catalogue;
mod control;
mod guesses;
mod ids;
mod ledger;
mod limits;
mod money;
mod names;
mod order;
mod quantity;
mod stock;

/// Inputs for each law, if `PROPTEST_CASES` does not say: all laws together take a few seconds.
const CASES: u32 = 2_048;

/// What a law says about one input.
type Law = Result<(), TestCaseError>;

/// Tries a law on generated inputs.
#[track_caller]
fn holds<S: Strategy>(inputs: S, law: impl Fn(S::Value) -> Law) {
    let usual = Config::default();
    let config = Config {
        cases: std::env::var_os("PROPTEST_CASES").map_or(CASES, |_| usual.cases),
        // Nothing is written into the source tree by running tests.
        failure_persistence: None,
        ..usual
    };
    if let Err(broken) = TestRunner::new(config).run(&inputs, law) {
        panic!("{broken}");
    }
}
