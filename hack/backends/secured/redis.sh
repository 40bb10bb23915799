# shellcheck shell=bash disable=SC2154 # the directories are set by those who source this
# Sourced by backends.sh: Redis with TLS and users. The user "probe" may say PING and nothing else.

redis_users() {
  local service
  echo 'user default off'
  echo 'user probe on nopass resetkeys -@all +ping'
  for service in $(services redis); do
    printf 'user %s on #%s ' "$(user "$service")" "$(printf %s "$(password redis "$service")" | sha256sum | cut -d' ' -f1)"
    jq -r --arg service "$service" '.[$service].redis | [(.keys[] | "~" + .), "-@all", (.commands[] | "+" + .)] | join(" ")' "$grants"
  done
}

redis_prepare() {
  redis_users >"$1/users.acl"
  printf '%s\n' 'bind 127.0.0.1' 'port 0' "tls-port ${REDIS_PORT:-6379}" "tls-cert-file $tls/server.crt" \
    "tls-key-file $tls/server.key" "tls-ca-cert-file $tls/ca.crt" 'tls-auth-clients yes' "aclfile $1/users.acl" \
    "dir $1" 'save ""' 'appendonly no' >"$1/redis.conf"
}
redis_command() { command=(redis-server "$1/redis.conf"); }
redis_answers() {
  [ "$(redis-cli --no-auth-warning -h 127.0.0.1 -p "${REDIS_PORT:-6379}" --tls --cacert "$tls/ca.crt" --cert "$tls/client.crt" \
    --key "$tls/client.key" --user probe --pass any ping)" = PONG ]
}
redis_settle() { :; }
