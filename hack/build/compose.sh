#!/bin/bash
# Builds Docker Compose from its Go module, with the versions of all else that the module names: compose.sh DIR VERSION
set -euo pipefail
[ "$1" = --describe ] && { echo "building Docker Compose (about 2 min)"; exit; }
. "$(dirname "$0")/go-module.sh"

compose=github.com/docker/compose/v${2:1:1}
# In the module's own directory, because `go install` takes no module that excludes versions of others.
cd "$(module_source "$compose@$2")"
static_build -ldflags "-s -w -X $compose/internal.Version=$2" -o "$1/docker-compose" ./cmd
