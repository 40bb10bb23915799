#!/bin/bash
# Builds the image of prometheus-adapter: adapter.sh IMAGE ADAPTER_EXECUTABLE
set -euo pipefail
[ "$1" = --describe ] && { echo "packing the image of prometheus-adapter (some seconds)"; exit; }
. "$(dirname "$0")/scratch.sh"
scratch_image "$1" "$2"
