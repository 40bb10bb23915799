#!/bin/bash
# Builds the Traefik ingress controller from its Go module: traefik.sh DIR VERSION
set -euo pipefail
[ "$1" = --describe ] && { echo "building the ingress controller (about 4 min)"; exit; }
. "$(dirname "$0")/go-module.sh"

new_module ingress
traefik=github.com/traefik/traefik/v3
go mod edit -require="$traefik@$2"
sed -n '/^replace (/,/^)/p' "$(module_source "$traefik@$2")/go.mod" | awk '/=>/ {print $1 "=" $3 "@" $4}' |
  while read -r replacement; do go mod edit -replace="$replacement"; done
import_commands "$traefik/cmd/traefik"
static_build -ldflags "-s -w" -o "$1/traefik" "$traefik/cmd/traefik"
