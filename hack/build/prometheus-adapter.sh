#!/bin/bash
# Builds prometheus-adapter from its Go module: prometheus-adapter.sh DIR VERSION
set -euo pipefail
[ "$1" = --describe ] && { echo "building prometheus-adapter (1 to 2 min)"; exit; }
. "$(dirname "$0")/go-module.sh"

new_module adapter
source=$(module_source "sigs.k8s.io/prometheus-adapter@$2")
cp -r "$source" source
chmod -R u+w source
cd source
static_build -ldflags "-s -w" -o "$1/adapter" ./cmd/adapter
