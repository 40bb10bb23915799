#!/bin/bash
# Builds the container runtime and the DNS server of a Kubernetes node: containerd.sh DIR CONTAINERD_VERSION COREDNS_VERSION
set -euo pipefail
[ "$1" = --describe ] && { echo "building containerd and CoreDNS (about 2 min)"; exit; }
. "$(dirname "$0")/go-module.sh"

new_module containerd
containerd=github.com/containerd/containerd/v2
commands=("$containerd/cmd/containerd" "$containerd/cmd/ctr" "$containerd/cmd/containerd-shim-runc-v2")
go get "$containerd@$2" "github.com/coredns/coredns@$3"
import_commands "${commands[@]}" github.com/coredns/coredns
static_build -tags "no_aufs no_zfs no_btrfs no_devmapper" -ldflags "-s -w -X $containerd/version.Version=${2#v}" -o "$1/" "${commands[@]}"
static_build -ldflags "-s -w" -o "$1/coredns" github.com/coredns/coredns
