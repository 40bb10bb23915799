#!/bin/bash
# Makes what docker-compose.prod.yml reads as secrets, each a file: compose-secrets.sh [DIR] (deploy/compose/secrets)
#
# A password for each user of a backend and for the administrator, and certificates of an authority of their own. What is
# there stays; whatever follows from it is written anew. The authority's key is thrown away: for other certificates delete
# DIR/tls, and all of them are made again.
# From the environment: ADMIN_EMAIL (admin@quicksale.local), for the first run.
set -euo pipefail
# shellcheck source=hack/env.sh
. "$(dirname "$0")/env.sh"
dir=${1:-$REPO/deploy/compose/secrets}
for file in secrets kafka redis; do
  # shellcheck source=/dev/null
  . "$REPO/hack/backends/secured/$file.sh"
done
grants=$REPO/charts/backends/files/grants.json
tls=$dir/tls

certificates() {
  local name
  # Written last: without it, the making was interrupted.
  [ ! -f "$tls/client.pem" ] || return 0
  rm -rf "$tls"
  mkdir "$tls"
  authority 'QuickSale backends'
  for name in kafka mongodb redis; do
    certificate "$name" 'extendedKeyUsage=serverAuth,clientAuth' "subjectAltName=DNS:$name,DNS:localhost"
  done
  certificate client 'extendedKeyUsage=clientAuth'
}

make_all() {
  local service
  umask 077
  mkdir -p "$dir" "$dir/mongodb-uri" "$dir/redis-url" "$dir/administrator"
  certificates
  rm -f "$tls/ca.key"
  generate_passwords
  [ -s "$dir/mongodb-replica-set-key" ] || openssl rand -hex 32 >"$dir/mongodb-replica-set-key"
  [ -s "$dir/administrator/email" ] || printf %s "${ADMIN_EMAIL:-admin@quicksale.local}" >"$dir/administrator/email"
  [ -s "$dir/administrator/password" ] || random_password >"$dir/administrator/password"
  kafka_logins >"$dir/kafka-users"
  kafka_acls >"$dir/kafka-acls"
  redis_users >"$dir/redis-users"
  for service in $(services mongodb); do mongodb_uri "$service" mongodb:27017 >"$dir/mongodb-uri/$service"; done
  for service in $(services redis); do redis_url "$service" redis:6379 >"$dir/redis-url/$service"; done
  # Containers get single files, and their user is another one than the owner here. Nobody else gets into the directory.
  chmod 700 "$dir"
  find "$dir" -mindepth 1 -type f -exec chmod 644 {} +
}

"$REPO/hack/tools.sh" openssl
have jq || die "jq is needed: install it with your package manager"
mkdir -p "$dir"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
(make_all) >"$log" 2>&1 || { tail -n 20 "$log" >&2; die "the secrets could not be made in $dir"; }
say "secrets are in $dir; the administrator is $(cat "$dir/administrator/email"), the password is in administrator/password there"
