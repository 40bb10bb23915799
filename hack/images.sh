#!/bin/bash
# Prints the name of an image, after making sure that it is there: images.sh node|ingress|network|backends|prometheus|metrics|adapter
#
# Where an image registry answers, that is the official image, which is pulled when it is needed. Otherwise the image is
# built by hack/images/NAME.sh and kept in Docker's store under a tag that is a hash of what goes into it.
# backends has no single official image, and network none that is needed: the answer is then the word "official".
set -euo pipefail
# shellcheck source=hack/env.sh
. "$(dirname "$0")/env.sh"
# shellcheck source=hack/registry.sh
. "$REPO/hack/registry.sh"

# image NAME INGREDIENT...: builds hack/images/NAME.sh with these arguments where no image has its tag, and prints the tag.
image() {
  local script=$REPO/hack/images/$1.sh name=quicksale-$1 log tag
  tag=$name:$({ cat "$script"; printf '%s\n' "${@:2}"; } | sha256sum | cut -c1-12)
  log=$CACHE/logs/image-$1.log
  mkdir -p "$CACHE/locks" "$CACHE/logs"
  (
    flock 9
    docker image inspect "$tag" >/dev/null 2>&1 && exit 0
    say "$("$script" --describe), once; kept as $tag"
    "$script" "$tag" "${@:2}" >"$log" 2>&1 9>&- || { tail -n 30 "$log" >&2; die "hack/images/$1.sh failed; its whole output is in $log"; }
  ) 9>"$CACHE/locks/image-$1"
  echo "$tag"
}

case ${1:-} in
  node)
    if registry_answers; then echo "$KIND_NODE_IMAGE"; exit; fi
    "$REPO/hack/tools.sh" debootstrap
    kubernetes=$(built "${NODE_BUILD[@]}")
    runtime=$(built "${CONTAINERD_BUILD[@]}")
    etcd=$(built "${ETCD_BUILD[@]}")
    image node "$kubernetes" "$runtime" "$etcd" "$KUBERNETES_VERSION" "$KIND_VERSION" "$DEBIAN_RELEASE"
    ;;
  ingress)
    if registry_answers; then echo "$TRAEFIK_IMAGE"; exit; fi
    traefik=$(built "${TRAEFIK_BUILD[@]}")
    image ingress "$traefik/traefik"
    ;;
  network)
    # The network of kind's own node image enforces policies by itself.
    if registry_answers; then echo official; exit; fi
    agent=$(built "${NETWORK_POLICIES_BUILD[@]}")
    image network "$agent/network-policies"
    ;;
  backends)
    if registry_answers; then echo official; exit; fi
    "$REPO/hack/tools.sh" debootstrap kafka secantusd
    image backends "$(built_dir "${KAFKA_BUILD[@]}")" "$(built_dir "${SECANTUS_BUILD[@]}")" "$DEBIAN_RELEASE"
    ;;
  prometheus)
    if registry_answers; then echo "$PROMETHEUS_IMAGE"; exit; fi
    prometheus=$(built "${PROMETHEUS_BUILD[@]}")
    image prometheus "$prometheus/prometheus"
    ;;
  metrics)
    if registry_answers; then echo "$METRICS_SERVER_IMAGE"; exit; fi
    metrics=$(built "${METRICS_SERVER_BUILD[@]}")
    image metrics "$metrics/metrics-server"
    ;;
  adapter)
    if registry_answers; then echo "$PROMETHEUS_ADAPTER_IMAGE"; exit; fi
    adapter=$(built "${PROMETHEUS_ADAPTER_BUILD[@]}")
    image adapter "$adapter/adapter"
    ;;
  *) die "usage: hack/images.sh node|ingress|network|backends|prometheus|metrics|adapter" ;;
esac
