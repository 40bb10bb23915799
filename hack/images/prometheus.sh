#!/bin/bash
# Builds the image of Prometheus: prometheus.sh IMAGE PROMETHEUS_EXECUTABLE
set -euo pipefail
[ "$1" = --describe ] && { echo "packing Prometheus' image (some seconds)"; exit; }
. "$(dirname "$0")/scratch.sh"
scratch_image "$1" "$2"
