#!/bin/bash
# Starts a sale with Docker Compose, sells it out through its gateways, and takes it down again: compose.sh dev|prod
#
# What an earlier run has left is removed first. It has a project, ports and secrets of its own, on loopback, and meets nobody
# else's. Of prod a replica of order and one of inventory are killed as the buyers begin. It fails where an accepted order is
# not confirmed, or where more or less is sold than there was.
set -euo pipefail
# shellcheck source=hack/env.sh
. "$(dirname "$0")/../env.sh"
# shellcheck source=hack/process.sh
. "$REPO/hack/process.sh"
kind=${1:-}
STOCK=7
BUYERS=3
SKU=FLASH-COMPOSE
password=$(od -An -N8 -tx1 /dev/urandom | tr -d ' \n')
project=quicksale-compose-test
dir=$CACHE/compose-test
export COMPOSE_PROJECT_NAME=$project COMPOSE_DISABLE_ENV_FILE=1
export QUICKSALE_SECRETS=$dir/secrets QUICKSALE_PRODUCTS_FILE=$dir/products.json
export ADMIN_EMAIL=admin@quicksale.local ADMIN_PASSWORD=$password
unset QUICKSALE_CONFIG_FILE QUICKSALE_OPENS_AT QUICKSALE_CLOSES_AT QUICKSALE_HALTED

compose() { "$REPO/hack/compose.sh" "$kind" "$@"; }
of_project() { docker "$@" --quiet --filter "label=com.docker.compose.project=$project"; }

# Removes everything of the project, whichever file and whatever half of a run it is from.
sweep() {
  of_project ps --all | xargs --no-run-if-empty docker rm --force --volumes
  of_project network ls | xargs --no-run-if-empty docker network rm
  of_project volume ls | xargs --no-run-if-empty docker volume rm
} >/dev/null

# within SECONDS WHAT CHECK...: waits until the check succeeds.
within() {
  local deadline=$((SECONDS + $1)) what=$2
  shift 2
  until "$@"; do
    [ $SECONDS -lt $deadline ] || die "$what"
    sleep 0.5
  done
}

# Ports that nobody listens on: one for dev, and one for each gateway of prod.
choose_ports() {
  local first
  for first in 13000 13010 13020 13030 13040 13050; do
    ports=("$first")
    [ "$kind" = dev ] || ports+=($((first + 1)))
    if ! listening "$first" && ! listening $((first + 1)) && ! listening $((first + 2)); then
      export QUICKSALE_CONSOLE_PORT=$((first + 2)) QUICKSALE_PORT=$first QUICKSALE_PORTS=$first-$((first + 1))
      return
    fi
  done
  die "ports from 13000 to 13052 are taken"
}

# ask BUYER PATH ARGUMENT...: asks a gateway, each buyer another one, from an address of the buyer's own.
ask() {
  local url=http://127.0.0.1:${ports[$(($1 % ${#ports[@]}))]}$2
  curl --silent --show-error --max-time 15 --header "x-forwarded-for: 203.0.113.$(($1 + 1))" "$url" "${@:3}"
}

ready() {
  local port
  for port in "${ports[@]}"; do
    # Asking for the sale is not counted, however often.
    curl --fail --silent --max-time 2 "http://127.0.0.1:$port/api/sale" 2>/dev/null |
      jq -e --arg sku $SKU '.products | any(.sku == $sku)' >/dev/null 2>&1 || return 1
  done
}

# register BUYER: keeps the token in a file.
register() {
  ask "$1" /api/auth/register --fail --json \
    "{\"email\": \"buyer-$1@example.com\", \"password\": \"$password\", \"firstName\": \"Buyer\", \"lastName\": \"$1\"}" |
    jq -er .accessToken >"$dir/token-$1"
}

# listen BUYER: what the buyer's WebSocket says goes to a file, for as long as curl is let.
listen() {
  local ticket
  ticket=$(ask "$1" /api/ws-ticket --fail --request POST --header "authorization: Bearer $(<"$dir/token-$1")" | jq -er .ticket)
  ask "$1" "/ws?ticket=$ticket" --include --no-buffer --http1.1 --max-time 150 --header 'connection: upgrade' \
    --header 'upgrade: websocket' --header 'sec-websocket-version: 13' --header 'sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==' \
    >"$dir/socket-$1" 2>/dev/null &
  sockets+=($!)
}

# buy BUYER: orders one unit after the other until there are no more; the ids of accepted orders go to a file.
buy() {
  local deadline=$((SECONDS + 90)) number=1 answer status
  : >"$dir/accepted-$1"
  while [ $SECONDS -lt $deadline ]; do
    # Without an answer nobody knows: the same key is sent again.
    answer=$(ask "$1" /api/orders --write-out '\n%{http_code}' --header "authorization: Bearer $(<"$dir/token-$1")" \
      --header "idempotency-key: buyer-$1-$number" --json "{\"items\": [{\"sku\": \"$SKU\", \"quantity\": 1}]}") || answer=$'\n000'
    status=${answer##*$'\n'}
    case $status:$(jq -r '.code // ""' 2>/dev/null <<<"${answer%$'\n'*}") in
      201:*)
        jq -er '.order._id // ._id' <<<"${answer%$'\n'*}" >>"$dir/accepted-$1"
        number=$((number + 1))
        ;;
      409:sold_out) return 0 ;;
      409:units_held | 429:* | 503:* | 000:*) sleep 1 ;;
      *) die "buyer $1 ordered and was answered: $answer" ;;
    esac
  done
  die "buyer $1 was not told that the product is sold out"
}

orders() { ask "$1" '/api/orders?limit=100' --fail --header "authorization: Bearer $(<"$dir/token-$1")"; }

# Whether all orders of a buyer are confirmed, and are those that were accepted.
all_confirmed() {
  orders "$1" | jq -e --rawfile accepted "$dir/accepted-$1" \
    '(.items | all(.status == "CONFIRMED")) and (.items | map(._id) | sort) == ($accepted | split("\n") | map(select(. != "")) | sort)' \
    >/dev/null
}

# Whether as much is sold as there was, and nothing is left or held.
all_sold() {
  ask 0 /api/inventory/products --fail | jq -e --arg sku $SKU --argjson stock $STOCK \
    '.items[] | select(.sku == $sku) | .stock == $stock and .sold == $stock and .available == 0 and .reserved == 0' >/dev/null
}

# replica SERVICE: its first one.
replica() { of_project ps --all --filter "label=com.docker.compose.service=$1" --filter label=com.docker.compose.container-number=1; }
is_healthy() { [ "$(docker inspect --format '{{.State.Health.Status}}' "$1")" = healthy ]; }

sell_out() {
  local buyer buyers=() accepted=0 ordered=0 buying
  for ((buyer = 0; buyer < BUYERS; buyer++)); do register "$buyer"; listen "$buyer"; done
  [ "$kind" != prod ] || docker kill "$(replica order)" "$(replica inventory)" >/dev/null
  for ((buyer = 0; buyer < BUYERS; buyer++)); do buy "$buyer" & buyers+=($!); done
  for buying in "${buyers[@]}"; do wait "$buying" || die "a buyer gave up"; done
  for ((buyer = 0; buyer < BUYERS; buyer++)); do
    within 30 "the orders of buyer $buyer are not those that were accepted, or not all confirmed" all_confirmed "$buyer"
    ordered=$(orders "$buyer" | jq '[.items[].items[].quantity] | add // 0')
    accepted=$((accepted + ordered))
    [ "$ordered" = 0 ] || within 10 "buyer $buyer heard nothing over the WebSocket" grep -qa CONFIRMED "$dir/socket-$buyer"
    grep -qa '^HTTP/1.1 101' "$dir/socket-$buyer" || die "buyer $buyer got no WebSocket"
  done
  [ "$accepted" = "$STOCK" ] || die "$accepted units are confirmed, and there were $STOCK"
  within 30 "the product does not say that all of it is sold" all_sold
  say "$kind: $STOCK of $STOCK units sold to $BUYERS buyers, and not one more"
}

# The administrator gets in, and the books agree.
look_into_the_books() {
  local email=$ADMIN_EMAIL secret=$ADMIN_PASSWORD
  if [ "$kind" = prod ]; then email=$(<"$QUICKSALE_SECRETS/administrator/email") secret=$(<"$QUICKSALE_SECRETS/administrator/password"); fi
  ask 9 /api/auth/login --fail --json "{\"email\": \"$email\", \"password\": \"$secret\"}" | jq -er .accessToken >"$dir/token-9"
  [ "$(orders 9 | jq '.items | length')" = $STOCK ] || die "the administrator sees other orders than were made"
}

# seen PATH FILTER: asks the console, as the administrator who has logged in.
seen() {
  curl --fail --silent --show-error --max-time 15 --cookie "$dir/cookies" "http://127.0.0.1:$QUICKSALE_CONSOLE_PORT$1" |
    jq -e --argjson stock $STOCK "$2" >/dev/null
}

# The console of dev shows what was sold, every process, and the messages in Kafka.
# shellcheck disable=SC2016 # $stock is a name of jq's
look_into_the_console() {
  local sale
  curl --fail --silent --show-error --max-time 15 --cookie-jar "$dir/cookies" "http://127.0.0.1:$QUICKSALE_CONSOLE_PORT/api/login" \
    --json "{\"email\": \"$ADMIN_EMAIL\", \"password\": \"$ADMIN_PASSWORD\"}" | jq -e .switches >/dev/null ||
    die "the administrator does not get into the console"
  sale=/api/sales/$(jq -r '.sale | "\(.namespace)/\(.name)"' "$REPO/deploy/compose/config.json")
  within 30 "the console does not show what was sold" seen "$sale" '.summary.sold == $stock and .summary.orders.confirmed == $stock'
  within 30 "the console does not see every process" seen "$sale" '(.processes | length) == 6 and (.processes | all(.scraped))'
  seen "$sale/topics" '[.items[] | select(.topic == "order.created").partitions[].records] | add >= $stock' ||
    die "the console does not find the orders in Kafka"
}

# A second start with another word changes that, and nothing else.
halt() {
  local before
  before=$(of_project ps | sort)
  QUICKSALE_HALTED=true compose up --detach --quiet-pull
  [ -z "$(comm -23 <(echo "$before") <(of_project ps | sort))" ] || die "a second start has replaced processes"
  within 10 "the sale does not stop" is_halted
}
is_halted() { ask 0 /api/sale --fail | jq -e .halted >/dev/null; }

# Which ports of this machine lead in, as address:port.
published() {
  of_project ps | xargs docker inspect | jq -r '.[].NetworkSettings.Ports[] | arrays[] | "\(.HostIp):\(.HostPort)"' | sort -u
}

# What dev and prod have in common: nothing that may more than it must, and no way in but the gateways', and the console's in dev.
check_confinement() {
  local wanted
  wanted=$(printf '127.0.0.1:%s\n' "${ports[@]}")
  [ "$kind" = prod ] || wanted+=$'\n'127.0.0.1:$QUICKSALE_CONSOLE_PORT
  [ "$(published)" = "$wanted" ] || die "these ports are published: $(published)"
  of_project ps | xargs docker inspect | jq -e 'all(
    .HostConfig.ReadonlyRootfs and .HostConfig.CapDrop == ["ALL"] and .HostConfig.CapAdd == null and .Config.User == "65532:65532"
    and (.HostConfig.SecurityOpt | index("no-new-privileges:true")) and (.HostConfig.Privileged | not))' >/dev/null ||
    die "a container may more than it must"
}

# What is true of prod alone.
check_prod() {
  local secret tls='--tls --cacert /tls/ca.crt --cert /tls/server.pem --key /tls/server.pem'
  of_project ps | xargs docker inspect | jq -e 'all(.HostConfig.Memory > 0 and .HostConfig.NanoCpus > 0 and
    .HostConfig.RestartPolicy.Name == "unless-stopped" and .State.Health.Status == "healthy")' >/dev/null ||
    die "a container has no limits, is not started again, or is not healthy: $(of_project ps | xargs docker inspect | jq -c \
      '.[] | [.Name, .HostConfig.Memory, .HostConfig.NanoCpus, .HostConfig.RestartPolicy.Name, .State.Health.Status]')"
  of_project ps | xargs docker inspect | jq -e 'map(.Config.Labels["com.docker.compose.service"]) | group_by(.) |
    map({key: .[0], value: length}) | from_entries | .gateway == 2 and .order == 2 and .inventory == 2 and .notifier == 2' >/dev/null ||
    die "there are fewer replicas than there should be"
  # Nobody reads a password off a container's settings.
  of_project ps --all | xargs docker inspect >"$dir/inspected"
  while read -r secret; do
    ! grep -qF "$(<"$secret")" "$dir/inspected" || die "$secret stands in the settings of a container"
  done < <(find "$QUICKSALE_SECRETS/passwords" "$QUICKSALE_SECRETS/administrator/password" -type f)
  # The same question is answered where it should be, or its refusal would prove nothing.
  in_place redis "redis-cli -h redis $tls --no-auth-warning --user probe --pass any ping" | grep -q PONG ||
    die "Redis does not answer a probe"
  ! in_place redis 'redis-cli -h redis ping' | grep -q PONG || die "Redis answers without TLS"
  ! in_place redis 'redis-cli -h redis --tls --cacert /tls/ca.crt --no-auth-warning --user probe --pass any ping' | grep -q PONG || die "Redis answers whoever has no certificate"
  ! in_place redis "redis-cli -h redis $tls ping" | grep -q PONG || die "Redis answers whoever has no password"
  in_place kafka "$(metadata 127.0.0.1/9094)" | grep -q '00 00 00 01$' || die "Kafka does not answer itself"
  ! in_place kafka "$(metadata kafka/9092)" | grep -q '00 00 00 01$' || die "Kafka answers without TLS"
}

# metadata HOST/PORT: a script that asks Kafka for its metadata (3) in plain text; an answer names one broker.
metadata() {
  # shellcheck disable=SC2016 # bytes for the other shell
  printf 'exec 3<>/dev/tcp/%s && printf "%s" >&3 && timeout 3 head -c 12 <&3 | od -An -tx1' "$1" \
    '\0\0\0\016\0\003\0\001\0\0\0\001\377\377\0\0\0\0'
}

# in_place SERVICE SCRIPT: runs it in the service's container.
in_place() { compose exec --no-TTY "$1" bash -c "$2" 2>&1; }

finish() {
  local status=$?
  trap - EXIT
  [ ${#sockets[@]} = 0 ] || kill "${sockets[@]}" 2>/dev/null || true
  if [ $status != 0 ]; then
    compose ps --all >&2 || true
    compose logs --no-color --tail 15 >&2 || true
    ask 0 /api/inventory/products >&2 || true
  fi
  sweep || status=1
  exit $status
}

case $kind in dev | prod) ;; *) die "usage: hack/test/compose.sh dev|prod" ;; esac
"$REPO/hack/tools.sh" curl
have jq || die "jq is needed: install it with your package manager"
"$REPO/hack/docker.sh" start
sockets=() ports=()
trap finish EXIT
sweep
mkdir -p "$dir"
rm -f "$dir"/token-* "$dir"/socket-* "$dir"/accepted-*
printf '[{"sku": "%s", "name": "Few Units", "price": 9.99, "stock": %s}]\n' $SKU $STOCK >"$QUICKSALE_PRODUCTS_FILE"
chmod 644 "$QUICKSALE_PRODUCTS_FILE"
choose_ports
compose up --detach --quiet-pull
within 120 "the gateways do not show the product" ready
say "$kind: the sale is open after $SECONDS s"
sell_out
look_into_the_books
check_confinement
if [ "$kind" = prod ]; then
  for killed in "$(replica order)" "$(replica inventory)"; do
    docker start "$killed" >/dev/null
    within 60 "a replica that was killed does not come back" is_healthy "$killed"
  done
  check_prod
else
  look_into_the_console
  halt
fi
compose down --volumes --timeout 20
[ -z "$(of_project ps --all)$(of_project network ls)$(of_project volume ls)" ] || die "something is left after down"
say "$kind: done in $SECONDS s"
