#!/bin/bash
# What takes more than one node, on a kind cluster of three: test-nodes.sh [down] (`make test-nodes`).
#
# Autoscalers follow the load by metrics-server, and by prometheus-adapter with the rules of docs/how-to/scale.md; and a node is drained while
# orders come in. It is not part of `make test`: a cluster of three nodes is made for it, on which the backends and the ingress controller are
# kept off the node that is drained. About fifteen minutes the first time.
set -euo pipefail
# shellcheck source=hack/env.sh
. "$(dirname "$0")/env.sh"
# shellcheck source=hack/registry.sh
. "$REPO/hack/registry.sh"
cd "$REPO"
export CLUSTER=quicksale-nodes INGRESS_PORT=18081 KUBECONFIG=$CACHE/nodes-kubeconfig WORKERS=2
drained=$CLUSTER-worker2
if [ "${1:-}" = down ]; then exec hack/down.sh; fi
[ $# = 0 ] || die "usage: hack/test-nodes.sh [down]"

# into_cluster NAME: the image of that name, in the cluster.
into_cluster() {
  local image
  # In a substitution nothing stops at a failure by itself.
  image=$(hack/images.sh "$1") || return 1
  registry_answers || hack/cluster.sh load "$image" || return 1
  echo "$image"
}

# ready NAMESPACE DEPLOYMENT
ready() {
  kubectl --namespace "$1" rollout status "deployment/$2" --timeout 180s >/dev/null ||
    die "$2 did not get ready: kubectl --kubeconfig $KUBECONFIG --namespace $1 describe pods --selector app=$2"
}

metrics_server() {
  local image
  image=$(into_cluster metrics)
  sed "s|image: IMAGE|image: $image|" hack/manifests/metrics-server.yaml | kubectl apply --filename - >/dev/null
  ready kube-system metrics-server
}

# The rules that people are told to write into the values of its chart are what it is given here.
adapter() {
  local image rules sum
  image=$(into_cluster adapter)
  rules=$(awk '/^  external:$/ {print "externalRules:"; on = 1; next} /^```/ {on = 0} on' docs/how-to/scale.md)
  [ -n "$rules" ] || die "docs/how-to/scale.md has no rules for prometheus-adapter any more"
  sum=$(sha256sum <<<"$rules" | cut -c1-12)
  kubectl --namespace monitoring create configmap adapter --from-literal "config.yaml=$rules" --dry-run=client --output yaml |
    kubectl apply --filename - >/dev/null
  sed -e "s|image: IMAGE|image: $image|" -e "s|configuration: SUM|configuration: \"$sum\"|" hack/manifests/adapter.yaml |
    kubectl apply --filename - >/dev/null
  ready monitoring adapter
}

needs_room 12 "make test-nodes"
hack/docker.sh start
hack/tools.sh rust-build kind kubectl helm
say "building (some minutes where little is built yet)"
cargo build --locked --workspace --all-targets
hack/cluster.sh up
# Backends in memory and the one ingress controller are not what is drained here.
kubectl cordon "$drained" >/dev/null
OBSERVE=1 QUICKSALE_IMAGE_FROM=${CARGO_TARGET_DIR:-$REPO/target}/x86_64-unknown-linux-gnu/debug hack/up.sh
metrics_server
adapter
forget_go_build
kubectl uncordon "$drained" >/dev/null
say "three nodes, metrics-server and prometheus-adapter are ready"
QUICKSALE_DRAINED_NODE=$drained NETWORK_POLICIES=$(cat "$CACHE/network-$CLUSTER" 2>/dev/null || echo enforced) \
  cargo test --locked --workspace --test e2e -- --test-threads 1 --nocapture --ignored nodes:: | tee "$CACHE/logs/test-nodes.log"
grep -q '^test result: ok. 3 passed' "$CACHE/logs/test-nodes.log" || die "not all three tests of tests/tests/e2e/nodes.rs have passed"
