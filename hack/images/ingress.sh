#!/bin/bash
# Builds the image of the ingress controller: ingress.sh IMAGE TRAEFIK_EXECUTABLE
set -euo pipefail
[ "$1" = --describe ] && { echo "packing the ingress controller's image (some seconds)"; exit; }
. "$(dirname "$0")/scratch.sh"
scratch_image "$1" "$2"
