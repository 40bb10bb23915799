#!/bin/bash
# Gets the definitions of the Gateway API as its authors release them: gateway-api.sh DIR VERSION
set -euo pipefail
[ "$1" = --describe ] && { echo "getting the definitions of the Gateway API (some seconds)"; exit; }
. "$(dirname "$0")/go-module.sh"

new_module gateway-api
source=$(module_source "sigs.k8s.io/gateway-api@$2")
cp "$source"/config/crd/standard/*.yaml "$1"
chmod u+w "$1"/*.yaml
