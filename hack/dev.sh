#!/bin/bash
# All services in one process on this machine, with real backends on loopback: `make dev`. Ctrl-C stops all of it; the
# backends' data is kept for the next time.
set -euo pipefail
# shellcheck source=hack/env.sh
. "$(dirname "$0")/env.sh"

"$REPO/hack/tools.sh" rust-build redis kafka mongodb
"$REPO/hack/backends.sh" start
trap '"$REPO/hack/backends.sh" stop' EXIT
say "building (about 5 min the first time)"
(cd "$REPO" && cargo build --locked --bin quicksale)

export MONGODB_URI=${MONGODB_URI:-"mongodb://127.0.0.1:${MONGODB_PORT:-27017}/?directConnection=true"}
export KAFKA_BROKERS=${KAFKA_BROKERS:-"127.0.0.1:${KAFKA_PORT:-9092}"}
export KAFKA_TLS=${KAFKA_TLS:-false}
export REDIS_URL=${REDIS_URL:-"redis://127.0.0.1:${REDIS_PORT:-6379}"}
# `make up` has the same port.
if (exec 3<>/dev/tcp/127.0.0.1/8080) 2>/dev/null; then
  say "port 8080 is taken, so the console is at http://127.0.0.1:8081"
  export QUICKSALE_CONSOLE_PORT=8081
fi
# Ctrl-C reaches the services too, which then end by themselves; this script waits for that.
trap : INT
"${CARGO_TARGET_DIR:-$REPO/target}/x86_64-unknown-linux-gnu/debug/quicksale" dev
