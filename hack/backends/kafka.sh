# shellcheck shell=bash
# Sourced by backends.sh: Apache Kafka as a single process that is broker and controller (KRaft).

kafka_ports() { echo "${KAFKA_PORT:-9092} ${KAFKA_CONTROLLER_PORT:-9093}"; }

# The part of the properties that says who is talked to and how.
kafka_listeners() {
  local port=${KAFKA_PORT:-9092} controller=${KAFKA_CONTROLLER_PORT:-9093}
  cat <<X
listeners=CLIENTS://127.0.0.1:$port,CONTROLLER://127.0.0.1:$controller
advertised.listeners=CLIENTS://127.0.0.1:$port
listener.security.protocol.map=CLIENTS:PLAINTEXT,CONTROLLER:PLAINTEXT
inter.broker.listener.name=CLIENTS
controller.listener.names=CONTROLLER
controller.quorum.bootstrap.servers=127.0.0.1:$controller
X
}
# Sets the options that the first users are made with: none.
kafka_users() { users=(); }

kafka_prepare() {
  local libs users
  libs=$(built_dir "${KAFKA_BUILD[@]}")/libs
  cat >"$1/server.properties" <<X
process.roles=broker,controller
node.id=1
$(kafka_listeners)
log.dirs=$1/data
num.partitions=1
auto.create.topics.enable=false
offsets.topic.replication.factor=1
offsets.topic.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
broker.heartbeat.interval.ms=1000
broker.session.timeout.ms=4000
group.initial.rebalance.delay.ms=0
log.segment.bytes=67108864
log.retention.bytes=536870912
log.retention.hours=24
log.index.size.max.bytes=1048576
num.network.threads=2
num.io.threads=4
background.threads=2
X
  # A start that was interrupted can leave the directory without its identity, which is written last.
  [ -f "$1/data/meta.properties" ] && return
  rm -rf "$1/data"
  kafka_users
  java -Xmx128m -XX:TieredStopAtLevel=1 -Dlog4j2.level=ERROR -cp "$libs/*" kafka.tools.StorageTool \
    format --standalone --config "$1/server.properties" --cluster-id cXVpY2tzYWxlLWRldgAAAA "${users[@]}" >>"$1/log" 2>&1
}

kafka_command() {
  command=(java -Xms256m -Xmx512m -XX:+UseG1GC -Dlog4j2.level=WARN -cp "$(built_dir "${KAFKA_BUILD[@]}")/libs/*" kafka.Kafka "$1/server.properties")
}

# kafka_serves PORT: asks for the cluster's metadata and looks for a broker in the answer: a broker that accepts
# connections is not yet one that serves them. The request is a length, Metadata (3) of version 1, a correlation id, no
# client id and no topics; the answer is a length, the correlation id and the number of brokers.
kafka_serves() {
  local brokers
  brokers=$(
    exec 3<>"/dev/tcp/127.0.0.1/$1"
    printf '\0\0\0\016\0\003\0\001\0\0\0\001\377\377\0\0\0\0' >&3
    timeout 2 head -c 12 <&3 | od -An -tx1 -j8 | tr -d ' '
  ) 2>/dev/null
  [ "$brokers" = 00000001 ]
}
kafka_answers() { kafka_serves "${KAFKA_PORT:-9092}"; }
kafka_settle() { :; }
