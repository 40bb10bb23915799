# Says where queries and docs/metrics.md ($docs) differ; nothing if they agree. What a query asks for must be listed there, with the
# labels that it is chosen and grouped by; and each metric that is listed must be in some dashboard.
#
# Input: [{where, expr, record, legend}, …]: `record` is the name of what a rule records, and only dashboards have a `legend`.

# What Prometheus says by itself, and labels that come from the scrape.
def of_prometheus: {up: [], ALERTS: ["alertname", "alertstate", "severity"]};
def of_the_scrape: ["namespace", "sale", "component", "pod", "job", "le"];
def missing_in($all): select(. as $one | $all | index([$one]) | not);
def grouped: [scan("\\b(?:by|without|on|ignoring|group_left|group_right) ?\\(([^)]*)\\)")[0] | scan("\\w+")];

[$docs | scan("(?m)^\\| `(\\w+)` \\| (\\w+) \\| ([^|]*) \\|") | {name: .[0], type: .[1], labels: [.[2] | scan("`(\\w+)`")[0]]}] as $listed
| (of_prometheus + ([$listed[]
    | if .type == "histogram" then {(.name + ("_bucket", "_count", "_sum")): .labels} else {(.name): .labels} end] | add)) as $labels
| def series: [scan("[a-zA-Z_:][\\w:]*") | select(in($labels) or test("^(quicksale|kafka|process)_|:"))];
# What stands between quotes is no name of a series.
map(.bare = (.expr | gsub("\"[^\"]*\""; "\"\""))) as $queries
# What a rule records has labels of that from which it is made.
| ($labels + ([$queries[] | select(.record) | {(.record): [.bare | series[] | $labels[.] // [] | .[]]}] | add // {})) as $labels
| def known: startswith("process_") or in($labels);
  ($queries[]
    | "\(.where): " as $where | .expr as $expr | .legend as $legend | .bare
    | grouped as $grouped
    | (gsub("\\{[^}]*\\}"; "") | series) as $series
    | ($series[] | select(known | not) | $where + "asks for \(.), which docs/metrics.md does not list"),
      (scan("([\\w:]+)\\{([^}]*)\\}") | .[0] as $name | select($name | known) | .[1] | scan("(\\w+) *[=!]")[0]
        | missing_in(of_the_scrape + ($labels[$name] // [])) | $where + "\($name) has no label \(.)"),
      # label_replace and label_join name the labels that they make.
      ($grouped[] | missing_in(of_the_scrape + [$series[] | $labels[.] // [] | .[]] + [$expr | scan("\"(\\w+)\"")[0]])
        | $where + "groups by \(.), which nothing there has"),
      ($legend // "" | scan("\\{\\{(\\w+)\\}\\}")[0] | missing_in($grouped) | $where + "is named after \(.), which it is not grouped by")),
  ([$queries[] | select(.legend) | .bare | series[] | sub("_(bucket|count|sum)$"; "")] as $drawn
    | $listed[].name | missing_in($drawn) | "no dashboard has \(.)")
