include "panels";
dashboard("quicksale-lanes"; "QuickSale: lanes"; "The way of messages through Kafka: outbox, lanes, what was lost and what could not be handled."; true; [
  row("Lag"; [
    lines(12; "Lag by group and topic"; "short"; "Messages that wait, as the relay that leads sees it.";
      [query("{{namespace}}/{{sale}} {{group}} {{topic}}"; "sum by (namespace, sale, group, topic) (max by (namespace, sale, group, topic, partition) (quicksale_lane_lag{@sale}))")]),
    lines(12; "Lag by partition"; "short"; "The twenty lanes with the most. One that stands out has lost its owner, or its batch does not end.";
      [query("{{sale}} {{group}} {{topic}}/{{partition}}"; "topk(20, max by (namespace, sale, group, topic, partition) (quicksale_lane_lag{@sale}))")]),
    (table(12; "Lanes now"; "Where each lane stands, and how much waits in it.";
      [{name: "Offset", unit: "none"}, {name: "Lag", unit: "none"}];
      [now("max by (namespace, sale, consumergroup, topic, partition) (kafka_consumergroup_current_offset{@sale})"),
       now("max by (namespace, sale, consumergroup, topic, partition) (kafka_consumergroup_lag{@sale})")])),
    lines(12; "Written to each topic"; "ops"; "How fast the ends of the logs move on, a second.";
      [query("{{sale}} {{topic}}"; "sum by (namespace, sale, topic) (rate(kafka_topic_partition_current_offset{@sale}[$__rate_interval]))")])
  ]),
  row("Outbox"; [
    lines(6; "Documents that wait"; "short"; "In the outbox, not acknowledged by Kafka: each is one message, or all that a batch of orders had to say.";
      [query("{{namespace}}/{{sale}}"; "max by (namespace, sale) (quicksale_outbox_entries{@sale})")]),
    lines(6; "Oldest message"; "s"; "How long it has waited to get to Kafka.";
      [query("{{namespace}}/{{sale}}"; "max by (namespace, sale) (quicksale_outbox_oldest_seconds{@sale})")]),
    lines(6; "Messages to Kafka"; "ops"; "Messages that Kafka has acknowledged, a second.";
      [query("{{namespace}}/{{sale}}"; "sum by (namespace, sale) (rate(quicksale_outbox_published_total{@sale}[$__rate_interval]))")]),
    states(6; "Relay"; "Which processor leads. One does, but for some seconds while another takes over.";
      {"1": {text: "relays", color: "green"}, "0": {text: "stands by", color: "text"}};
      [query("{{namespace}}/{{pod}}"; "max by (namespace, pod) (quicksale_outbox_relaying{@sale})")])
  ]),
  row("Lanes"; [
    (lines(8; "Owners"; "short"; "Lanes that each process has. Together they are the partitions of the group's topics.";
      [query("{{group}}: {{pod}}"; "sum by (group, pod) (quicksale_lanes_owned{@sale})")]) | stacked),
    lines(8; "Worked off"; "ops"; "Messages, by group, a second.";
      [query("{{sale}} {{group}}"; "sum by (namespace, sale, group) (rate(quicksale_lane_records_total{@sale}[$__rate_interval]))")]),
    lines(8; "Records in a batch"; "short"; "How much a group works off in one transaction.";
      percentiles("quicksale_lane_batch_records{@sale}"; "group")),
    lines(8; "Batches without an end"; "short"; "Batches that did not commit within their deadline, so that their lanes were given up; in five minutes.";
      [query("{{sale}} {{group}}"; "sum by (namespace, sale, group) (increase(quicksale_lane_batches_overdue_total{@sale}[5m]))")]),
    lines(8; "Stopped before newer messages"; "short"; "How often a lane has met a message of a version that its process does not know; in five minutes.";
      [query("{{sale}} {{group}}"; "sum by (namespace, sale, group) (increase(quicksale_lane_newer_messages_total{@sale}[5m]))")]),
    lines(8; "Said again"; "ops"; "What the order service has told once more after a loss, a second.";
      [query("{{namespace}}/{{sale}}"; "sum by (namespace, sale) (rate(quicksale_orders_said_again_total{@sale}[$__rate_interval]))")])
  ]),
  row("Time, and Kafka"; [
    lines(8; "From a message to Kafka"; "s"; "From the transaction that says it until Kafka has acknowledged it. 95 of 100 took no longer.";
      [query("{{sale}} {{topic}}"; "histogram_quantile(0.95, sum by (namespace, sale, topic, le) (rate(quicksale_outbox_delay_seconds_bucket{@sale}[$__rate_interval])))")]),
    lines(8; "From a message to its effect"; "s"; "From the transaction that says it to the one that does what it says. 95 of 100 took no longer.";
      [query("{{sale}} {{group}} {{topic}}"; "histogram_quantile(0.95, sum by (namespace, sale, group, topic, le) (rate(quicksale_lane_delay_seconds_bucket{@sale}[$__rate_interval])))")]),
    lines(8; "From a fetch to its effect"; "s"; "How long records are in a process until they have taken effect.";
      percentiles("quicksale_lane_wait_seconds{@sale}"; "group")),
    lines(12; "Requests to Kafka"; "reqps"; "By what they ask for.";
      [query("{{component}} {{request}}"; "sum by (component, request) (rate(quicksale_kafka_requests_total{@sale}[$__rate_interval]))")]),
    lines(12; "Until Kafka has acknowledged records"; "s"; "Of requests of the relay that write.";
      percentiles("quicksale_kafka_produce_duration_seconds{@sale}"; ""))
  ]),
  row("Losses and dead letters"; [
    lines(12; "Losses"; "short"; "Gaps that lanes and the relay have found since their processes began. One gap may be counted by both.";
      [query("{{sale}} {{group}} {{cause}}"; "sum by (namespace, sale, group, cause) (quicksale_lane_losses_total{@sale})")]),
    lines(12; "Dead letters"; "short"; "Messages that could not be handled, since the processes began.";
      [query("{{sale}} {{group}} {{topic}}"; "sum by (namespace, sale, group, topic) (quicksale_dead_letters_total{@sale})")])
  ])
])
