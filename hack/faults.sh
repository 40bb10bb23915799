#!/bin/bash
# Runs a storm of faults over a sale on backends of its own, and checks what became of every order:
# faults.sh SEED SECONDS (`make faults SEED=7 SECONDS=60`). The same seed draws the same faults; what they meet is up to the machine.
set -euo pipefail
# shellcheck source=hack/env.sh
. "$(dirname "$0")/env.sh"
case ${1:-}/${2:-} in
  [0-9]*/[0-9]*) ;;
  *) die "usage: hack/faults.sh SEED SECONDS, for instance: make faults SEED=7 SECONDS=60" ;;
esac
cd "$REPO"
hack/tools.sh rust-build redis kafka mongodb
export QUICKSALE_BACKENDS_DIR=$CACHE/test-backends QUICKSALE_STORM_SEED=$1 QUICKSALE_STORM_SECONDS=$2
say "building, then a storm of $2 s and up to six minutes until all is quiet"
cargo build --locked --workspace --all-targets
cargo test --locked --workspace --test faults -- --ignored --nocapture a_storm_of_faults
