#!/bin/bash
# Starts MongoDB in a container of Compose, or the stand-in for it, whichever the image has: mongodb.sh plain|secured
# secured asks for TLS, a client certificate and a password, and each user has the rights of grants.json.
set -euo pipefail

if command -v mongod >/dev/null; then
  options=(--dbpath /data/db --replSet rs0 --wiredTigerCacheSizeGB 0.25)
  unsecured() { exec mongod --bind_ip 127.0.0.1 "${options[@]}"; }
  create_replica_set() {
    mongosh --quiet --eval "
      try { rs.initiate({_id: 'rs0', members: [{_id: 0, host: 'localhost:27017'}]}) } catch (error) {
        if (error.codeName !== 'AlreadyInitialized') throw error }
      while (!db.hello().isWritablePrimary) sleep(100)" >/dev/null
  }
  open() { exec mongod --bind_ip_all "${options[@]}"; }
  create_users() {
    GRANTS=/config/grants.json PASSWORDS=/passwords ACCOUNTS=quicksale MEMBER=localhost:27017 \
      mongosh --quiet /config/mongodb-users.js
  }
  secured() {
    cp /run/secrets/mongodb-replica-set-key /tmp/replica-set-key
    chmod 400 /tmp/replica-set-key
    exec mongod --bind_ip_all "${options[@]}" --keyFile /tmp/replica-set-key \
      --tlsMode requireTLS --tlsCertificateKeyFile /tls/server.pem --tlsCAFile /tls/ca.crt
  }
else
  : >/tmp/secantusd.toml
  mkdir -p /data/db/store
  options=(--config /tmp/secantusd.toml --port 27017 --storage-path /data/db/store --sync-on-commit --cache-size 256M
    --log-level WARNING)
  unsecured() { exec secantusd --host 127.0.0.1 "${options[@]}"; }
  create_replica_set() { :; }
  open() { exec secantusd --host 0.0.0.0 "${options[@]}"; }
  create_users() { perl /config/mongodb-users.pl 27017 /config/grants.json /passwords quicksale; }
  secured() {
    exec secantusd --host 0.0.0.0 "${options[@]}" --auth --tls-cert-file /tls/server.pem --tls-key-file /tls/server.pem \
      --tls-ca-file /tls/ca.crt --tls-require-client-cert
  }
fi

case $1 in
  plain)
    create_users() { create_replica_set; }
    secured() { open; }
    ;;
  secured) ;;
  *) echo "usage: mongodb.sh plain|secured" >&2; exit 1 ;;
esac
# shellcheck source=charts/backends/files/mongodb-start.sh
. /config/mongodb-start.sh
