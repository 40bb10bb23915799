# shellcheck shell=bash disable=SC2154 # the directories are set by those who source this
# Sourced by backends.sh: MongoDB, or secantusd, with TLS and users. They are made or updated by a first start that neither
# TLS nor a password is asked of, on loopback; the second start is the one that lasts.

mongodb_prepare() {
  local port=${MONGODB_PORT:-27017} pid result=0
  is_secured "$1" || return 1
  mkdir -p "$1/data"
  : >"$1/secantusd.toml"
  if mongodb_is_mongod && [ ! -f "$1/replica-set-key" ]; then
    openssl rand -hex 32 >"$1/replica-set-key"
    chmod 400 "$1/replica-set-key"
  fi
  unsecured_command "$1"
  "${command[@]}" >>"$1/log" 2>&1 </dev/null 8>&- &
  pid=$!
  until listening "$port"; do
    kill -0 $pid 2>/dev/null || return 1
    sleep 0.1
  done
  create_users "$port" >>"$1/log" 2>&1 || result=1
  kill -TERM $pid
  wait $pid || true
  return $result
}

unsecured_command() {
  local port=${MONGODB_PORT:-27017}
  if mongodb_is_mongod; then
    command=(mongod --bind_ip 127.0.0.1 --port "$port" --dbpath "$1/data" --replSet rs0 --wiredTigerCacheSizeGB 0.5)
  else
    command=(secantusd --config "$1/secantusd.toml" --host 127.0.0.1 --port "$port" --storage-path "$1/data" --sync-on-commit
      --cache-size 1G --log-level WARNING)
  fi
}

mongodb_command() {
  unsecured_command "$1"
  if mongodb_is_mongod; then
    command+=(--keyFile "$1/replica-set-key" --tlsMode requireTLS --tlsCertificateKeyFile "$tls/server.pem" --tlsCAFile "$tls/ca.crt")
  else
    command+=(--auth --tls-cert-file "$tls/server.crt" --tls-key-file "$tls/server.key" --tls-ca-file "$tls/ca.crt"
      --tls-require-client-cert)
  fi
}

create_users() {
  if mongodb_is_mongod; then
    GRANTS=$grants PASSWORDS=$passwords/mongodb ACCOUNTS=$accounts MEMBER=127.0.0.1:$1 \
      mongosh --quiet --port "$1" "$REPO/charts/backends/files/mongodb-users.js"
  else
    perl "$REPO/charts/backends/files/mongodb-users.pl" "$1" "$grants" "$passwords/mongodb" "$accounts"
  fi
}

# hello, which needs no user; of a replica set only the primary is good enough.
mongodb_answers() {
  # shellcheck disable=SC2016 # $db is the name of a field
  timeout 3 head -c 2048 < <(
    printf '\064\0\0\0\001\0\0\0\0\0\0\0\335\007\0\0\0\0\0\0\0\037\0\0\0\020hello\0\001\0\0\0\002$db\0\006\0\0\0admin\0\0' |
      timeout 2 openssl s_client -quiet -verify_return_error -connect "127.0.0.1:${MONGODB_PORT:-27017}" \
        -CAfile "$tls/ca.crt" -cert "$tls/client.crt" -key "$tls/client.key" 2>/dev/null
  ) | grep -qaP 'isWritablePrimary\0\x01'
}
mongodb_settle() { :; }
