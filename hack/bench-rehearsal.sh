#!/bin/bash
# Whether what a rehearsal says is held is held by other means too: bench-rehearsal.sh (`make bench-rehearsal`).
#
# On the kind cluster of `make up` a rehearsal finds what the cluster holds. Then another of the same size is opened without a load, and the
# same search is made by a process of the node, which is no pod and knows no operator, and after that from outside of the cluster through
# its ingress. The first two must agree within a fifth; the third shows what the ingress and the way into the cluster cost. Some ten minutes.
# From the environment: CLUSTER (quicksale), INGRESS_PORT (8080), KUBECONFIG (the user's own).
set -euo pipefail
# shellcheck source=hack/env.sh
. "$(dirname "$0")/env.sh"
cd "$REPO"
cluster=${CLUSTER:-quicksale} port=${INGRESS_PORT:-8080}
namespace=bench-rehearsal
kubectl_here() { kubectl --context "kind-$cluster" --namespace "$namespace" "$@"; }

hack/tools.sh rust-build kubectl
kubectl_here version >/dev/null 2>&1 || die "there is no cluster kind-$cluster: run make up first"
say "building the load (some minutes where little is built yet)"
cargo build --locked --release --workspace
load=${CARGO_TARGET_DIR:-$REPO/target}/x86_64-unknown-linux-gnu/release/quicksale
keys=$(mktemp -d)
leave() {
  rm -rf "$keys"
  kubectl_here annotate flashsale --all --overwrite quicksale.io/drain-and-delete=true >/dev/null 2>&1 || true
  kubectl_here delete flashsale --all --timeout 180s >/dev/null 2>&1 || true
  kubectl --context "kind-$cluster" delete namespace "$namespace" --timeout 180s >/dev/null 2>&1 || true
}
trap leave EXIT
kubectl --context "kind-$cluster" apply --filename - >/dev/null <<YAML
apiVersion: v1
kind: Namespace
metadata:
  name: $namespace
  labels: {quicksale.io/backends: shared, pod-security.kubernetes.io/enforce: restricted}
YAML

# rehearsal NAME MORE: a sale of one product, with two gateways, as the verdict is about.
rehearsal() {
  kubectl_here apply --filename - >/dev/null <<YAML
apiVersion: quicksale.io/v1beta1
kind: FlashSale
metadata: {name: $1}
spec:
  mode: Rehearsal
  products: [{sku: UNIT, name: A unit, price: "799.99", stock: 1000000}]
  services: {gateway: {replicas: {min: 2}}}
  kafka: {partitions: 12}
  $2
YAML
}

say "a rehearsal finds out what is held (about four minutes)"
rehearsal drill 'load: {ordersPerSecond: 4000, step: 10s, besideOpenSales: Allow}'
kubectl_here wait flashsale/drill --for=jsonpath='{.status.phase}'=Ended --timeout=1200s >/dev/null ||
  die "the rehearsal did not end: kubectl --context kind-$cluster --namespace $namespace describe flashsale/drill"
held=$(kubectl_here get flashsale/drill --output 'jsonpath={.status.rehearsed.heldPerSecond}')
kubectl_here get flashsale/drill --output 'jsonpath={.status.conditions[?(@.type=="HoldsLoad")].message}{"\n"}'
[ "${held:-0}" -gt 0 ] || die "the rehearsal found nothing that is held"
kubectl_here delete flashsale/drill --timeout 180s >/dev/null

say "a sale of the same size, and a load from outside"
rehearsal counter "ingress: {host: $namespace.localhost, className: traefik}"
kubectl_here wait flashsale/counter --for=condition=Ready --timeout=300s >/dev/null ||
  die "the sale did not open: kubectl --context kind-$cluster --namespace $namespace describe flashsale/counter"
for key in signing-key.pem jwks.json; do
  kubectl_here get secret counter-signing-keys --output "jsonpath={.data['${key//./\\.}']}" | base64 --decode >"$keys/$key"
done
what_is_held() { sed -n 's/.*"heldPerSecond":\([0-9]*\).*/\1/p' "$keys/found.json"; }
search=(--host "$namespace.localhost" --orders-per-second 4000 --step-seconds 10)
say "the same search from the node (about three minutes)"
gateway=$(kubectl_here get service counter-gateway --output 'jsonpath={.spec.clusterIP}:{.spec.ports[0].port}')
node=$cluster-control-plane
docker exec "$node" mkdir -p /rehearse
docker cp --quiet "$load" "$node:/rehearse/quicksale"
docker cp --quiet "$keys/." "$node:/rehearse"
docker exec "$node" /rehearse/quicksale rehearse --gateway "$gateway" --keys /rehearse "${search[@]}" --outcome /rehearse/found.json
docker cp --quiet "$node:/rehearse/found.json" "$keys/found.json"
docker exec "$node" rm -rf /rehearse
beside=$(what_is_held)
say "the same search from outside (about three minutes)"
"$load" rehearse --gateway "127.0.0.1:$port" --keys "$keys" "${search[@]}" --outcome "$keys/found.json"
say "the rehearsal says $held orders/s, the load from the node $beside, the one through the ingress $(what_is_held)"
if [ $((beside * 100)) -lt $((held * 80)) ] || [ $((beside * 100)) -gt $((held * 120)) ]; then
  die "they differ by more than a fifth: look what else runs on this machine, and measure again"
fi
