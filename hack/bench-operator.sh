#!/bin/bash
# Measures the operator under many sales on a real API server without nodes: bench-operator.sh [SALES] (`make bench-operator`).
#
# What it asks of the API server in a quiet minute, how much memory it has, how soon a switch is in force at all doors of a sale, and how
# soon all is steady after it was killed. The sales are 500 where no number is given; it takes about ten minutes.
set -euo pipefail
# shellcheck source=hack/env.sh
. "$(dirname "$0")/env.sh"
cd "$REPO"
sales=${1:-500}
[[ $sales =~ ^[1-9][0-9]{0,3}$ ]] || die "$sales is no number of sales; write one from 1 to 9999, such as 500"

# shellcheck source=hack/test/bed.sh
. hack/test/bed.sh
bed_tools
say "building the operator and the tests (some minutes where little is built yet)"
cargo build --locked --release --workspace
cargo build --locked --workspace --all-targets
start_bed
say "$sales sales (about ten minutes for 500)"
export QUICKSALE_OPERATOR_BIN=${CARGO_TARGET_DIR:-$REPO/target}/x86_64-unknown-linux-gnu/release/quicksale-operator
QUICKSALE_MANY=$sales QUICKSALE_QUIET_SECONDS=60 bed_tests --nocapture many::
