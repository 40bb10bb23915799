#!/bin/bash
# Writes the dashboards of the chart from hack/dashboards: dashboards.sh [DIRECTORY].
set -euo pipefail
cd "$(dirname "$0")/.."
directory=${1:-charts/quicksale/files/dashboards}
mkdir -p "$directory"
for source in hack/dashboards/quicksale-*.jq; do
  dashboard=$(jq --null-input -L hack/dashboards --from-file "$source")
  printf '%s\n' "$dashboard" >"$directory/$(basename "$source" .jq).json"
done
