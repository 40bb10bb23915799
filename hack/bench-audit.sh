#!/bin/bash
# Fills the books of a sale on backends of its own, and says how long an audit of them takes and a look at the settlement:
# bench-audit.sh ORDERS (`make bench-audit ORDERS=1000000`). The services are the release build.
set -euo pipefail
# shellcheck source=hack/env.sh
. "$(dirname "$0")/env.sh"
[[ ${1:-} =~ ^[0-9]{4,}$ ]] || die "usage: hack/bench-audit.sh ORDERS, a thousand at the least: make bench-audit ORDERS=1000000"
cd "$REPO"
hack/tools.sh rust-build redis kafka mongodb
say "building (about 10 min the first time), then writing $1 orders, which takes some minutes more"
cargo build --release --locked --bin quicksale
cargo build --locked --workspace --all-targets
export QUICKSALE_BACKENDS_DIR=$CACHE/test-backends QUICKSALE_AUDITED_ORDERS=$1
export QUICKSALE_BIN=${CARGO_TARGET_DIR:-$REPO/target}/x86_64-unknown-linux-gnu/release/quicksale
cargo test --locked --workspace --test faults -- --ignored --nocapture the_books_of_a_large_sale
