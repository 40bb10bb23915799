include "panels";
dashboard("quicksale-sale"; "QuickSale: one sale"; "What one flash sale does, from the buyers down to the processes."; false; [
  row("Now"; [
    (number(4; "Phase"; "none"; "Where the sale stands, as the operator says.";
      query("{{phase}}"; "max by (phase) (quicksale_sale_phase{@told} == 1)")) | by_name),
    number(4; "Opens in"; "dtdurations"; "Time until the gateways open; negative once they have.";
      query("opens"; "max(quicksale_sale_opens_timestamp_seconds{@told}) - time()")),
    number(4; "Closes in"; "dtdurations"; "Time until the end; nothing where the sale lasts until all is sold.";
      query("closes"; "max(quicksale_sale_closes_timestamp_seconds{@told}) - time()")),
    number(4; "Units left"; "short"; "Units of all products that nobody has bought or holds.";
      query("left"; "sum(max by (sku) (quicksale_units{@sale,state='available'}))")),
    number(4; "Orders pending"; "short"; "Accepted orders that have not come to their end, those that wait for a payment included.";
      query("pending"; "max(quicksale_orders_pending{@sale})")),
    number(4; "Differences in the books"; "short"; "What ledger, stock and orders do not agree on. Anything but 0 halts the sale.";
      query("differences"; "max(quicksale_audit_differences{@sale})"))
  ]),
  row("Units and orders"; [
    lines(8; "Units left by product"; "short"; "Units that can still be ordered.";
      [query("{{sku}}"; "max by (sku) (quicksale_units{@sale,state='available'})")]),
    (lines(8; "Units by state"; "short"; "All units: available, held for an order, sold. Together they are the stock.";
      [query("{{state}}"; "sum by (state) (max by (sku, state) (quicksale_units{@sale}))")]) | stacked),
    lines(8; "Orders accepted"; "ops"; "Orders that were answered 201, a second.";
      [query("accepted"; "sum(rate(quicksale_orders_accepted_total{@sale}[$__rate_interval]))")]),
    (lines(8; "Orders refused"; "ops"; "Orders that were not accepted, a second, by the code of the answer.";
      [query("{{code}}"; "sum by (code) (rate(quicksale_orders_refused_total{@sale}[$__rate_interval]))")]) | stacked),
    (lines(8; "How orders end"; "ops"; "Accepted orders that came to their end, a second.";
      [query("{{status}}"; "sum by (status) (rate(quicksale_orders_ended_total{@sale}[$__rate_interval]))")]) | stacked),
    lines(8; "From acceptance to the end"; "s"; "How long confirmed orders took.";
      percentiles("quicksale_order_end_duration_seconds{@sale,status='CONFIRMED'}"; "")),
    lines(8; "Orders pending"; "short"; "Accepted orders that have not come to their end. Without payments they should get few again soon after a crowd.";
      [query("pending"; "max(quicksale_orders_pending{@sale})")]),
    lines(8; "Asked and said again"; "ops"; "What was repeated because an answer did not come, or may have been lost. An order is asked about again after half a minute.";
      [query("orders asked about again"; "sum(rate(quicksale_orders_asked_again_total{@sale}[$__rate_interval]))"),
       query("orders told of again"; "sum(rate(quicksale_orders_said_again_total{@sale}[$__rate_interval]))"),
       query("holds asked about again"; "sum(rate(quicksale_holds_asked_again_total{@sale}[$__rate_interval]))")]),
    lines(8; "Differences in the books"; "short"; "As the inventory process that watches them sees it.";
      [query("differences"; "max(quicksale_audit_differences{@sale})")])
  ]),
  row("Requests"; [
    (lines(8; "Requests by answer"; "reqps"; "Requests at the gateways, by status.";
      [query("{{status}}"; "sum by (status) (rate(quicksale_http_request_duration_seconds_count{@sale,service='gateway'}[$__rate_interval]))")]) | stacked),
    lines(8; "Errors"; "percentunit"; "The part of requests that was answered 5xx, by service.";
      [query("{{service}}"; "(sum by (service) (rate(quicksale_http_request_duration_seconds_count{@sale,status=~'5..'}[$__rate_interval])) or 0 * sum by (service) (rate(quicksale_http_request_duration_seconds_count{@sale}[$__rate_interval]))) / sum by (service) (rate(quicksale_http_request_duration_seconds_count{@sale}[$__rate_interval]))")]),
    lines(8; "Time to answer an order"; "s"; "POST /api/orders at the gateways, refusals included.";
      percentiles("quicksale_http_request_duration_seconds{@sale,service='gateway',method='POST',route='/api/orders'}"; "")),
    lines(12; "Time to answer by route"; "s"; "95 of 100 requests at the gateways were answered within this time.";
      [query("{{method}} {{route}}"; "histogram_quantile(0.95, sum by (method, route, le) (rate(quicksale_http_request_duration_seconds_bucket{@sale,service='gateway'}[$__rate_interval])))")]),
    lines(12; "Time to answer by service"; "s"; "99 of 100 requests were answered within this time.";
      [query("{{service}}"; "histogram_quantile(0.99, sum by (service, le) (rate(quicksale_http_request_duration_seconds_bucket{@sale}[$__rate_interval])))")]),
    lines(8; "Connections"; "short"; "Open connections, without WebSockets. A process has room for 4,096.";
      [query("{{service}}"; "sum by (service) (quicksale_http_connections{@sale})")]),
    lines(8; "Connections turned away"; "cps"; "Closed at once (by reason), or to make room for others.";
      [query("{{service}}: {{reason}}"; "sum by (service, reason) (rate(quicksale_http_connections_refused_total{@sale}[$__rate_interval]))"),
       query("{{service}}: made room"; "sum by (service) (rate(quicksale_http_connections_made_room_total{@sale}[$__rate_interval]))")]),
    lines(8; "Requests from one address"; "percentunit"; "The part that came from the one address with the most. Near 100 % a proxy in front is not in trustedProxies.";
      [query("{{pod}}"; "max by (pod) (quicksale_requests_from_one_address_ratio{@sale})")]),
    states(12; "Circuits"; "Services that a gateway leaves alone because they gave no answers. The last request to a service decides what is shown.";
      {"1": {text: "left alone", color: "red"}, "0": {text: "asked", color: "green"}};
      [query("{{service}} by {{pod}}"; "max by (service, pod) (quicksale_gateway_circuit_open{@sale})")]),
    lines(12; "Requests that were not sent on"; "reqps"; "Answered busy by the gateways at once, because the service behind them gave no answers.";
      [query("{{service}}"; "sum by (service) (rate(quicksale_gateway_circuit_refused_total{@sale}[$__rate_interval]))")])
  ]),
  row("WebSockets"; [
    (lines(8; "Sockets"; "short"; "Open WebSockets by process.";
      [query("{{pod}}"; "sum by (pod) (quicksale_sockets{@sale})")]) | stacked),
    lines(8; "Push delay"; "s"; "From the change of an order to the frame that tells of it.";
      percentiles("quicksale_push_delay_seconds{@sale}"; "")),
    lines(8; "Pushes and closed sockets"; "ops"; "Frames sent, sockets replaced by a newer one of the same user, sockets cut off because they were too slow.";
      [query("pushed"; "sum(rate(quicksale_pushed_total{@sale}[$__rate_interval]))"),
       query("replaced"; "sum(rate(quicksale_sockets_replaced_total{@sale}[$__rate_interval]))"),
       query("cut off"; "sum(rate(quicksale_sockets_cut_off_total{@sale}[$__rate_interval]))")])
  ]),
  row("Messages"; [
    lines(6; "Lag"; "short"; "Messages that wait in the lanes of each group.";
      [query("{{group}} {{topic}}"; "sum by (group, topic) (max by (group, topic, partition) (quicksale_lane_lag{@sale}))")]),
    lines(6; "Documents in the outbox"; "short"; "What Kafka has not acknowledged: each is one message, or all that a batch of orders had to say.";
      [query("documents"; "max(quicksale_outbox_entries{@sale})")]),
    lines(6; "Oldest message in the outbox"; "s"; "How long it has waited to get to Kafka.";
      [query("oldest"; "max(quicksale_outbox_oldest_seconds{@sale})")]),
    lines(6; "Messages"; "ops"; "Written to Kafka, and worked off by each group, a second.";
      [query("to Kafka"; "sum(rate(quicksale_outbox_published_total{@sale}[$__rate_interval]))"),
       query("by {{group}}"; "sum by (group) (rate(quicksale_lane_records_total{@sale}[$__rate_interval]))")])
  ]),
  row("Batches"; [
    lines(6; "Orders in a request"; "short"; "How many orders a gateway sends to the order service at once.";
      percentiles("quicksale_orders_sent_together{@sale}"; "")),
    lines(6; "Scripts in a call of Redis"; "short"; "How many questions to the gate and the limiter a gateway asks Redis at once.";
      percentiles("quicksale_gate_scripts_sent_together{@sale}"; "")),
    lines(6; "Orders in a batch"; "short"; "How much the order service writes in one transaction, by kind of work.";
      percentiles("quicksale_order_batch_size{@sale}"; "work")),
    lines(6; "Waiting for a batch"; "short"; "Requests that wait for the next transaction. There is room for 2,048 in a process.";
      [query("{{work}}"; "sum by (work) (quicksale_order_queue{@sale})"),
       query("{{work}} turned away a second"; "sum by (work) (rate(quicksale_order_queue_refused_total{@sale}[$__rate_interval]))")]),
    lines(6; "Records in a batch of a lane"; "short"; "How much a group works off in one transaction.";
      percentiles("quicksale_lane_batch_records{@sale}"; "group")),
    lines(6; "Records in a batch of the outbox"; "short"; "How much the relay writes to Kafka at once.";
      percentiles("quicksale_outbox_batch_records{@sale}"; ""))
  ]),
  row("Where an order's time goes"; [
    lines(6; "Wait in the gateway"; "s"; "Until an order is sent to the order service, together with those that wait with it.";
      percentiles("quicksale_order_send_wait_seconds{@sale}"; "")),
    lines(6; "Wait for a batch"; "s"; "In the order service, until the transaction begins that an order or a decision is written in.";
      percentiles("quicksale_order_queue_wait_seconds{@sale}"; "work")),
    lines(6; "Time of a batch"; "s"; "Until it was carried through, tries that met a conflict included.";
      percentiles("quicksale_order_batch_duration_seconds{@sale}"; "work")),
    lines(6; "From a message to its effect"; "s"; "95 of 100 messages took no longer from the transaction that said them to the one that did what they say.";
      [query("{{group}} {{topic}}"; "histogram_quantile(0.95, sum by (group, topic, le) (rate(quicksale_lane_delay_seconds_bucket{@sale}[$__rate_interval])))")])
  ]),
  row("Backends"; [
    lines(8; "Time of transactions"; "s"; "99 of 100 tries took no longer, from their begin to the answer to their commit.";
      [query("{{component}} {{end}}"; "histogram_quantile(0.99, sum by (component, end, le) (rate(quicksale_database_transaction_duration_seconds_bucket{@sale}[$__rate_interval])))")]),
    (lines(8; "Transactions"; "ops"; "Tries of transactions by their end, a second.";
      [query("{{component}} {{end}}"; "sum by (component, end) (rate(quicksale_database_transaction_duration_seconds_count{@sale}[$__rate_interval]))")]) | stacked),
    lines(8; "Transactions tried again"; "ops"; "Mostly after a conflict with somebody who wrote the same.";
      [query("{{component}}"; "sum by (component) (rate(quicksale_database_transaction_retries_total{@sale}[$__rate_interval]))")]),
    lines(8; "Database connections"; "short"; "Open ones, and those in use, by service.";
      [query("{{component}} {{state}}"; "sum by (component, state) (quicksale_database_connections{@sale})")]),
    lines(8; "Wait for a database connection"; "s"; "99 of 100 waited no longer.";
      [query("{{component}}"; "histogram_quantile(0.99, sum by (component, le) (rate(quicksale_database_pool_wait_seconds_bucket{@sale}[$__rate_interval])))")]),
    lines(8; "No database connection"; "ops"; "Commands that got no connection to MongoDB, a second.";
      [query("{{component}}"; "sum by (component) (rate(quicksale_database_pool_failures_total{@sale}[$__rate_interval]))")]),
    lines(8; "Time of Redis scripts"; "s"; "99 of 100 scripts of the gate and the limiter were answered no later; they wait for others that go with them.";
      [query("{{script}}"; "histogram_quantile(0.99, sum by (script, le) (rate(quicksale_gate_script_duration_seconds_bucket{@sale}[$__rate_interval])))")]),
    lines(8; "Redis scripts"; "ops"; "Scripts of the gate and the limiter that were run, and counts of the gate that inventory has set right.";
      [query("{{script}}"; "sum by (script) (rate(quicksale_gate_script_duration_seconds_count{@sale}[$__rate_interval]))"),
       query("set right {{direction}}"; "sum by (direction) (rate(quicksale_gate_corrections_total{@sale}[$__rate_interval]))")]),
    lines(8; "Certificates good for"; "dtdurations"; "Certificates that processes use with each backend: their own (client), and those they trust (authority). Of all processes, the first to end.";
      [query("{{backend}} {{certificate}}"; "min by (backend, certificate) (quicksale_backend_certificate_expiry_timestamp_seconds{@sale}) - time()")])
  ]),
  row("Processes"; [
    lines(8; "CPU"; "short"; "Cores in use, by service.";
      [query("{{component}}"; "sum by (component) (rate(process_cpu_seconds_total{@sale}[$__rate_interval]))")]),
    lines(8; "Memory"; "bytes"; "Resident memory of the largest process of each service.";
      [query("{{component}}"; "max by (component) (process_resident_memory_bytes{@sale})")]),
    lines(8; "Event loop lag"; "s"; "99 of 100 times, what was ready to run had to wait no longer.";
      [query("{{component}}"; "histogram_quantile(0.99, sum by (component, le) (rate(quicksale_event_loop_lag_seconds_bucket{@sale}[$__rate_interval])))")]),
    lines(8; "File descriptors"; "percentunit"; "The part of those that a process may have, of the one with the most.";
      [query("{{component}}"; "max by (component) (process_open_fds{@sale} / process_max_fds{@sale})")]),
    lines(8; "Processes, and work that fails"; "short"; "Processes that can be asked, and kinds of work that have failed for half a minute.";
      [query("{{component}}"; "count by (component) (quicksale_build_info{@sale})"),
       query("{{component}} fails"; "sum by (component) (quicksale_work_failing{@sale}) > 0")]),
    lines(8; "Starts of processes"; "short"; "Containers that were started anew in their pods, in five minutes.";
      [query("{{component}}"; "sum by (component) (changes(process_start_time_seconds{@sale}[5m]))")]),
    lines(12; "Threads"; "short"; "Of all processes of each service.";
      [query("{{component}}"; "sum by (component) (process_threads{@sale})")]),
    lines(12; "Audit trail"; "ops"; "What people did that matters for security. A rise of refused logins is somebody guessing passwords, one of refused requests somebody without the rights.";
      [query("{{action}} {{outcome}}"; "sum by (action, outcome) (rate(quicksale_audit_events_total{@sale}[$__rate_interval])) > 0")])
  ])
])
