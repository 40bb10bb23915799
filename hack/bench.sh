#!/bin/bash
# Measures the system with real backends on loopback that start empty: bench.sh [ARGUMENT...] (`make bench`).
# The arguments go to the load generator; its --help tells what it can do. Results are written to bench/out/.
set -euo pipefail
# shellcheck source=hack/env.sh
. "$(dirname "$0")/env.sh"

# Ports and a directory of their own, so that the bench does not meet `make dev` or the tests.
export QUICKSALE_BACKENDS_DIR=$CACHE/bench-backends
export KAFKA_PORT=29092 KAFKA_CONTROLLER_PORT=29093 MONGODB_PORT=27217 REDIS_PORT=26379
export MONGODB_URI="mongodb://127.0.0.1:$MONGODB_PORT/?directConnection=true"
export KAFKA_BROKERS=127.0.0.1:$KAFKA_PORT KAFKA_TLS=false REDIS_URL=redis://127.0.0.1:$REDIS_PORT

"$REPO/hack/tools.sh" rust-build redis kafka mongodb
say "building (about 10 min the first time)"
(cd "$REPO" && cargo build --release --locked --bin quicksale --bin quicksale-bench)
"$REPO/hack/backends.sh" wipe
"$REPO/hack/backends.sh" start
trap '"$REPO/hack/backends.sh" wipe' EXIT
mkdir -p "$REPO/bench/out"
cd "$REPO"
"${CARGO_TARGET_DIR:-$REPO/target}/x86_64-unknown-linux-gnu/release/quicksale-bench" "$@"
