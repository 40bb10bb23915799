#!/bin/bash
# The queries of all dashboards, one a line, with their variables filled in: dashboard-queries.sh [FILE...]. So they can be asked of
# a Prometheus:
#
#   tests/alerts/dashboard-queries.sh | while IFS= read -r query; do promtool query instant http://localhost:9090 "$query"; done
#
# NAMESPACE and SALE say whose they are to be, as regular expressions; all by default.
set -euo pipefail
cd "$(dirname "$0")/../.."
[ $# -gt 0 ] || set -- charts/quicksale/files/dashboards/*.json
jq --raw-output --arg namespace "${NAMESPACE:-.*}" --arg sale "${SALE:-.*}" '
  .panels[] | .targets[]?.expr
  | gsub("\\$__rate_interval"; "1m") | gsub("\\$__range"; "1h") | gsub("\\$namespace"; $namespace) | gsub("\\$sale"; $sale)
  | if contains("$") or contains("\n") then error("a variable or a line break is left in: \(.)") else . end
' "$@"
