#!/bin/bash
# What takes more than one node, on a kind cluster of three with metrics-server: test-nodes.sh [down] (`make test-nodes`).
#
# An autoscaler follows the load, and a node is drained while orders come in. It is not part of `make test`: a cluster of three nodes is
# made for it, on which the backends and the ingress controller are kept off the node that is drained. About ten minutes the first time.
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

needs_room 6 "make test-nodes"
hack/docker.sh start
hack/tools.sh rust-build kind kubectl helm
say "building (some minutes where little is built yet)"
cargo build --locked --workspace --all-targets
hack/cluster.sh up
# Backends in memory and the one ingress controller are not what is drained here.
kubectl cordon "$drained" >/dev/null
QUICKSALE_IMAGE_FROM=${CARGO_TARGET_DIR:-$REPO/target}/x86_64-unknown-linux-gnu/debug hack/up.sh
image=$(hack/images.sh metrics)
registry_answers || hack/cluster.sh load "$image"
sed "s|image: IMAGE|image: $image|" hack/manifests/metrics-server.yaml | kubectl apply --filename - >/dev/null
kubectl --namespace kube-system rollout status deployment/metrics-server --timeout 180s >/dev/null ||
  die "metrics-server did not get ready: kubectl --kubeconfig $KUBECONFIG --namespace kube-system describe pods --selector app=metrics-server"
kubectl uncordon "$drained" >/dev/null
say "three nodes and metrics-server are ready"
QUICKSALE_DRAINED_NODE=$drained NETWORK_POLICIES=$(cat "$CACHE/network-$CLUSTER" 2>/dev/null || echo enforced) \
  cargo test --locked --workspace --test e2e -- --test-threads 1 --nocapture --ignored nodes:: | tee "$CACHE/logs/test-nodes.log"
grep -q '^test result: ok. 2 passed' "$CACHE/logs/test-nodes.log" || die "not both tests of tests/tests/e2e/nodes.rs have passed"
