#!/bin/bash
# Installs a small Prometheus with the chart's rules into the kind cluster, and waits for it: observe.sh
# From the environment: CLUSTER (quicksale), KUBECONFIG (the user's own).
set -euo pipefail
# shellcheck source=hack/env.sh
. "$(dirname "$0")/env.sh"
# shellcheck source=hack/registry.sh
. "$REPO/hack/registry.sh"
cluster=${CLUSTER:-quicksale}

kubectl_here() { kubectl --context "kind-$cluster" --namespace monitoring "$@"; }

image=$("$REPO/hack/images.sh" prometheus)
registry_answers || "$REPO/hack/cluster.sh" load "$image"
manifest=$REPO/hack/manifests/prometheus.yaml
rules=("$REPO"/charts/quicksale/files/alerts/*.yaml)
sum=$(cat "$manifest" "${rules[@]}" | sha256sum | cut -c1-12)
kubectl_here create configmap prometheus-rules "${rules[@]/#/--from-file=}" --dry-run=client --output yaml |
  kubectl_here apply --server-side --force-conflicts --filename - >/dev/null
sed -e "s|image: IMAGE|image: $image|" -e "s|configuration: SUM|configuration: \"$sum\"|" "$manifest" | kubectl_here apply --filename - >/dev/null
kubectl_here rollout status deployment/prometheus --timeout 120s >/dev/null ||
  die "Prometheus did not get ready: kubectl --context kind-$cluster --namespace monitoring describe pods"
say "Prometheus is ready in the namespace monitoring"
