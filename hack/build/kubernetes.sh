#!/bin/bash
# Builds Kubernetes commands from its Go modules: kubernetes.sh DIR VERSION COMMAND...
set -euo pipefail
[ "$1" = --describe ] && { echo "building the Kubernetes binaries ${*:3} (1 to 6 min)"; exit; }
out=$1 version=$2
shift 2
. "$(dirname "$0")/go-module.sh"

new_module kubernetes
staging=v0.${version#v1.}
go mod edit -require="k8s.io/kubernetes@$version"
# The staging modules of a release carry the same number with a leading zero.
sed -n '/^replace (/,/^)/p' "$(module_source "k8s.io/kubernetes@$version")/go.mod" | awk '/=>/ {print $1}' |
  while read -r module; do go mod edit -replace="$module=$module@$staging"; done
# All commands are imported, whichever are built, so that they share one set of dependencies.
import_commands k8s.io/kubernetes/cmd/{kube-apiserver,kube-controller-manager,kube-scheduler,kube-proxy,kubeadm,kubectl,kubelet}

minor=${version#v1.}
v=k8s.io/component-base/version
static_build -o "$out/" -ldflags "-s -w -X $v.gitVersion=$version -X $v.gitMajor=1 -X $v.gitMinor=${minor%%.*} \
  -X $v.gitTreeState=clean -X k8s.io/client-go/pkg/version.gitVersion=$version" "${@/#/k8s.io/kubernetes/cmd/}"
