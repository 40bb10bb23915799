include "panels";
dashboard("quicksale-installation"; "QuickSale: all sales"; "Where each sale of the installation stands, and how the operator does."; true; [
  row("Sales"; [
    (table(24; "Sales"; "Each sale with its phase, and how far away what comes next is. Negative is past. Of the certificates for MongoDB, Kafka and Redis the first to end counts.";
      [{name: "Is", unit: "none"}, {name: "Opens in", unit: "dtdurations"}, {name: "Closes in", unit: "dtdurations"},
       {name: "Draining for", unit: "dtdurations"}, {name: "Certificates good for", unit: "dtdurations"}];
      [now("max by (sale_namespace, sale, phase) (quicksale_sale_phase{@told} == 1)"),
       now("max by (sale_namespace, sale) (quicksale_sale_opens_timestamp_seconds{@told}) - time()"),
       now("max by (sale_namespace, sale) (quicksale_sale_closes_timestamp_seconds{@told}) - time()"),
       now("time() - max by (sale_namespace, sale) (quicksale_sale_draining_since_timestamp_seconds{@told} and on (sale_namespace, sale) quicksale_sale_phase{@told,phase='Draining'} == 1)"),
       now("min by (sale_namespace, sale) (label_join(quicksale_backend_certificate_expiry_timestamp_seconds{@sale}, 'sale_namespace', '', 'namespace')) - time()")])
      | hidden(["Value #A"])),
    lines(8; "Countdown to the opening"; "dtdurations"; "Time until each sale opens that is not open yet.";
      [query("{{sale_namespace}}/{{sale}}"; "max by (sale_namespace, sale) (quicksale_sale_opens_timestamp_seconds{@told}) - time() > 0")]),
    (lines(8; "Sales by phase"; "short"; "As the operator that leads counts them.";
      [query("{{phase}}"; "max by (phase) (quicksale_operator_sales)")]) | stacked),
    (table(8; "Alerts"; "Alerts of QuickSale that fire now; docs/operations.md says what to do.";
      [{name: "Firing", unit: "none"}];
      [now("sum by (alertname, severity, namespace, sale) (ALERTS{alertname=~'QuickSale.*',alertstate='firing'})")])),
    states(24; "Conditions"; "The conditions of each sale. True is good, but for Halted and Degraded.";
      {"1": {text: "True", color: "green"}, "0": {text: "False", color: "orange"}, "-1": {text: "Unknown", color: "text"}};
      [query("{{sale_namespace}}/{{sale}} {{condition}}"; "max by (sale_namespace, sale, condition) (quicksale_sale_condition{@told})")])
  ]),
  row("What they do"; [
    lines(8; "Orders accepted"; "ops"; "Orders that were answered 201, a second.";
      [query("{{namespace}}/{{sale}}"; "sum by (namespace, sale) (rate(quicksale_orders_accepted_total{@sale}[$__rate_interval]))")]),
    lines(8; "Units left"; "short"; "Units that can still be ordered.";
      [query("{{namespace}}/{{sale}}"; "sum by (namespace, sale) (max by (namespace, sale, sku) (quicksale_units{@sale,state='available'}))")]),
    lines(8; "Errors"; "percentunit"; "The part of requests at the gateways that was answered 5xx.";
      [query("{{namespace}}/{{sale}}"; "(sum by (namespace, sale) (rate(quicksale_http_request_duration_seconds_count{@sale,service='gateway',status=~'5..'}[$__rate_interval])) or 0 * sum by (namespace, sale) (rate(quicksale_http_request_duration_seconds_count{@sale,service='gateway'}[$__rate_interval]))) / sum by (namespace, sale) (rate(quicksale_http_request_duration_seconds_count{@sale,service='gateway'}[$__rate_interval]))")]),
    lines(8; "Time to answer an order"; "s"; "99 of 100 orders were answered within this time.";
      [query("{{namespace}}/{{sale}}"; "histogram_quantile(0.99, sum by (namespace, sale, le) (rate(quicksale_http_request_duration_seconds_bucket{@sale,service='gateway',method='POST',route='/api/orders'}[$__rate_interval])))")]),
    lines(8; "Lag"; "short"; "Messages that wait in all lanes of a sale.";
      [query("{{namespace}}/{{sale}}"; "sum by (namespace, sale) (max by (namespace, sale, group, topic, partition) (quicksale_lane_lag{@sale}))")]),
    lines(8; "Orders asked about again"; "ops"; "Orders that inventory had not answered in time, a second.";
      [query("{{namespace}}/{{sale}}"; "sum by (namespace, sale) (rate(quicksale_orders_asked_again_total{@sale}[$__rate_interval]))")]),
    lines(8; "Sockets"; "short"; "Open WebSockets.";
      [query("{{namespace}}/{{sale}}"; "sum by (namespace, sale) (quicksale_sockets{@sale})")]),
    lines(8; "CPU"; "short"; "Cores in use, by sale.";
      [query("{{namespace}}/{{sale}}"; "sum by (namespace, sale) (rate(process_cpu_seconds_total{@sale}[$__rate_interval]))")]),
    lines(8; "Memory"; "bytes"; "Resident memory of all processes, by sale.";
      [query("{{namespace}}/{{sale}}"; "sum by (namespace, sale) (process_resident_memory_bytes{@sale})")])
  ]),
  row("Operator"; [
    states(8; "Leader"; "Which replica leads. One does, but for some seconds while another takes over.";
      {"1": {text: "leads", color: "green"}, "0": {text: "stands by", color: "text"}};
      [query("{{namespace}}/{{pod}}"; "max by (namespace, pod) (quicksale_operator_leader)")]),
    (lines(8; "Reconciliations"; "ops"; "By result, a second.";
      [query("{{result}}"; "sum by (result) (rate(quicksale_operator_reconcile_duration_seconds_count[$__rate_interval]))")]) | stacked),
    lines(8; "Time of a reconciliation"; "s"; "95 of 100 took no longer, by result.";
      [query("{{result}}"; "histogram_quantile(0.95, sum by (result, le) (rate(quicksale_operator_reconcile_duration_seconds_bucket[$__rate_interval])))")]),
    (lines(8; "Control documents"; "ops"; "Sent to gateways and order processes, by result.";
      [query("{{result}}"; "sum by (result) (rate(quicksale_operator_control_pushes_total[$__rate_interval]))")]) | stacked),
    lines(8; "Time until all have their control document"; "s"; "From the first call to the last answer.";
      percentiles("quicksale_operator_control_push_duration_seconds"; "")),
    lines(8; "Time until an edit is in force"; "s"; "From the moment in which the operator sees it until every replica has confirmed it.";
      percentiles("quicksale_operator_switch_duration_seconds"; "")),
    lines(8; "Requests to the API server"; "reqps"; "By method. A watch is one for as long as it lasts.";
      [query("{{method}}"; "sum by (method) (rate(quicksale_operator_api_requests_total[$__rate_interval]))")]),
    lines(8; "Failures of watches"; "ops"; "Each is tried again.";
      [query("failures"; "sum(rate(quicksale_operator_watch_errors_total[$__rate_interval]))")]),
    lines(8; "CPU and memory of the operator"; "short"; "Cores in use, and MiB of resident memory, by replica.";
      [query("{{pod}} cores"; "sum by (pod) (rate(process_cpu_seconds_total{component='operator'}[$__rate_interval]) and on (namespace, pod) quicksale_operator_leader)"),
       query("{{pod}} MiB"; "max by (pod) (process_resident_memory_bytes{component='operator'} and on (namespace, pod) quicksale_operator_leader) / 1048576")]),
    (table(24; "Versions"; "How many processes run which version. Of one sale there is one version, but during an upgrade.";
      [{name: "Processes", unit: "none"}];
      [now("count by (namespace, sale, component, version) (quicksale_build_info)")]))
  ])
])
