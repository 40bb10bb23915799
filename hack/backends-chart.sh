#!/bin/bash
# Installs the backends of a test cluster into the kind cluster, and waits for them: backends-chart.sh
# From the environment: CLUSTER (quicksale), KUBECONFIG (the user's own).
set -euo pipefail
# shellcheck source=hack/env.sh
. "$(dirname "$0")/env.sh"
cluster=${CLUSTER:-quicksale}

values=()
image=$("$REPO/hack/images.sh" backends)
if [ "$image" != official ]; then
  "$REPO/hack/cluster.sh" load "$image"
  values=(--set flavor=sourceBuilt --set "images.sourceBuilt=$image")
fi
wait_for_rollouts() {
  local name
  for name in redis mongodb kafka; do
    kubectl --context "kind-$cluster" --namespace quicksale-backends rollout status "deployment/$name" --timeout 3m >/dev/null || return 1
  done
}

if ! "$REPO/hack/release.sh" backends quicksale-backends "${values[@]}" || ! wait_for_rollouts; then
  die "the backends did not get ready: kubectl --context kind-$cluster --namespace quicksale-backends get pods"
fi
say "backends are ready in the namespace quicksale-backends"
