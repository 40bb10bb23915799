# What dashboards are made of. A dashboard is rows of panels; where each stands follows from their widths, of 24 in a line.
#
# Queries are written with '…' instead of "…", and with @sale for the labels of the sale that is looked at, as its own pods have
# them, and @told for the same as the operator tells them.

def expanded:
  gsub("@sale"; "namespace=~'$namespace',sale=~'$sale'")
  | gsub("@told"; "sale_namespace=~'$namespace',sale=~'$sale'")
  | gsub("'"; "\"");

def source: {type: "prometheus", uid: "${datasource}"};

def query($legend; $expr): {legendFormat: $legend, expr: ($expr | expanded), range: true};

# The value of now and nothing before, as rows of a table.
def now($expr): {legendFormat: "__auto", expr: ($expr | expanded), instant: true, range: false, format: "table"};

# percentiles(metric{labels}; by): 50, 95 and 99 of a hundred, for each of these labels.
def percentiles($of; $by):
  ($of | capture("^(?<metric>\\w+)(?<labels>.*)$")) as $parts
  | [["0.5", "half"], ["0.95", "95 %"], ["0.99", "99 %"]]
  | map(query((if $by == "" then .[1] else "\($by | split(", ") | map("{{\(.)}}") | join(" ")) \(.[1])" end);
      "histogram_quantile(\(.[0]), sum by (\(if $by == "" then "" else $by + ", " end)le) (rate(\($parts.metric)_bucket\($parts.labels)[$__rate_interval])))"));

def panel($type; $width; $height; $title; $unit; $description; $queries): {
  type: $type, title: $title, description: $description, datasource: source,
  gridPos: {w: $width, h: $height},
  fieldConfig: {defaults: {unit: $unit, custom: {}}, overrides: []},
  options: {},
  targets: [range($queries | length) as $n | $queries[$n] + {refId: ([65 + $n] | implode), datasource: source, editorMode: "code"}]
};

# Lines over time. None is drawn where there is no series: a gap is something to see.
def lines($width; $title; $unit; $description; $queries):
  panel("timeseries"; $width; 8; $title; $unit; $description; $queries)
  | .fieldConfig.defaults.min = 0
  | .fieldConfig.defaults.custom = {drawStyle: "line", lineWidth: 1, fillOpacity: 10, showPoints: "auto", spanNulls: false}
  | .options = {
      legend: {showLegend: true, displayMode: "list", placement: "bottom", calcs: []},
      tooltip: {mode: "multi", sort: "desc"}
    };
def stacked: .fieldConfig.defaults.custom += {fillOpacity: 60, stacking: {mode: "normal", group: "A"}};

# One number, or one name, of now.
def number($width; $title; $unit; $description; $query):
  panel("stat"; $width; 4; $title; $unit; $description; [$query])
  | .options = {
      reduceOptions: {calcs: ["lastNotNull"], fields: "", values: false},
      colorMode: "none", graphMode: "none", textMode: "auto", justifyMode: "auto", orientation: "auto"
    };
def by_name: .options.textMode = "name";

# What a state was at which time. Values are named by {"1": "True", …}.
def states($width; $title; $description; $names; $queries):
  panel("state-timeline"; $width; 8; $title; "none"; $description; $queries)
  | .fieldConfig.defaults.custom = {fillOpacity: 70, lineWidth: 0}
  | .fieldConfig.defaults.mappings = [{type: "value", options: ($names | to_entries | map({(.key): (.value + {index: 0})}) | add)}]
  | .options = {
      mergeValues: true, showValue: "auto", alignValue: "left", rowHeight: 0.8,
      legend: {showLegend: false, displayMode: "list", placement: "bottom"}, tooltip: {mode: "single", sort: "none"}
    };

# A line for each set of labels. Columns: the name for the value of each query, in their order, with its unit.
def table($width; $title; $description; $columns; $queries):
  panel("table"; $width; 8; $title; "none"; $description; $queries)
  | ([range($columns | length) as $n | {key: ([65 + $n] | implode), value: $columns[$n]}]) as $columns
  | .fieldConfig.overrides = [$columns[] | {
      matcher: {id: "byName", options: .value.name},
      properties: [{id: "unit", value: .value.unit}]
    }]
  | .options = {showHeader: true, cellHeight: "sm", footer: {show: false, reducer: ["sum"], countRows: false, fields: ""}}
  | .transformations = [
      {id: "merge", options: {}},
      {id: "organize", options: {
        excludeByName: {Time: true},
        indexByName: {},
        renameByName: ([$columns[] | {key: "Value #\(.key)", value: .value.name}]
          + (if $columns | length == 1 then [{key: "Value", value: $columns[0].value.name}] else [] end) | from_entries)
      }}
    ];
def hidden($names): .transformations[1].options.excludeByName += ($names | map({(.): true}) | add);

def row($title; $panels): {title: $title, panels: $panels};

# Puts the panels of rows where they belong.
def placed:
  reduce .[] as $row ({y: 0, id: 1, panels: []};
    .panels += [{type: "row", id: .id, title: $row.title, collapsed: false, panels: [], gridPos: {x: 0, y: .y, w: 24, h: 1}}]
    | .id += 1 | .y += 1 | .x = 0 | .h = 0
    | reduce $row.panels[] as $panel (.;
        (if .x + $panel.gridPos.w > 24 then .y += .h | .x = 0 | .h = 0 else . end)
        | .panels += [$panel + {id: .id, gridPos: ($panel.gridPos + {x: .x, y: .y})}]
        | .id += 1 | .x += $panel.gridPos.w | .h = ([.h, $panel.gridPos.h] | max))
    | .y += .h)
  | .panels;

def variable($name; $shown; $query; $several): {
  name: $name, label: $shown, type: "query", datasource: source, definition: ($query | expanded),
  query: {query: ($query | expanded), refId: "StandardVariableQuery"},
  refresh: 2, sort: 1, hide: 0, regex: "", skipUrlSync: false, multi: $several, includeAll: $several,
  allValue: (if $several then ".*" else null end), current: {}, options: []
};

# dashboard(uid; …; several): of one sale, or of several at once.
def dashboard($uid; $title; $description; $several; $rows): {
  uid: $uid, title: $title, description: $description, tags: ["quicksale"], schemaVersion: 38, version: 1,
  editable: true, graphTooltip: 1, timezone: "browser", weekStart: "", refresh: "10s", fiscalYearStartMonth: 0, liveNow: false,
  time: {from: "now-1h", to: "now"}, timepicker: {},
  annotations: {list: []},
  links: [{type: "dashboards", title: "QuickSale", tags: ["quicksale"], asDropdown: true, includeVars: true, keepTime: true, targetBlank: false, icon: "external link", tooltip: "", url: ""}],
  templating: {list: [
    {name: "datasource", label: "Data source", type: "datasource", query: "prometheus", refresh: 1, hide: 0, regex: "", skipUrlSync: false, multi: false, includeAll: false, current: {}, options: []},
    variable("namespace"; "Namespace"; "label_values(quicksale_build_info{sale!=''}, namespace)"; $several),
    variable("sale"; "Sale"; "label_values(quicksale_build_info{sale!='',namespace=~'$namespace'}, sale)"; $several)
  ]},
  panels: ($rows | placed)
};
