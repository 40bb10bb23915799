#!/bin/bash
# Builds Prometheus from its Go module, with Kubernetes as the only place to look for targets: prometheus.sh DIR VERSION. Debian's package
# cannot look there. The module has no built pages, so this one answers its API alone.
set -euo pipefail
[ "$1" = --describe ] && { echo "building Prometheus (about 4 min)"; exit; }
. "$(dirname "$0")/go-module.sh"

new_module monitoring
prometheus=github.com/prometheus/prometheus
go mod edit -require="$prometheus@$2"
import_commands "$prometheus/cmd/prometheus"
static_build -tags remove_all_sd,enable_kubernetes_sd -ldflags "-s -w" -o "$1/prometheus" "$prometheus/cmd/prometheus"
