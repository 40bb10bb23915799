#!/bin/bash
# Installs or upgrades a chart of this repository on the kind cluster and waits for it: release.sh CHART NAMESPACE
# [--set ...]. The release is called like the chart.
# From the environment: CLUSTER (quicksale), KUBECONFIG (the user's own).
set -euo pipefail
# shellcheck source=hack/env.sh
. "$(dirname "$0")/env.sh"
cluster=${CLUSTER:-quicksale}
chart=$1 namespace=$2
shift 2

# Whoever is installing this release right now holds the lock, so a release that is pending under it was left by a run
# that was killed in the middle; Helm would refuse to touch it for ever.
mkdir -p "$CACHE/locks"
exec 8>"$CACHE/locks/helm-$cluster-$chart"
flock 8
kubectl --context "kind-$cluster" --namespace "$namespace" delete secret --ignore-not-found --selector \
  "owner=helm,name=$chart,status in (pending-install,pending-upgrade,pending-rollback)" >/dev/null
helm upgrade --install "$chart" "$REPO/charts/$chart" --kube-context "kind-$cluster" \
  --namespace "$namespace" --create-namespace "$@" --wait --timeout 5m >/dev/null 8>&-
