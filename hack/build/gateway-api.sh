#!/bin/bash
# Gets the definitions of the Gateway API as its authors release them: gateway-api.sh DIR VERSION
set -euo pipefail
[ "$1" = --describe ] && { echo "getting the definitions of the Gateway API (some seconds)"; exit; }
command -v go >/dev/null || { echo "Go 1.26 or newer is needed to get the definitions of the Gateway API: install it from https://go.dev/dl" >&2; exit 1; }
# A directory of no module, so that nothing here decides on versions.
module=$(cd "$1" && go mod download -json "sigs.k8s.io/gateway-api@$2" | jq --raw-output .Dir)
cp "$module"/config/crd/standard/*.yaml "$1"
chmod u+w "$1"/*.yaml
