# shellcheck shell=bash disable=SC2154 # the directories are set by those who source this
# Sourced by backends.sh: Kafka with TLS, users and ACLs. Its own traffic and whoever writes the ACLs come over listeners
# without either, on loopback, where everybody is the superuser ANONYMOUS; nobody can log in by that name.

# shellcheck source=charts/backends/files/kafka-acls.sh
. "$REPO/charts/backends/files/kafka-acls.sh"

kafka_ports() { echo "${KAFKA_PORT:-9092} ${KAFKA_CONTROLLER_PORT:-9093} ${KAFKA_BROKERS_PORT:-9094}"; }

kafka_listeners() {
  local port=${KAFKA_PORT:-9092} controller=${KAFKA_CONTROLLER_PORT:-9093} brokers=${KAFKA_BROKERS_PORT:-9094}
  cat <<X
listeners=CLIENTS://127.0.0.1:$port,CONTROLLER://127.0.0.1:$controller,BROKERS://127.0.0.1:$brokers
advertised.listeners=CLIENTS://127.0.0.1:$port,BROKERS://127.0.0.1:$brokers
listener.security.protocol.map=CLIENTS:SASL_SSL,CONTROLLER:PLAINTEXT,BROKERS:PLAINTEXT
inter.broker.listener.name=BROKERS
controller.listener.names=CONTROLLER
controller.quorum.bootstrap.servers=127.0.0.1:$controller
listener.name.clients.sasl.enabled.mechanisms=SCRAM-SHA-512
listener.name.clients.scram-sha-512.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
listener.name.clients.ssl.keystore.type=PEM
listener.name.clients.ssl.keystore.location=$tls/server.pem
listener.name.clients.ssl.truststore.type=PEM
listener.name.clients.ssl.truststore.location=$tls/ca.crt
listener.name.clients.ssl.client.auth=required
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:ANONYMOUS
allow.everyone.if.no.acl.found=false
X
}

# A line for each user, as the storage tool reads it.
kafka_logins() {
  local service
  for service in $(services kafka); do
    printf 'SCRAM-SHA-512=[name=%s,password=%s]\n' "$(user "$service")" "$(password kafka "$service")"
  done
}

# The first ones are made with the data, each in no time.
kafka_users() {
  local login service
  users=()
  while read -r login; do users+=(--add-scram "$login"); done < <(kafka_logins)
  for service in $(services kafka); do user "$service"; done >"$dir/kafka/users"
}

# Those that came later, each with a start of Java. What it says goes to the log.
kafka_later_users() {
  local service libs
  libs=$(built_dir "${KAFKA_BUILD[@]}")/libs
  touch "$dir/kafka/users"
  for service in $(services kafka); do
    grep -qx "$(user "$service")" "$dir/kafka/users" && continue
    java -Xmx128m -XX:TieredStopAtLevel=1 -Dlog4j2.level=ERROR -cp "$libs/*" kafka.admin.ConfigCommand \
      --bootstrap-server "127.0.0.1:${KAFKA_BROKERS_PORT:-9094}" --alter --entity-type users --entity-name "$(user "$service")" \
      --add-config "SCRAM-SHA-512=[password=$(password kafka "$service")]" >>"$dir/kafka/log" 2>&1 ||
      die "Kafka took no user $(user "$service"); its log is $dir/kafka/log"
    user "$service" >>"$dir/kafka/users"
  done
}

# Topics are named by sale, so the rights are on topics of any name.
kafka_acls() { jq -r '.[] | select(.kafka) | .user as $user | .kafka | keys_unsorted[] | "\($user) \(.) literal *"' "$grants"; }

kafka_answers() { listening "${KAFKA_PORT:-9092}" && kafka_serves "${KAFKA_BROKERS_PORT:-9094}"; }
kafka_settle() {
  local home=$dir/kafka
  kafka_acls >"$home/acls"
  await "$home" 30 'kafka, asked to write ACLs,' kafka_grant "${KAFKA_BROKERS_PORT:-9094}" "$home/acls" "$home/acls.applied"
  kafka_later_users
}
