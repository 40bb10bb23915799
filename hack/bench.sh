#!/bin/bash
# Measures the system with real backends on loopback that start empty: bench.sh [ARGUMENT...] (`make bench`).
# The arguments go to the load generator (bench.sh --help tells what it can do). Results are written to bench/out/. From the environment:
#   QUICKSALE_SHAPE=processes    each service in a process of its own, as on a cluster; otherwise all of them are in one (`quicksale dev`)
#   QUICKSALE_REPLICAS=N         so many processes of each service but auth, which has one
#   QUICKSALE_CPU QUICKSALE_MEMORY QUICKSALE_PIN  what each process may have (hack/bench/bounds.sh)
#   QUICKSALE_BUILD=FILE         measures that build of the services
#   QUICKSALE_GENERATOR=FILE     with that build of the load generator; with both nothing is built
#   QUICKSALE_PROFILE=FILE       writes where the services' CPU goes, as stacks sampled QUICKSALE_PROFILE_AFTER seconds after the load
#                                generator has begun (hack/bench-profile.sh)
set -euo pipefail
# shellcheck source=hack/env.sh
. "$(dirname "$0")/env.sh"
# shellcheck source=hack/process.sh
. "$REPO/hack/process.sh"
# shellcheck source=hack/bench/bounds.sh
. "$REPO/hack/bench/bounds.sh"
# shellcheck source=hack/bench/shapes.sh
. "$REPO/hack/bench/shapes.sh"

# Ports and a directory of their own, so that the bench does not meet the backends of `make dev` or the tests.
export QUICKSALE_BACKENDS_DIR=$CACHE/bench-backends
export KAFKA_PORT=29092 KAFKA_CONTROLLER_PORT=29093 MONGODB_PORT=27217 REDIS_PORT=26379
export MONGODB_URI="mongodb://127.0.0.1:$MONGODB_PORT/?directConnection=true"
export KAFKA_BROKERS=127.0.0.1:$KAFKA_PORT KAFKA_TLS=false REDIS_URL=redis://127.0.0.1:$REDIS_PORT
services=$CACHE/bench-services
binaries=${CARGO_TARGET_DIR:-$REPO/target}/x86_64-unknown-linux-gnu/release
build=${QUICKSALE_BUILD:-$binaries/quicksale}
generator=${QUICKSALE_GENERATOR:-$binaries/quicksale-bench}
shape=${QUICKSALE_SHAPE:-one} replicas=${QUICKSALE_REPLICAS:-1}
case $shape in
  one) [ -z "${QUICKSALE_REPLICAS:-}${QUICKSALE_CPU:-}${QUICKSALE_MEMORY:-}${QUICKSALE_PIN:-}" ] || die "QUICKSALE_REPLICAS, QUICKSALE_CPU, QUICKSALE_MEMORY and QUICKSALE_PIN are for QUICKSALE_SHAPE=processes" ;;
  processes) [[ $replicas =~ ^[1-9]$ ]] || die "QUICKSALE_REPLICAS is $replicas: write a number from 1 to 9" ;;
  *) die "QUICKSALE_SHAPE is $shape: write one or processes" ;;
esac

"$REPO/hack/tools.sh" rust-build redis kafka mongodb curl
if [ -z "${QUICKSALE_BUILD:-}" ] || [ -z "${QUICKSALE_GENERATOR:-}" ]; then
  say "building (about 10 min the first time)"
  (cd "$REPO" && cargo build --release --locked --bin quicksale --bin quicksale-bench)
fi
case " $* " in *" --help "*) exec "$generator" --help ;; esac

mkdir -p "$services"
exec 9>"$CACHE/bench-lock"
flock -n 9 || die "another bench is running on this machine: wait for it"

bench=
# shellcheck disable=SC2317 # called by the trap
finish() {
  [ -z "$bench" ] || kill "$bench" 2>/dev/null || true
  local dir
  for dir in "${started[@]}"; do end "$dir" TERM 30; done
  forget_groups
  "$REPO/hack/backends.sh" wipe
}
trap finish EXIT
trap 'exit 130' INT TERM

"$REPO/hack/backends.sh" wipe
"$REPO/hack/backends.sh" start
rm -rf "${services:?}"/*
# Each waiting buyer is a connection at both ends.
ulimit -n "$(ulimit -Hn)"
export RUST_LOG=${RUST_LOG:-warn}
case $shape in
  one) one_process "$build" "$services" ;;
  processes) own_processes "$build" "$services" "$replicas" ;;
esac

for backend in kafka mongodb redis; do
  targets+=("--process=$backend=$(running "$QUICKSALE_BACKENDS_DIR/$backend")")
done
if have mongod; then mongodb=$(mongod --version | head -n 1); else mongodb="secantusd $SECANTUS_VERSION"; fi
versions=(
  "--version-of=quicksale=${QUICKSALE_BUILD:-$(git -C "$REPO" describe --always --dirty 2>/dev/null || "$build" --version)}"
  "--version-of=shape=$shape${QUICKSALE_REPLICAS:+, $replicas of each}${QUICKSALE_CPU:+, CPU $QUICKSALE_CPU}${QUICKSALE_MEMORY:+, $QUICKSALE_MEMORY MB}${QUICKSALE_PIN:+, on cores $QUICKSALE_PIN}"
  "--version-of=rustc=$(rustc --version)"
  "--version-of=kafka=$KAFKA_VERSION"
  "--version-of=mongodb=$mongodb"
  "--version-of=redis=$(redis-server --version | grep -o 'v=[^ ]*' | cut -c3-)"
)
say "measuring; the results go to bench/out/"
cd "$REPO"
# In the background, because a trap runs only between commands: ending this script ends the load at once.
"$generator" --keys "$services/keys" "${targets[@]}" "${versions[@]}" "$@" 9>&- &
bench=$!
if [ -n "${QUICKSALE_PROFILE:-}" ]; then
  # In the middle of the scenario: behind the warm-up and the tokens of its buyers.
  sleep "${QUICKSALE_PROFILE_AFTER:-12}" &
  wait $!
  perf record --quiet --output "$CACHE/bench-perf" --event cpu-clock --freq 499 --call-graph dwarf,16384 \
    --pid "$(pids)" -- sleep 5 >/dev/null 2>&1 || say "no profile: the scenario was over before it began, or perf may not record here"
  perf script --input "$CACHE/bench-perf" >"$QUICKSALE_PROFILE" 2>/dev/null || true
  rm -f "$CACHE/bench-perf"
fi
wait "$bench" && result=0 || result=$?
bench=
exit "$result"
