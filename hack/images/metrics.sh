#!/bin/bash
# Builds the image of metrics-server: metrics.sh IMAGE METRICS_SERVER_EXECUTABLE
set -euo pipefail
[ "$1" = --describe ] && { echo "packing the image of metrics-server (some seconds)"; exit; }
. "$(dirname "$0")/scratch.sh"
scratch_image "$1" "$2"
