# shellcheck shell=bash
# Sourced by backends.sh: MongoDB as a replica set of one where mongod and mongosh are installed; otherwise secantusd,
# which speaks the same protocol.

mongodb_ports() { echo "${MONGODB_PORT:-27017}"; }
mongodb_prepare() {
  mkdir -p "$1/data"
  # An empty file, so that none is looked for elsewhere.
  : >"$1/secantusd.toml"
}
mongodb_is_mongod() { have mongod && have mongosh; }

mongodb_command() {
  local port=${MONGODB_PORT:-27017}
  if mongodb_is_mongod; then
    command=(mongod --bind_ip 127.0.0.1 --port "$port" --dbpath "$1/data" --replSet rs0 --wiredTigerCacheSizeGB 0.5)
  else
    # A commit is on the disk before it is acknowledged: a kill costs nothing that a client was told it has.
    command=(secantusd --config "$1/secantusd.toml" --host 127.0.0.1 --port "$port" --storage-path "$1/data" --sync-on-commit
      --cache-size 1G --log-level WARNING)
  fi
}

# A ping in MongoDB's wire protocol (an OP_MSG that holds {ping: 1, $db: "admin"}), so that no client has to be installed.
mongodb_answers() {
  (
    exec 3<>"/dev/tcp/127.0.0.1/${MONGODB_PORT:-27017}"
    # shellcheck disable=SC2016 # $db is the name of a field
    printf '\063\0\0\0\001\0\0\0\0\0\0\0\335\007\0\0\0\0\0\0\0\036\0\0\0\020ping\0\001\0\0\0\002$db\0\006\0\0\0admin\0\0' >&3
    timeout 2 head -c 38 <&3 | grep -qa ok
  ) 2>/dev/null
}

mongodb_settle() {
  mongodb_is_mongod || return 0
  mongosh --quiet --port "${MONGODB_PORT:-27017}" --eval "
    try { rs.status() } catch { rs.initiate({_id: 'rs0', members: [{_id: 0, host: '127.0.0.1:${MONGODB_PORT:-27017}'}]}) }
    while (!db.hello().isWritablePrimary) sleep(100)" >/dev/null
}
