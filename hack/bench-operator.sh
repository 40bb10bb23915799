#!/bin/bash
# Measures the operator under many sales on a real API server without nodes: bench-operator.sh [SALES] (`make bench-operator`).
#
# What it asks of the API server in a quiet minute, how much memory it has, how soon a switch is in force at all doors of a sale, and how
# soon all is steady after it was killed. The sales are 500 where no number is given; it takes about ten minutes.
set -euo pipefail
# shellcheck source=hack/env.sh
. "$(dirname "$0")/env.sh"
cd "$REPO"
sales=${1:-500}
[[ $sales =~ ^[1-9][0-9]{0,3}$ ]] || die "$sales is no number of sales; write one from 1 to 9999, such as 500"

# Ports and directories as the tests have them.
export QUICKSALE_BACKENDS_DIR=$CACHE/test-backends QUICKSALE_APISERVER_DIR=$CACHE/apiserver-test
export KAFKA_PORT=19092 KAFKA_CONTROLLER_PORT=19093 MONGODB_PORT=27117 REDIS_PORT=16379
export MONGODB_URI="mongodb://127.0.0.1:$MONGODB_PORT/?directConnection=true"
export KAFKA_BROKERS=127.0.0.1:$KAFKA_PORT KAFKA_TLS=false REDIS_URL=redis://127.0.0.1:$REDIS_PORT

hack/tools.sh rust-build redis kafka mongodb openssl curl etcd kube-apiserver kubectl helm
say "building the operator and the tests (some minutes where little is built yet)"
cargo build --locked --release --workspace
cargo build --locked --workspace --all-targets
stop() {
  hack/apiserver.sh stop || true
  hack/backends.sh stop || true
}
trap stop EXIT
hack/backends.sh wipe
hack/backends.sh start
hack/apiserver.sh start
say "$sales sales (about ten minutes for 500)"
export QUICKSALE_OPERATOR_BIN=${CARGO_TARGET_DIR:-$REPO/target}/x86_64-unknown-linux-gnu/release/quicksale-operator
QUICKSALE_MANY=$sales QUICKSALE_QUIET_SECONDS=60 KUBECONFIG=$QUICKSALE_APISERVER_DIR/kubeconfig \
  cargo test --locked --workspace --test apiserver -- --ignored --nocapture many::
