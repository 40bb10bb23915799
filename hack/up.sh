#!/bin/bash
# A kind cluster with everything in it, and a sample sale that is open: `make up`. A second run changes only what changed.
# From the environment: CLUSTER (quicksale), INGRESS_PORT (8080), KUBECONFIG (the user's own), OBSERVE (1 for a Prometheus beside it),
# GATEWAY_API (1 for a Gateway beside the ingress controller, and load balancers).
set -euo pipefail
# shellcheck source=hack/env.sh
. "$(dirname "$0")/env.sh"
# shellcheck source=hack/registry.sh
. "$REPO/hack/registry.sh"
cluster=${CLUSTER:-quicksale} port=${INGRESS_PORT:-8080} observe=

kubectl_here() { kubectl --context "kind-$cluster" "$@"; }

# Namespaces in which no pod starts that could harm its node.
restricted_namespace() {
  kubectl_here create namespace "$1" --dry-run=client --output yaml | kubectl_here apply --filename - >/dev/null
  kubectl_here label --overwrite namespace "$1" pod-security.kubernetes.io/enforce=restricted "${@:2}" >/dev/null
}

namespace_peer() { printf '{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "%s"}}}' "$1"; }

# Requests come from the ingress controller, which is a pod: kind gives pods addresses of 10.244.0.0/16.
install_operator() {
  local image=$1 entrances=false
  [ "${GATEWAY_API:-0}" != 1 ] || entrances=true
  "$REPO/hack/cluster.sh" load "$image"
  "$REPO/hack/release.sh" quicksale quicksale-system \
    --set image.repository="${image%:*}" --set-string image.tag="${image#*:}" --set image.pullPolicy=IfNotPresent \
    --set backends.secretName=quicksale-backends --set backends.namespace=quicksale-backends \
    --set console.enabled=true --set console.switches=true --set console.ingress.host=console.localhost \
    --set 'trustedProxies={10.244.0.0/16}' --set-json "networkPolicy.ingressPeers=[$(namespace_peer traefik)]" \
    --set-json "networkPolicy.backendPeers=[$(namespace_peer quicksale-backends)]" \
    --set entrances.gatewayApi="$entrances" --set entrances.loadBalancers="$entrances" \
    --set-json "networkPolicy.monitoringPeers=[$([ -z "$observe" ] || namespace_peer monitoring)]" ||
    die "the operator or the console did not get ready: kubectl --context kind-$cluster --namespace quicksale-system get pods"
  say "the operator is ready in the namespace quicksale-system"
}

open_sample_sale() {
  local image=$1 sells going
  # A sale that is open keeps the image it was opened with: a new build is seen in a new sale.
  sells=$(kubectl_here --namespace shop get deployment laptops-gateway --ignore-not-found \
    --output 'jsonpath={.spec.template.spec.containers[0].image}')
  if [ -n "$sells" ] && [ "$sells" != "$image" ]; then
    say "the sample sale runs an older build: replacing it (about 1 min)"
    kubectl_here --namespace shop annotate --overwrite flashsale/laptops quicksale.io/drain-and-delete=true >/dev/null
    kubectl_here --namespace shop delete flashsale/laptops --timeout 180s >/dev/null
  fi
  going=$(kubectl_here --namespace shop get flashsale/laptops --ignore-not-found \
    --output 'jsonpath={.metadata.deletionTimestamp}')
  if [ -n "$going" ]; then
    say "an earlier sample sale is being deleted: waiting for its end (about 1 min)"
    kubectl_here --namespace shop wait flashsale/laptops --for=delete --timeout 180s >/dev/null ||
      die "the earlier sample sale does not go: kubectl --context kind-$cluster --namespace shop describe flashsale/laptops"
  fi
  kubectl_here apply --filename "$REPO/config/samples/shop.yaml" --filename "$REPO/config/samples/laptops.yaml" >/dev/null
  say "waiting for the sample sale to be Live (about 1 min)"
  kubectl_here --namespace shop wait flashsale/laptops --for=jsonpath='{.status.phase}'=Live --timeout=300s >/dev/null || {
    kubectl_here --namespace shop get flashsale/laptops --output jsonpath='{.status}{"\n"}' >&2
    die "the sample sale did not open: kubectl --context kind-$cluster --namespace shop describe flashsale/laptops"
  }
}

# The way from this host to a page: the ingress controller notices a new one a moment later than the operator.
reach() {
  local host=$1 path=$2 deadline=$((SECONDS + 60))
  until curl --fail --silent --max-time 2 --output /dev/null --resolve "$host:$port:127.0.0.1" "http://$host:$port$path"; do
    [ $SECONDS -lt $deadline ] || die "http://$host:$port does not lead into the cluster, though everything there is ready: kubectl --context kind-$cluster --namespace traefik logs deployment/traefik"
    sleep 1
  done
}

admin() { kubectl_here --namespace quicksale-system get secret quicksale-admin --output "jsonpath={.data.$1}" | base64 -d; }

print_what_to_try() {
  local url=http://laptops.localhost:$port
  cat <<X

The sample sale is open: $url
The console: http://console.localhost:$port
Administrator: $(admin email); the password:
  kubectl --context kind-$cluster --namespace quicksale-system get secret quicksale-admin --output go-template='{{.data.password | base64decode}}'

Try:
  kubectl --context kind-$cluster --namespace shop get flashsales
  curl $url/api/sale
  curl $url/api/auth/register --json '{"email":"you@example.com","password":"correct horse battery","firstName":"You","lastName":"There"}'

If laptops.localhost is not found, add --resolve laptops.localhost:$port:127.0.0.1 to curl; browsers find all names under localhost. \`make down\` removes all of it.
X
  [ -z "$observe" ] || printf 'Prometheus, with the alerts of the chart: http://prometheus.localhost:%s\n' "$port"
}

needs_room 3 "make up"
"$REPO/hack/docker.sh" start
"$REPO/hack/tools.sh" kind helm kubectl
case ${OBSERVE:-0} in 0 | '') ;; *) observe=yes ;; esac
registry_answers || true # asked once, here, for all the scripts that follow
"$REPO/hack/cluster.sh" up
# Once there, it is kept up to date, and may go on to ask.
if kubectl_here get namespace monitoring >/dev/null 2>&1; then observe=yes; fi
image=$("$REPO/hack/image.sh")
restricted_namespace quicksale-backends
"$REPO/hack/backends-chart.sh"
restricted_namespace quicksale-system
install_operator "$image"
if [ -n "$observe" ]; then
  restricted_namespace monitoring
  "$REPO/hack/observe.sh"
fi
open_sample_sale "$image"
reach laptops.localhost /api/sale
reach console.localhost /
forget_go_build
print_what_to_try
