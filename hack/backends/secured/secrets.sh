# shellcheck shell=bash disable=SC2154 # the directories are set by those who source this
# Sourced by backends.sh: certificates, passwords, and the Secret that QuickSale would read, one file for each of its keys.
# The certificates and the passwords are made once and kept.

# The users and their rights: those of the chart, and one who may do everything, for whoever looks in from outside.
grants=$dir/grants.json
tls=$dir/tls
passwords=$dir/passwords
# The database of accounts that auth may use: any, because tests have one each.
accounts=

# certificate NAME EXTENSION...: a key (PKCS#8) and a certificate that the authority of this directory signs.
certificate() {
  openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout "$tls/$1.key" -out "$tls/$1.csr" -subj "/CN=$1"
  printf '%s\n' 'basicConstraints=critical,CA:false' 'keyUsage=critical,digitalSignature' "${@:2}" |
    openssl x509 -req -in "$tls/$1.csr" -CA "$tls/ca.crt" -CAkey "$tls/ca.key" -days 3650 -extfile /dev/stdin -out "$tls/$1.crt"
  cat "$tls/$1.key" "$tls/$1.crt" >"$tls/$1.pem"
  rm "$tls/$1.csr"
}

# authority NAME: the one that certificates are signed by from here on.
authority() {
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout "$tls/ca.key" -out "$tls/ca.crt" -days 3650 \
    -subj "/CN=$1" -addext 'keyUsage=critical,keyCertSign,cRLSign'
}

certificates() {
  # Written last: without it, the making was interrupted.
  [ ! -f "$tls/client.pem" ] || return 0
  authority 'QuickSale test backends'
  certificate server 'extendedKeyUsage=serverAuth,clientAuth' 'subjectAltName=DNS:localhost,IP:127.0.0.1'
  certificate client 'extendedKeyUsage=clientAuth'
}

write_grants() {
  jq '. + {inspector: {user: "inspector",
    mongodb: {sales: {"": ["find", "insert", "update", "remove", "createIndex", "dropCollection", "listCollections", "dropDatabase"]}},
    kafka: {Read: [""], Write: [""], Create: [""], Delete: [""], Describe: [""]},
    redis: {keys: ["*"], commands: ["@all"]}}}' "$REPO/charts/backends/files/grants.json" >"$grants"
}

# services BACKEND: the services that use it.
services() { jq -r --arg backend "$1" 'to_entries[] | select(.value[$backend]).key' "$grants"; }
user() { jq -r --arg service "$1" '.[$service].user' "$grants"; }
password() { cat "$passwords/$1/$2"; }

# Without the end of a line, which whoever reads the file might take for a part of it.
random_password() { printf %s "$(openssl rand -hex 12)"; }

generate_passwords() {
  local backend service
  for backend in kafka mongodb redis; do
    mkdir -p "$passwords/$backend"
    for service in $(services "$backend"); do
      [ -s "$passwords/$backend/$service" ] || random_password >"$passwords/$backend/$service"
    done
  done
}

# mongodb_uri SERVICE ADDRESS, redis_url SERVICE ADDRESS: how a service gets in there.
mongodb_uri() {
  printf 'mongodb://%s:%s@%s/?authSource=admin&directConnection=true&tls=true' "$(user "$1")" "$(password mongodb "$1")" "$2"
}
redis_url() { printf 'rediss://%s:%s@%s' "$(user "$1")" "$(password redis "$1")" "$2"; }

# key NAME: writes what is on standard input as a key of the Secret.
key() { cat >"$dir/secret.new/$1"; }

write_secret() {
  local backend service
  rm -rf "$dir/secret.new"
  mkdir "$dir/secret.new"
  for backend in KAFKA MONGODB REDIS; do
    key "${backend}_TLS_CA" <"$tls/ca.crt"
    key "${backend}_TLS_CERT" <"$tls/client.crt"
    key "${backend}_TLS_KEY" <"$tls/client.key"
  done
  printf '127.0.0.1:%s' "${KAFKA_PORT:-9092}" | key KAFKA_BROKERS
  printf true | key KAFKA_TLS
  printf SCRAM-SHA-512 | key KAFKA_SASL_MECHANISM
  for service in $(services kafka); do
    printf %s "$(user "$service")" | key "${service^^}_KAFKA_SASL_USERNAME"
    printf %s "$(password kafka "$service")" | key "${service^^}_KAFKA_SASL_PASSWORD"
  done
  for service in $(services mongodb); do
    mongodb_uri "$service" "127.0.0.1:${MONGODB_PORT:-27017}" | key "${service^^}_MONGODB_URI"
  done
  for service in $(services redis); do
    redis_url "$service" "127.0.0.1:${REDIS_PORT:-6379}" | key "${service^^}_REDIS_URL"
  done
  rm -rf "$dir/secret"
  mv "$dir/secret.new" "$dir/secret"
}

# Makes what is missing of all that.
secrets() {
  "$REPO/hack/tools.sh" openssl
  have jq || die "jq is needed: install it with your package manager"
  (
    umask 077
    mkdir -p "$tls"
    certificates
    write_grants
    generate_passwords
    write_secret
  ) >"$dir/secrets.log" 2>&1 || { tail -n 20 "$dir/secrets.log" >&2; die "the certificates could not be made"; }
}

# One data directory is not for both ways: who has no user in it cannot be let in afterwards.
is_secured() {
  if [ -d "$1/data" ] && [ ! -f "$1/secured" ]; then
    echo "$1 holds data of a backend without TLS: wipe it, or choose another QUICKSALE_BACKENDS_DIR" >>"$1/log"
    return 1
  fi
  : >"$1/secured"
}
