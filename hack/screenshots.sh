#!/bin/bash
# Takes the pictures of the pages in docs/images, with a real browser and real sales: `make screenshots`. About 2 min, and 10 where nothing is built.
set -euo pipefail
# shellcheck source=hack/env.sh
. "$(dirname "$0")/env.sh"
cd "$REPO"
export QUICKSALE_SCREENSHOTS=$REPO/docs/images
export QUICKSALE_BACKENDS_DIR=$CACHE/test-backends KAFKA_PORT=19092 KAFKA_CONTROLLER_PORT=19093 MONGODB_PORT=27117 REDIS_PORT=16379
export MONGODB_URI="mongodb://127.0.0.1:$MONGODB_PORT/?directConnection=true"
export KAFKA_BROKERS=127.0.0.1:$KAFKA_PORT KAFKA_TLS=false REDIS_URL=redis://127.0.0.1:$REDIS_PORT
hack/tools.sh rust-build redis kafka mongodb chromium axe
QUICKSALE_AXE=$(built_dir "${AXE_BUILD[@]}")/axe.min.js
export QUICKSALE_AXE
say "building (about 8 min the first time)"
cargo build --locked --workspace --all-targets
hack/backends.sh start
trap 'hack/backends.sh stop' EXIT
cargo test --locked --workspace --test front_door -- --ignored pictures::
say "the pictures are in docs/images: look at them before they are committed"
