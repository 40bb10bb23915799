#!/bin/bash
# Counts what an order costs the backends, and compares it with bench/counts.json: bench-check.sh (`make bench-check`). Counts, and no times, so
# it says the same on every machine. It is one of the tests of `make test` (tests/tests/faults/costs.rs).
set -euo pipefail
# shellcheck source=hack/env.sh
. "$(dirname "$0")/env.sh"

"$REPO/hack/tools.sh" rust-build redis kafka mongodb
export QUICKSALE_BACKENDS_DIR=$CACHE/test-backends
cd "$REPO"
say "building (about 10 min the first time), then a minute of orders"
cargo build --locked --workspace --all-targets
cargo test --locked --workspace --test faults -- --nocapture an_order_costs_the_backends_no_more_than_it_did
