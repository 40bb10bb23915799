#!/bin/bash
# A kind cluster with an ingress controller and a network that enforces NetworkPolicies: cluster.sh up|down|load IMAGE
#
# up makes the cluster that kind-config.yaml describes, or brings back or replaces one that does not answer; on a healthy
# one it changes nothing. load puts an image of this host's Docker into it. From the environment:
#   CLUSTER (quicksale)  INGRESS_PORT (8080)  KUBECONFIG (the user's own)  WORKERS (nodes beside the first one; 0)
#   GATEWAY_API (1 for the Gateway API, with the Gateway front in the namespace traefik)
set -euo pipefail
# shellcheck source=hack/env.sh
. "$(dirname "$0")/env.sh"
# shellcheck source=hack/process.sh
. "$REPO/hack/process.sh"
# shellcheck source=hack/registry.sh
. "$REPO/hack/registry.sh"
cluster=${CLUSTER:-quicksale} port=${INGRESS_PORT:-8080}
node=$cluster-control-plane

kubectl_here() { kubectl --context "kind-$cluster" "$@"; }
exists() { kind get clusters 2>/dev/null | grep -x "$cluster" >/dev/null; }

# healthy: whether its nodes are Ready, giving a cluster that is coming back some time for that.
healthy() {
  local nodes one
  mapfile -t nodes < <(kind get nodes --name "$cluster" 2>/dev/null)
  # One that was made with another number of nodes is another cluster.
  [ ${#nodes[@]} = $((${WORKERS:-0} + 1)) ] || return 1
  for one in "${nodes[@]}"; do
    [ "$(docker inspect --format '{{.State.Running}}' "$one" 2>/dev/null)" = true ] || docker start "$one" >/dev/null || return 1
  done
  # Where the host's port leads is fixed when a cluster is made.
  local leads
  leads=$(docker port "$node" 30080/tcp 2>/dev/null) || return 1
  [ "$leads" = "127.0.0.1:$port" ] ||
    die "the cluster $cluster has its ingress on $leads, and not on port $port: remove it first (make down), or leave INGRESS_PORT as it was"
  kind export kubeconfig --name "$cluster" >/dev/null 2>&1 || return 1
  local deadline=$((SECONDS + 60))
  until kubectl_here --request-timeout=5s get --raw /readyz >/dev/null 2>&1; do
    [ $SECONDS -lt $deadline ] || return 1
    sleep 1
  done
  kubectl_here wait node --all --for=condition=Ready --timeout=60s >/dev/null 2>&1
}

create() {
  local image config
  ! listening "$port" || die "port $port of this host is taken by another process: stop that one, or choose another with INGRESS_PORT"
  image=$("$REPO/hack/images.sh" node)
  config=$(sed -e "s/^name: .*/name: $cluster/" -e "s/hostPort: 8080/hostPort: $port/" "$REPO/kind-config.yaml" |
    awk -v workers="${WORKERS:-0}" '/^kubeadmConfigPatches:/ {for (n = 0; n < workers; n++) print "- role: worker"} {print}')
  say "creating the kind cluster $cluster (about 1 min)"
  kind create cluster --config - --image "$image" --wait 120s <<<"$config" >"$CACHE/logs/kind-$cluster.log" 2>&1 || {
    tail -n 30 "$CACHE/logs/kind-$cluster.log" >&2
    kind delete cluster --name "$cluster" >/dev/null 2>&1 || true
    die "kind could not create the cluster; its whole output is in $CACHE/logs/kind-$cluster.log"
  }
}

# forget_images REPOSITORY: removes the node's images of that name that nothing in the cluster runs or could start; each
# build would leave one more.
forget_images() {
  local used
  used=$(kubectl_here get pods,deployments,replicasets,statefulsets,daemonsets,jobs --all-namespaces --output 'jsonpath={..image}') ||
    return 0
  docker exec "$node" ctr --namespace k8s.io images ls --quiet "name~=^$1:" |
    grep -vxF "$(tr ' ' '\n' <<<"$used" | sed 's|^[^/]*$|docker.io/library/&|')" |
    xargs --no-run-if-empty docker exec "$node" crictl rmi >/dev/null 2>&1 || true
}

# load IMAGE: unless the node has an image of this name already; a name stands for one content here.
load() {
  local name=$1
  case $name in */*) ;; *) name=docker.io/library/$name ;; esac
  [ -z "$(docker exec "$node" ctr --namespace k8s.io images ls --quiet "name==$name" 2>/dev/null)" ] || return 0
  forget_images "${name%:*}"
  kind load docker-image --name "$cluster" "$1" >>"$CACHE/logs/kind-$cluster.log" 2>&1 ||
    die "the image $1 could not be loaded into the cluster; see $CACHE/logs/kind-$cluster.log"
}

ingress() {
  local image
  image=$("$REPO/hack/images.sh" ingress)
  registry_answers || load "$image"
  # Lines of the manifest that end so are for a cluster with the Gateway API alone.
  local leave_out='/# with the Gateway API$/d' definitions
  if [ "${GATEWAY_API:-0}" = 1 ]; then
    leave_out=
    definitions=$(built "${GATEWAY_API_BUILD[@]}")
    kubectl_here apply --server-side --filename "$definitions" >/dev/null
  fi
  sed -e "s|image: IMAGE|image: $image|" -e "$leave_out" "$REPO/hack/manifests/traefik.yaml" | kubectl_here apply -f - >/dev/null
  [ -n "$leave_out" ] || kubectl_here apply --filename "$REPO/hack/manifests/gateway.yaml" >/dev/null
  kubectl_here --namespace traefik rollout status deployment/traefik --timeout 120s >/dev/null ||
    die "the ingress controller did not get ready: kubectl --context kind-$cluster --namespace traefik describe pods"
}

# between_nodes: ways between the pods of several nodes. The network of a node image that was made here knows one node, whose pods have
# 10.244.0.0/24: the others get the ranges that the cluster has given them, and each node a route to those. They go with a restart.
between_nodes() {
  local one other range address nodes
  mapfile -t nodes < <(kind get nodes --name "$cluster")
  [ ${#nodes[@]} -gt 1 ] || return 0
  for one in "${nodes[@]}"; do
    range=$(kubectl_here get node "$one" --output 'jsonpath={.spec.podCIDR}')
    address=$(kubectl_here get node "$one" --output 'jsonpath={.status.addresses[?(@.type=="InternalIP")].address}')
    # Who a request comes from is what policies go by, so what stays among pods keeps its address.
    docker exec "$one" sh -c "sed -i -e 's|10.244.0.0/24|$range|' -e 's|\"ipMasq\": true|\"ipMasq\": false|' /etc/cni/net.d/10-ptp.conflist
      outwards='POSTROUTING -s 10.244.0.0/16 ! -d 10.244.0.0/16 -j MASQUERADE'
      iptables -t nat -C \$outwards 2>/dev/null || iptables -t nat -A \$outwards"
    for other in "${nodes[@]}"; do
      [ "$other" = "$one" ] || docker exec "$other" ip route replace "$range" via "$address"
    done
  done
  # Those that were there before have addresses of another node's range.
  kubectl_here --namespace kube-system delete pods --selector k8s-app=kube-dns --wait=false >/dev/null
}

# The network of a node image that was made here connects pods and does no more.
network() {
  local image deadline
  image=$("$REPO/hack/images.sh" network)
  [ "$image" != official ] || return 0
  between_nodes
  load "$image"
  sed "s|image: IMAGE|image: $image|" "$REPO/hack/manifests/network-policies.yaml" | kubectl_here apply -f - >/dev/null
  kubectl_here --namespace kube-system rollout status daemonset/network-policies --timeout 120s >/dev/null ||
    die "the agent for NetworkPolicies did not get ready: kubectl --context kind-$cluster --namespace kube-system describe pods"
  # It says that it is ready whether or not the kernel takes its rules.
  deadline=$((SECONDS + 15))
  echo enforced >"$CACHE/network-$cluster"
  until docker exec "$node" nft list table inet kube-network-policies 2>/dev/null | grep -E 'NFQUEUE|queue (num|to)' >/dev/null; do
    [ $SECONDS -lt $deadline ] || {
      say "NetworkPolicies are not enforced on this cluster: this host's kernel cannot hand packets to a process (nfnetlink_queue, xt_NFQUEUE)"
      echo unenforced >"$CACHE/network-$cluster"
      return 0
    }
    sleep 0.5
  done
}

up() {
  "$REPO/hack/docker.sh" start
  "$REPO/hack/tools.sh" kind kubectl
  registry_answers || say "no image registry answers: images are built here instead"
  if exists && ! healthy; then
    say "the cluster $cluster does not answer: replacing it"
    kind delete cluster --name "$cluster" >/dev/null 2>&1
  fi
  exists || create
  network
  ingress
  say "cluster $cluster is ready: kubectl --context kind-$cluster, ingress on http://127.0.0.1:$port"
}

down() {
  { have docker && have kind; } || return 0
  # A cluster outlives the daemon that ran it.
  "$REPO/hack/docker.sh" start
  exists || return 0
  kind delete cluster --name "$cluster" >/dev/null 2>&1
  say "cluster $cluster deleted"
}

mkdir -p "$CACHE/locks" "$CACHE/logs"
exec 8>"$CACHE/locks/cluster-$cluster"
flock 8
case ${1:-} in
  up) up ;;
  down) down ;;
  load) load "${2:?usage: hack/cluster.sh load IMAGE}" ;;
  *) die "usage: hack/cluster.sh up|down|load IMAGE" ;;
esac
