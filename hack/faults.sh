#!/bin/bash
# Runs storms of faults over a sale on backends of its own, and checks what became of every order:
# faults.sh SEED SECONDS (`make faults SEED=7 SECONDS=60`), or a range of seeds, one after the other (SEED=301-350).
# The same seed draws the same faults; what they meet is up to the machine. Each storm that passes is a line for tests/FAULTS.md.
#   QUICKSALE_STORM_BUYERS (96): buyers at a time
#   QUICKSALE_BIN: another executable of the services, such as the release build
set -euo pipefail
# shellcheck source=hack/env.sh
. "$(dirname "$0")/env.sh"
[[ ${1:-}/${2:-} =~ ^[0-9]+(-[0-9]+)?/[0-9]+$ ]] ||
  die "usage: hack/faults.sh SEED SECONDS, for instance: make faults SEED=7 SECONDS=60, or SEED=1-50"
first=${1%-*} last=${1#*-}
cd "$REPO"
hack/tools.sh rust-build redis kafka mongodb
export QUICKSALE_BACKENDS_DIR=$CACHE/test-backends QUICKSALE_STORM_SECONDS=$2
log=$CACHE/logs/storm.log
mkdir -p "${log%/*}"
say "building, then $((last - first + 1)) storms of $2 s, after each of which it may take six minutes until all is quiet"
cargo build --locked --workspace --all-targets
failed=()
for seed in $(seq "$first" "$last"); do
  if ! QUICKSALE_STORM_SEED=$seed cargo test --locked --workspace --test faults -- \
    --ignored --nocapture a_storm_of_faults 2>&1 | tee "$log"; then
    failed+=("$seed")
    cp "$log" "${log%.log}-$seed.log"
  fi
done
[ ${#failed[@]} -eq 0 ] || die "these storms failed: ${failed[*]}; what they said is in ${log%.log}-SEED.log"
