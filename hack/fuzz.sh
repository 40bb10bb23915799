#!/bin/bash
# Gives strange input to everything that reads what strangers write, so many seconds for each test: fuzz.sh SECONDS [NAME]
# Tests run beside each other, one on each core. A failure prints a seed that runs the same input again.
set -euo pipefail
# shellcheck source=hack/env.sh
. "$(dirname "$0")/env.sh"
case ${1:-} in
  '' | *[!0-9]*) die "usage: hack/fuzz.sh SECONDS [NAME], for instance: hack/fuzz.sh 600 tokens" ;;
esac
cd "$REPO"
QUICKSALE_FUZZ_SECONDS=$1 cargo test --locked --test fuzz -- --test-threads "$(nproc)" "${@:2}"
