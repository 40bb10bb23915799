#!/bin/bash
# Real backends on loopback, for development and tests: backends.sh start|stop|restart|kill|freeze|thaw|status|wipe [NAME...]
#
# The names are kafka, mongodb and redis; without one, all three are meant. stop ends them in good order, kill ends them
# at once as a crash would, and both keep their data; freeze has them stand still until thaw; wipe stops them and removes it. Processes that this script did not
# start are never touched. Where they are, from the environment:
#   QUICKSALE_BACKENDS_DIR (data, logs, pid files)
#   KAFKA_PORT (9092)  KAFKA_CONTROLLER_PORT (9093)  MONGODB_PORT (27017)  REDIS_PORT (6379)
# With QUICKSALE_BACKENDS_SECURED=yes they ask for TLS, a client certificate and a password, and every service is a user
# with the rights in charts/backends/files/grants.json. QUICKSALE_BACKENDS_DIR/secret is then the Secret that QuickSale
# reads: a file for each key. Kafka has one port more, KAFKA_BROKERS_PORT (9094).
set -euo pipefail
# shellcheck source=hack/env.sh
. "$(dirname "$0")/env.sh"
# shellcheck source=hack/process.sh
. "$REPO/hack/process.sh"
for file in "$REPO"/hack/backends/*.sh; do
  # shellcheck source=/dev/null
  . "$file"
done

dir=${QUICKSALE_BACKENDS_DIR:-$CACHE/dev-backends}
# What must be there before a backend is started: nothing, or certificates and passwords.
secrets() { :; }
if [ "${QUICKSALE_BACKENDS_SECURED:-}" = yes ]; then
  dir=${QUICKSALE_BACKENDS_DIR:-$CACHE/dev-backends-secured}
  for file in "$REPO"/hack/backends/secured/*.sh; do
    # shellcheck source=/dev/null
    . "$file"
  done
fi
verb=${1:-}
names=("${@:2}")
[ ${#names[@]} -gt 0 ] || names=(redis mongodb kafka)
for name in "${names[@]}"; do
  case $name in kafka | mongodb | redis) ;; *) die "no backend is called $name: kafka, mongodb and redis are" ;; esac
done

# launch_backend NAME: starts it, and does not wait.
launch_backend() {
  local name=$1 home=$dir/$1 port command=()
  mkdir -p "$home"
  running "$home" >/dev/null && return
  for port in $("${name}_ports"); do
    free_soon "$port" || die "port $port, meant for $name, is taken by another process: stop that one, or choose another port (see the head of hack/backends.sh)"
  done
  : >"$home/log"
  "${name}_prepare" "$home" || { tail -n 20 "$home/log" >&2; die "$name could not be prepared; its log is $home/log"; }
  "${name}_command" "$home"
  launch "$home" "${command[@]}"
}

await_backend() {
  await "$dir/$1" 120 "$1" "${1}_answers"
  "${1}_settle"
}

start() {
  "$REPO/hack/tools.sh" "${names[@]}"
  secrets
  for name in "${names[@]}"; do launch_backend "$name"; done
  for name in "${names[@]}"; do await_backend "$name"; done
  say "${names[*]} answering on loopback; data and logs in $dir"
}

finish() { for name in "${names[@]}"; do end "$dir/$name" "$1" 20; done; }

send() {
  local pid
  for name in "${names[@]}"; do
    pid=$(running "$dir/$name") || die "$name is not running"
    kill "-$1" "$pid"
  done
}

status() {
  local result=0 pid
  for name in "${names[@]}"; do
    if ! pid=$(running "$dir/$name"); then
      echo "$name: not running"
      result=1
    elif ! "${name}_answers" >/dev/null 2>&1; then
      echo "$name: running as process $pid, not answering"
      result=1
    else
      echo "$name: answering on port $("${name}_ports" | cut -d' ' -f1), process $pid"
    fi
  done
  return $result
}

mkdir -p "$dir"
exec 8>"$dir/lock"
[ "$verb" = status ] || flock 8
case $verb in
  start) start ;;
  stop) finish TERM ;;
  kill) finish KILL ;;
  freeze) send STOP ;;
  thaw) send CONT ;;
  restart) finish TERM; start ;;
  status) status ;;
  wipe) finish TERM; for name in "${names[@]}"; do rm -rf "${dir:?}/$name"; done ;;
  *) die "usage: hack/backends.sh start|stop|restart|kill|freeze|thaw|status|wipe [kafka|mongodb|redis ...]" ;;
esac
