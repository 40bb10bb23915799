#!/bin/bash
# Whether each alert is all there: a severity, an entry in docs/operations.md that it leads to, a test in which it fires and one in
# which it does not, and its word in the calm sale, which must have each series that a rule reads. And whether each metric is there
# that something asks for, and drawn.
set -euo pipefail
cd "$(dirname "$0")/../.."
rules=(charts/quicksale/files/alerts/*.yaml)
wrong=0
say() { echo "$*" >&2; wrong=1; }

# Of each test the alert, and how it ends: `fires` or `quiet`.
outcomes() {
  awk '$1 == "alertname:" {name = $2} $1 == "exp_alerts:" {print name, ($2 == "[]" ? "quiet" : "fires")}' "$@"
}
# One line an alert: its name, severity and runbook.
alerts() {
  awk '
    function done() { if (name) print name, severity, runbook; name = severity = runbook = "" }
    $1 == "-" { done() }
    $2 == "alert:" { name = $3 }
    $1 == "labels:" && match($0, /severity: [a-z]+/) { severity = substr($0, RSTART + 10, RLENGTH - 10) }
    $1 == "runbook_url:" { runbook = $2 }
    END { done() }' "${rules[@]}"
}

all=$(alerts)
tested=$(outcomes tests/alerts/*.yaml)
calm=$(outcomes tests/alerts/calm.yaml)
[ -n "$all" ] || say "there are no alerts"
while read -r name severity runbook; do
  case $severity in critical | warning | info) ;; *) say "$name: its severity is neither critical, warning nor info" ;; esac
  [ "$runbook" = "docs/operations.md#${name,,}" ] || say "$name: its runbook_url should be docs/operations.md#${name,,}"
  grep -qx "### $name" docs/operations.md || say "$name: docs/operations.md has no heading of this name"
  [[ $(sed -n "/^### $name\$/{n;p}" docs/operations.md) == "*$severity.*"* ]] || say "$name: docs/operations.md does not call it $severity"
  grep -qx "$name fires" <<<"$tested" || say "$name: no test in which it fires"
  grep -qx "$name quiet" <<<"$calm" || say "$name: tests/alerts/calm.yaml does not say that it is quiet"
  for part in summary description; do
    [ "$(grep -A20 "alert: $name\$" "${rules[@]}" --no-filename | sed '2,$ {/- alert:/,$d}' | grep -c "^ *$part: .")" = 1 ] ||
      say "$name: has no $part"
  done
done <<<"$all"
[ -z "$(cut -d' ' -f1 <<<"$all" | sort | uniq -d)" ] || say "two alerts have one name"

# The other way round: nothing is about an alert that is gone.
for name in $(cut -d' ' -f1 <<<"$tested" | sort -u) $(sed -n 's/^### \(QuickSale[A-Za-z]*\)$/\1/p' docs/operations.md); do
  grep -q "^$name " <<<"$all" || say "$name: is tested or described, and there is no such alert"
done

metrics=$(grep -hv '^ *#' "${rules[@]}" | grep -oP '(?<![:\w])((quicksale|process)_\w+|up(?=\{))' | sort -u)
for metric in $metrics; do
  grep -q "series: '$metric{" tests/alerts/calm.yaml || say "$metric: a rule reads it, and the calm sale does not have it"
done
# Rules, dashboards and the tests' own series ask for metrics and labels that docs/metrics.md lists. A line each: where it stands,
# what it is recorded as, and the query.
queries() {
  awk '
    function done() { if (expr != "") print FILENAME " " name "\t" record "\t" expr; expr = ""; inside = 0 }
    inside && !/^      / { done() }
    inside { sub(/#.*/, ""); expr = expr " " $0 }
    $1 == "-" { name = $3; record = $2 == "record:" ? $3 : "" }
    $1 == "expr:" { inside = 1; sub(/^ *expr: *\|?/, ""); expr = $0 }
    END { done() }' "${rules[@]}"
  grep -oP "series: '\K[^']+" tests/alerts/*.yaml | sed 's/:/\t\t/'
}
drawn() {
  jq '.title as $title | .panels[] | .title as $panel | .targets[]? | {where: "\($title), \($panel)", expr, legend: (.legendFormat // "")}' \
    charts/quicksale/files/dashboards/*.json
}
differ=$(
  { queries | jq --raw-input 'split("\t") | {where: .[0], record: (.[1] | select(. != "") // null), expr: .[2]}'; drawn; } |
    jq --slurp --raw-output --rawfile docs docs/metrics.md --from-file tests/alerts/metrics.jq | sort -u
)
[ -z "$differ" ] || say "$differ"
while IFS=: read -r page metric; do
  grep -q "^| \`$metric\` " docs/metrics.md || say "$page: names $metric, which docs/metrics.md does not list"
done < <(grep -roP '\x60\Kquicksale_\w+(?=[\x60{])' --include=*.md docs ARCHITECTURE.md README.md | sort -u)
[ "$wrong" = 0 ] && echo "$(wc -l <<<"$all") alerts are tested and described"
