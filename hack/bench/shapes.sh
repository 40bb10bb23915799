# shellcheck shell=bash
# Sourced by hack/bench.sh: the services in one process, or each in processes of its own as on a cluster. Both leave in `targets` what the load
# generator is to be told of them, and in `started` where the processes are.

targets=() started=()

# ready PORT: whether the process with this admin port is.
ready() { curl --fail --silent --max-time 2 "http://127.0.0.1:$1/readyz"; }

# free PORT...: ends the script where one is in use.
free() {
  local port
  for port in "$@"; do
    ! listening "$port" || die "port $port is in use: stop what listens there (make dev?), the bench needs the ports of the services"
  done
}

# one_process BUILD DIR: all services in one, as `make dev` has them.
one_process() {
  free 3000 3001 3002 3003 3004 9090
  mkdir -p "$2/quicksale"
  started=("$2/quicksale")
  launch "$2/quicksale" "$1" dev --no-console --data-dir "$2"
  await "$2/quicksale" 60 quicksale ready 9090
  targets=("--process=quicksale=$(running "$2/quicksale")" --metrics=127.0.0.1:9090)
}

# The ports of the first replicas are those of every sale, and each next one has its own ten further up; admin ports are 16,000 above. The
# processor has none but that.
declare -A PORTS=([gateway]=3000 [auth]=3001 [inventory]=3002 [order]=3003 [notifier]=3004 [processor]=3005)

# port SERVICE REPLICA
port() { echo $((PORTS[$1] + 10 * ($2 - 1))); }

# own_processes BUILD DIR REPLICAS: each service in a process of its own, all but auth in so many. Replicas of one number call each other, and the
# load generator calls all gateways and notifiers in turn: what a cluster's Services do at random is even here.
own_processes() {
  local build=$1 dir=$2 replicas=$3 replica service name
  local names=()
  for service in auth inventory order processor notifier gateway; do
    for ((replica = 1; replica <= replicas; replica++)); do
      [ "$service:$replica" = auth:1 ] || [ "$service" != auth ] || continue
      free "$(port "$service" "$replica")" $((16000 + $(port "$service" "$replica")))
      names+=("$service-$replica")
    done
  done
  for ((replica = 1; replica <= replicas; replica++)); do
    sale_config "$replica" >"$dir/config-$replica.json"
  done
  export QUICKSALE_KEYS=$dir/keys QUICKSALE_CONTROL=$dir/control.json
  QUICKSALE_CONFIG=$dir/config-1.json "$build" prepare >"$dir/prepare.log" 2>&1 || { tail -n 20 "$dir/prepare.log" >&2; die "quicksale prepare has failed"; }
  for name in "${names[@]}"; do
    launch_replica "$build" "$dir/$name" "${name%-*}" "${name#*-}"
  done
  for name in "${names[@]}"; do
    service=${name%-*} replica=${name#*-}
    await "$dir/$name" 60 "$name" ready $((16000 + $(port "$service" "$replica")))
    targets+=("--process=quicksale/$name=$(running "$dir/$name")" "--metrics=127.0.0.1:$((16000 + $(port "$service" "$replica")))")
    case $service in gateway | notifier) targets+=("--$service=127.0.0.1:$(port "$service" "$replica")") ;; esac
  done
}

launch_replica() {
  local build=$1 dir=$2 service=$3 replica=$4 own=()
  mkdir -p "$dir"
  started+=("$dir")
  [ "$service" = processor ] || own=(--port "$(port "$service" "$replica")")
  own+=(--admin-port $((16000 + $(port "$service" "$replica"))))
  INSTANCE=$service-$replica QUICKSALE_CONFIG=$(dirname "$dir")/config-$replica.json \
    launch_bounded "$dir" "$service" "$service-$replica" "$build" "$service" "${own[@]}"
}

# sale_config REPLICA: the sale as replicas of this number see it. Beside where they find others it is what `quicksale dev` has.
sale_config() {
  cat <<END
{
  "sale": {"namespace": "dev", "name": "dev"},
  "currency": "USD",
  "confirmation": "Automatic",
  "reservationTtlSeconds": 600,
  "data": {"database": "qs_dev_dev", "accountsDatabase": "quicksale"},
  "kafka": {"topicPrefix": "dev.dev.", "partitions": 4, "replicationFactor": 1},
  "redisPrefix": "qs:{dev.dev}:",
  "upstreams": {
    "auth": "http://127.0.0.1:$(port auth 1)",
    "inventory": "http://127.0.0.1:$(port inventory "$1")",
    "order": "http://127.0.0.1:$(port order "$1")",
    "notifier": "http://127.0.0.1:$(port notifier "$1")"
  },
  "http": {"bind": "127.0.0.1", "adminPort": 9090, "trustedProxies": [], "corsOrigins": ["*"]}
}
END
}

# pids: of all that was started, with commas between them.
pids() {
  local dir all=
  for dir in "${started[@]}"; do all+=${all:+,}$(running "$dir"); done
  echo "$all"
}
