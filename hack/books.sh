#!/bin/bash
# Fills the books of a sale on backends of its own, and says how long an audit of them takes and a look at the settlement:
# books.sh ORDERS (`make books ORDERS=1000000`). The services are the release build.
set -euo pipefail
# shellcheck source=hack/env.sh
. "$(dirname "$0")/env.sh"
case ${1:-} in
  [0-9]*) ;;
  *) die "usage: hack/books.sh ORDERS, for instance: make books ORDERS=1000000" ;;
esac
cd "$REPO"
hack/tools.sh rust-build redis kafka mongodb
say "building (about 10 min the first time), then writing $1 orders, which takes some minutes more"
cargo build --release --locked --bin quicksale
cargo build --locked --workspace --all-targets
export QUICKSALE_BACKENDS_DIR=$CACHE/test-backends QUICKSALE_BOOKS_ORDERS=$1
export QUICKSALE_BIN=${CARGO_TARGET_DIR:-$REPO/target}/x86_64-unknown-linux-gnu/release/quicksale
cargo test --locked --workspace --test faults -- --ignored --nocapture the_books_of_a_large_sale
