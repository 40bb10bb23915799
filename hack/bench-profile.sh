#!/bin/bash
# Where the services' CPU goes in a scenario: bench-profile.sh SCENARIO (`make bench-profile SCENARIO=hot`).
# Writes the sampled stacks to bench/out/, and a flame graph where inferno is there to draw it.
set -euo pipefail
# shellcheck source=hack/env.sh
. "$(dirname "$0")/env.sh"

scenario=${1:-hot}
have perf || die "perf is missing: on Debian apt-get install linux-perf"
mkdir -p "$REPO/bench/out"
# What is released has no names in it.
export CARGO_PROFILE_RELEASE_STRIP=false
target=$CACHE/bench-profile
say "building with names (about 10 min the first time)"
(cd "$REPO" && CARGO_TARGET_DIR=$target cargo build --release --locked --bin quicksale)
unset CARGO_PROFILE_RELEASE_STRIP
export QUICKSALE_BUILD=$target/x86_64-unknown-linux-gnu/release/quicksale
stacks=$REPO/bench/out/$scenario.stacks
QUICKSALE_PROFILE=$stacks "$REPO/hack/bench.sh" --scenario "$scenario" --seconds 25 --orders 60000 --refusals 300000
[ -s "$stacks" ] || die "nothing was sampled: the scenario was over before 12 s, or perf may not record here (kernel.perf_event_paranoid)"
say "the stacks are in ${stacks#"$REPO/"}"
if have inferno-collapse-perf; then
  inferno-collapse-perf "$stacks" | inferno-flamegraph >"$REPO/bench/out/$scenario.svg"
  say "the flame graph is bench/out/$scenario.svg"
else
  say "for a flame graph: cargo install inferno, and run this again; or drop the file on https://www.speedscope.app"
fi
