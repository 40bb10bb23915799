#!/bin/bash
# Keeps what this release makes, for the tests of the next one: keep-release.sh (once for each release, before its tag).
#
# The definition goes to crds/released/, the chart and the objects of an open sale to tests/released/VERSION/. It takes some minutes.
set -euo pipefail
# shellcheck source=hack/env.sh
. "$(dirname "$0")/env.sh"
cd "$REPO"
version=$(sed -n '/^\[workspace.package\]/,/^\[/s/^version = "\(.*\)"/\1/p' Cargo.toml)
[ -n "$version" ] || die "Cargo.toml names no version in [workspace.package]"

if [ -e "tests/released/$version" ] || [ -e "crds/released/$version.yaml" ]; then
  die "what $version makes is kept already: raise the version in Cargo.toml first"
fi

# Ports and directories as the tests have them.
export QUICKSALE_BACKENDS_DIR=$CACHE/test-backends QUICKSALE_APISERVER_DIR=$CACHE/apiserver-test
export KAFKA_PORT=19092 KAFKA_CONTROLLER_PORT=19093 MONGODB_PORT=27117 REDIS_PORT=16379
export MONGODB_URI="mongodb://127.0.0.1:$MONGODB_PORT/?directConnection=true"
export KAFKA_BROKERS=127.0.0.1:$KAFKA_PORT KAFKA_TLS=false REDIS_URL=redis://127.0.0.1:$REDIS_PORT
hack/tools.sh rust-build redis kafka mongodb openssl curl etcd kube-apiserver kubectl helm
say "building (some minutes where little is built yet)"
cargo build --locked --workspace --all-targets
stop() {
  hack/apiserver.sh stop || true
  hack/backends.sh stop || true
}
trap stop EXIT
hack/backends.sh wipe
hack/backends.sh start
hack/apiserver.sh start
QUICKSALE_RELEASE=$version KUBECONFIG=$QUICKSALE_APISERVER_DIR/kubeconfig \
  cargo test --locked --workspace --test apiserver -- --ignored released::
[ -n "$(find "tests/released/$version/open-sale.json" -mmin -15)" ] || die "the test that writes tests/released/$version/open-sale.json did not run"
helm package charts/quicksale --destination "tests/released/$version"
cp crds/flashsales.quicksale.io.yaml "crds/released/$version.yaml"
say "kept in tests/released/$version and crds/released/$version.yaml; name it in RELEASED of crds/src/compatible.rs"
