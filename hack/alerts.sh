#!/bin/bash
# Checks what the chart gives to Prometheus and Grafana: `hack/lint.sh alerts`.
set -euo pipefail
# shellcheck source=hack/env.sh
. "$(dirname "$0")/env.sh"
cd "$REPO"
rules=(charts/quicksale/files/alerts/*.yaml)
dashboards=charts/quicksale/files/dashboards
on=monitoring.podMonitor.enabled=true,monitoring.rules.enabled=true,monitoring.dashboards.enabled=true
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

# rendered OPTION...: the rules of the chart as a file that Prometheus could read itself.
rendered() {
  helm template charts/quicksale --set "$on" --show-only templates/prometheus-rule.yaml "$@" | sed -e '1,/^spec:/d' -e 's/^  //'
}

chart() {
  helm lint --strict charts/quicksale --set "$on"
  helm lint --strict charts/quicksale --set "$on" --set 'watchNamespaces={one,two}' \
    --set-json 'monitoring.podMonitor.labels={"release": "stack"},monitoring.dashboards.annotations={"grafana_folder": "Shop"}'
  # One for the sales and one for the operator; each dashboard comes out as it went in.
  [ "$(helm template charts/quicksale --set "$on" | grep -c '^kind: PodMonitor$')" = 2 ]
  local dashboard
  for dashboard in "$dashboards"/*.json; do
    helm template charts/quicksale --set "$on" --show-only templates/dashboards.yaml |
      sed -n "/-$(basename "$dashboard"): |-\$/,/^---\$/{s/^    //p}" | jq . | diff "$dashboard" -
  done
}

# With the usual values the rules are the files, so a test of the files is one of what is installed. Other values change numbers.
values() {
  rendered >"$scratch/rules.yaml"
  diff <(for file in "${rules[@]}"; do sed '1,/^groups:/d' "$file"; done | grep .) <(sed 1d "$scratch/rules.yaml" | grep .)
  promtool check rules --lint-fatal "${rules[@]}" "$scratch/rules.yaml"
  local name names value
  names=$(helm show values charts/quicksale |
    awk '/^    thresholds:/ {inside = 1; next} /^  [a-z]/ {inside = 0} inside && /^      [a-z]/ {sub(":", "", $1); print $1}')
  diff <(grep -hoP '[0-9][)]* # \K[A-Za-z]+$' "${rules[@]}" | sort -u) <(sort <<<"$names") ||
    die "the rules (<) name other thresholds than the values (>)"
  for name in $names; do
    # Neither is a usual value.
    case $name in *Percent) value=97.25 ;; *) value=7.25 ;; esac
    rendered --set-json "monitoring.rules.thresholds.$name=$value" >"$scratch/changed.yaml"
    if [ "$(grep -c " # $name\$" "$scratch/changed.yaml")" = 0 ] || grep " # $name\$" "$scratch/changed.yaml" | grep -v "[( ]${value/./\\.})* # $name\$"; then
      die "monitoring.rules.thresholds.$name does not change each rule that names it, or no rule does"
    fi
    promtool check rules "$scratch/changed.yaml" >/dev/null
  done
}

tested() {
  promtool test rules tests/alerts/*.yaml
  tests/alerts/complete.sh
}

drawn() {
  hack/dashboards.sh "$scratch/dashboards"
  diff --recursive "$dashboards" "$scratch/dashboards" ||
    die "the dashboards are not what hack/dashboards says: run hack/dashboards.sh, and commit what it writes"
  local dashboard
  for dashboard in "$dashboards"/*.json; do
    jq --raw-output --from-file tests/alerts/dashboard.jq "$dashboard" >"$scratch/wrong"
    [ ! -s "$scratch/wrong" ] || { cat "$scratch/wrong" >&2; die "Grafana, or who reads it, would be unhappy with $dashboard"; }
  done
  # promtool reads queries as rules; JSON is YAML.
  tests/alerts/dashboard-queries.sh | jq --raw-input . |
    jq --slurp '{groups: [{name: "queries", rules: [to_entries[] | {record: "query", expr: .value, labels: {number: "\(.key)"}}]}]}' >"$scratch/queries.yaml"
  promtool check rules "$scratch/queries.yaml"
}

for part in chart values tested drawn; do "$part"; done
