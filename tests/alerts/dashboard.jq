# Says what is wrong with a dashboard; nothing if all is well.
def filled: type == "string" and . != "";
def sentence: filled and endswith(".");
. as $dashboard
| [.panels[] | select(.type != "row")] as $panels
| (.. | objects | .datasource? | select(. != null and . != {type: "prometheus", uid: "${datasource}"}) | "another data source than the chosen one: \(.)"),
  (if .schemaVersion >= 36 and .schemaVersion <= 39 then empty else "schemaVersion \(.schemaVersion) is not one of Grafana 10" end),
  (select((.uid | filled and length <= 40 and test("^[a-z-]+$")) and (.title | filled) and (.description | sentence) and .id == null | not)
    | "uid, title or description is missing, or there is an id"),
  (select(([.templating.list[].name] | sort) != ["datasource", "namespace", "sale"]) | "its variables are not datasource, namespace and sale"),
  (select([.panels[].id] | (unique | length) != length or any(. == null)) | "panels share an id"),
  ($panels | group_by(.title)[] | .[0].title as $title | select(length > 1 and (map(.type) | unique | length) != length) | "two panels are called \($title)"),
  ($panels[]
    | "\($dashboard.title), \(.title): " as $where
    | (select(.title | filled | not) | "a panel has no title"),
      (select(.description | sentence | not) | $where + "no description that is a sentence"),
      (select(.fieldConfig.defaults.unit | filled | not) | $where + "no unit"),
      (select([.type] | inside(["timeseries", "stat", "table", "state-timeline"]) | not) | $where + "a type that is not used elsewhere: \(.type)"),
      (select(.targets | length == 0) | $where + "no query"),
      (select([.targets[].refId] | (unique | length) != length) | $where + "two queries have one refId"),
      (.targets[] | select(.expr | filled | not) | $where + "an empty query"),
      (select(.gridPos | .x < 0 or .x + .w > 24 or .w < 1 or .h < 1) | $where + "beyond the edge")),
  # No two panels lie on each other.
  ([.panels[].gridPos] as $places | range($places | length) as $a | range($a) as $b | $places[$a] as $p | $places[$b] as $q
    | select($p.x < $q.x + $q.w and $q.x < $p.x + $p.w and $p.y < $q.y + $q.h and $q.y < $p.y + $p.h) | "panels \($a) and \($b) lie on each other")
