#!/bin/bash
# Measures the system with real backends on loopback that start empty: bench.sh [ARGUMENT...] (`make bench`).
# The arguments go to the load generator (bench.sh --help tells what it can do). Results are written to bench/out/.
# QUICKSALE_BUILD=FILE measures that build of the services, and QUICKSALE_PROFILE=FILE writes where the services' CPU goes, as stacks
# sampled QUICKSALE_PROFILE_AFTER seconds after the load generator has begun (hack/bench-compare.sh and hack/bench-profile.sh).
set -euo pipefail
# shellcheck source=hack/env.sh
. "$(dirname "$0")/env.sh"
# shellcheck source=hack/process.sh
. "$REPO/hack/process.sh"

# Ports and a directory of their own, so that the bench does not meet the backends of `make dev` or the tests.
export QUICKSALE_BACKENDS_DIR=$CACHE/bench-backends
export KAFKA_PORT=29092 KAFKA_CONTROLLER_PORT=29093 MONGODB_PORT=27217 REDIS_PORT=26379
export MONGODB_URI="mongodb://127.0.0.1:$MONGODB_PORT/?directConnection=true"
export KAFKA_BROKERS=127.0.0.1:$KAFKA_PORT KAFKA_TLS=false REDIS_URL=redis://127.0.0.1:$REDIS_PORT
services=$CACHE/bench-services
binaries=${CARGO_TARGET_DIR:-$REPO/target}/x86_64-unknown-linux-gnu/release

"$REPO/hack/tools.sh" rust-build redis kafka mongodb curl
say "building (about 10 min the first time)"
(cd "$REPO" && cargo build --release --locked --bin quicksale --bin quicksale-bench)
case " $* " in *" --help "*) exec "$binaries/quicksale-bench" --help ;; esac

mkdir -p "$services"
exec 9>"$CACHE/bench-lock"
flock -n 9 || die "another bench is running on this machine: wait for it"
for port in 3000 3001 3002 3003 3004 9090; do
  ! listening "$port" || die "port $port is in use: stop what listens there (make dev?), the bench needs the ports of the services"
done

bench=
# shellcheck disable=SC2317 # called by the trap
finish() {
  [ -z "$bench" ] || kill "$bench" 2>/dev/null || true
  end "$services" TERM 30
  "$REPO/hack/backends.sh" wipe
}
trap finish EXIT
trap 'exit 130' INT TERM

"$REPO/hack/backends.sh" wipe
"$REPO/hack/backends.sh" start
rm -rf "${services:?}"/*
# Each waiting buyer is a connection at both ends.
ulimit -n "$(ulimit -Hn)"
build=${QUICKSALE_BUILD:-$binaries/quicksale}
RUST_LOG=${RUST_LOG:-warn} launch "$services" "$build" dev --no-console --data-dir "$services"
await "$services" 60 quicksale curl --fail --silent --max-time 2 http://127.0.0.1:9090/readyz

pids=("--process=quicksale=$(running "$services")")
for backend in kafka mongodb redis; do
  pids+=("--process=$backend=$(running "$QUICKSALE_BACKENDS_DIR/$backend")")
done
if have mongod; then mongodb=$(mongod --version | head -n 1); else mongodb="secantusd $SECANTUS_VERSION"; fi
versions=(
  "--version-of=quicksale=${QUICKSALE_BUILD:-$(git -C "$REPO" describe --always --dirty 2>/dev/null || "$build" --version)}"
  "--version-of=rustc=$(rustc --version)"
  "--version-of=kafka=$KAFKA_VERSION"
  "--version-of=mongodb=$mongodb"
  "--version-of=redis=$(redis-server --version | grep -o 'v=[^ ]*' | cut -c3-)"
)
say "measuring; the results go to bench/out/"
cd "$REPO"
# In the background, because a trap runs only between commands: ending this script ends the load at once.
"$binaries/quicksale-bench" --keys "$services/keys" "${pids[@]}" "${versions[@]}" "$@" 9>&- &
bench=$!
if [ -n "${QUICKSALE_PROFILE:-}" ]; then
  # In the middle of the scenario: behind the warm-up and the tokens of its buyers.
  sleep "${QUICKSALE_PROFILE_AFTER:-12}" &
  wait $!
  perf record --quiet --output "$CACHE/bench-perf" --event cpu-clock --freq 499 --call-graph dwarf,16384 \
    --pid "$(running "$services")" -- sleep 5 >/dev/null 2>&1 || say "no profile: the scenario was over before it began, or perf may not record here"
  perf script --input "$CACHE/bench-perf" >"$QUICKSALE_PROFILE" 2>/dev/null || true
  rm -f "$CACHE/bench-perf"
fi
wait "$bench" && result=0 || result=$?
bench=
exit "$result"
