#!/bin/bash
# Starts Kafka in a container of Compose, as a single process that is broker and controller: kafka.sh plain|secured
# secured asks for TLS, a client certificate and a password, and each user has the rights of the file acls.
set -euo pipefail
# shellcheck source=charts/backends/files/kafka-acls.sh
. /config/kafka-acls.sh
properties=/config/kafka.properties
users=()
case $1 in
  plain)
    properties=/tmp/kafka.properties
    sed -e 's/CLIENTS:SASL_SSL/CLIENTS:PLAINTEXT/' -e '/^listener\.name\.clients\./d' \
      -e '/^authorizer\./d' -e '/^super\./d' -e '/^allow\./d' /config/kafka.properties >$properties
    ;;
  secured) while read -r user; do users+=(--add-scram "$user"); done </run/secrets/kafka-users ;;
  *) echo "usage: kafka.sh plain|secured" >&2; exit 1 ;;
esac
rm -f /tmp/ready

# The broker names itself in its answer to a question for metadata (3).
serves() { [[ $(kafka_call 9094 3 '\x00\x00\x00\x00' 4 12) == *00000001 ]]; }
ready() {
  case $1 in
    plain) serves ;;
    secured) kafka_grant 9094 /run/secrets/kafka-acls /data/acls ;;
  esac
}

# The identity is written last: without it, a format was interrupted.
if [ ! -f /data/kafka/meta.properties ]; then
  rm -rf /data/kafka /data/acls
  java -Xmx128m -XX:TieredStopAtLevel=1 -Dlog4j2.level=ERROR -cp '/opt/kafka/libs/*' kafka.tools.StorageTool format --standalone \
    --config "$properties" --cluster-id cXVpY2tzYWxlLWRldgAAAA "${users[@]}"
fi
java -Xms128m -Xmx384m -XX:+UseG1GC -Dlog4j2.level=WARN -cp '/opt/kafka/libs/*' kafka.Kafka "$properties" &
broker=$!
trap 'kill -TERM $broker' TERM INT
until ready "$1" 2>/dev/null; do
  kill -0 $broker
  sleep 0.5
done
touch /tmp/ready
# A signal that is handled ends the first wait.
wait $broker || wait $broker
