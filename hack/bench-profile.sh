#!/bin/bash
# Where the services' CPU goes in a scenario: bench-profile.sh SCENARIO (`make bench-profile SCENARIO=hot`).
# Writes the sampled stacks and a flame graph to bench/out/. QUICKSALE_BUILD=FILE takes that build of the services, which has names in it.
set -euo pipefail
# shellcheck source=hack/env.sh
. "$(dirname "$0")/env.sh"

scenario=${1:-hot}
mkdir -p "$REPO/bench/out"
"$REPO/hack/tools.sh" rust-build flame-graph
if [ -z "${QUICKSALE_BUILD:-}" ]; then
  target=$CACHE/bench-profile
  say "building with names (about 10 min the first time)"
  # What is released has none.
  (cd "$REPO" && CARGO_PROFILE_RELEASE_STRIP=false CARGO_TARGET_DIR=$target cargo build --release --locked --bin quicksale)
  export QUICKSALE_BUILD=$target/x86_64-unknown-linux-gnu/release/quicksale
fi
stacks=$REPO/bench/out/$scenario.stacks
QUICKSALE_PROFILE=$stacks "$REPO/hack/bench.sh" --scenario "$scenario" --seconds 25 --orders 60000 --refusals 300000
[ -s "$stacks" ] || die "nothing was sampled: the scenario was over before 12 s, or perf may not record here (kernel.perf_event_paranoid)"
inferno-collapse-perf "$stacks" | inferno-flamegraph --title "$scenario" >"$REPO/bench/out/$scenario.svg"
say "the flame graph is bench/out/$scenario.svg: open it in a browser"
