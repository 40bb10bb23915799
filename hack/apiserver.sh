#!/bin/bash
# A real Kubernetes API server on loopback, without nodes: apiserver.sh start|stop|status
#
# etcd and kube-apiserver run with fresh data at each start: real CRD validation, CEL, server-side apply, RBAC and leases,
# ready within seconds. From the environment:
#   QUICKSALE_APISERVER_DIR (data, logs, and the administrator's kubeconfig)
#   APISERVER_PORT (16443)  ETCD_PORT (12379)  ETCD_PEER_PORT (12380)
set -euo pipefail
# shellcheck source=hack/env.sh
. "$(dirname "$0")/env.sh"
# shellcheck source=hack/process.sh
. "$REPO/hack/process.sh"

dir=${QUICKSALE_APISERVER_DIR:-$CACHE/apiserver-test}
port=${APISERVER_PORT:-16443} etcd=${ETCD_PORT:-12379} peer=${ETCD_PEER_PORT:-12380}
kubeconfig=$dir/kubeconfig

stop() {
  end "$dir/kube-apiserver" TERM 5
  end "$dir/etcd" TERM 5
}

etcd_answers() { curl --fail --silent --max-time 2 "http://127.0.0.1:$etcd/health" | grep -q '"true"'; }

start_etcd() {
  # The data is thrown away at each start, so it need not be safe on the disk.
  launch "$dir/etcd" etcd --data-dir "$dir/etcd/data" --unsafe-no-fsync --log-level warn \
    --listen-client-urls "http://127.0.0.1:$etcd" --advertise-client-urls "http://127.0.0.1:$etcd" \
    --listen-peer-urls "http://127.0.0.1:$peer" --initial-advertise-peer-urls "http://127.0.0.1:$peer" \
    --initial-cluster "default=http://127.0.0.1:$peer"
  await "$dir/etcd" 30 etcd etcd_answers
}

apiserver_answers() {
  curl --fail --silent --max-time 2 --cacert "$dir/kube-apiserver/certs/apiserver.crt" \
    --header "Authorization: Bearer $token" "https://127.0.0.1:$port/readyz"
}

start_apiserver() {
  local home=$dir/kube-apiserver
  token=$(openssl rand -hex 16)
  openssl genrsa -out "$home/service-accounts.key" 2048 2>/dev/null
  printf '%s,administrator,administrator,"system:masters"\n' "$token" >"$home/tokens.csv"
  launch "$home" kube-apiserver --etcd-servers "http://127.0.0.1:$etcd" \
    --bind-address 127.0.0.1 --advertise-address 127.0.0.1 --secure-port "$port" --cert-dir "$home/certs" \
    --authorization-mode RBAC --token-auth-file "$home/tokens.csv" --service-cluster-ip-range 10.96.0.0/16 \
    --service-account-issuer https://kubernetes.default.svc --service-account-key-file "$home/service-accounts.key" \
    --service-account-signing-key-file "$home/service-accounts.key" \
    --endpoint-reconciler-type none --disable-admission-plugins ServiceAccount --profiling=false
  await "$home" 90 kube-apiserver apiserver_answers
}

write_kubeconfig() {
  (
    umask 077
    cat >"$kubeconfig" <<X
apiVersion: v1
kind: Config
clusters:
- name: test
  cluster:
    server: https://127.0.0.1:$port
    certificate-authority-data: $(base64 -w0 "$dir/kube-apiserver/certs/apiserver.crt")
users:
- name: administrator
  user: {token: $token}
contexts:
- name: test
  context: {cluster: test, user: administrator}
current-context: test
X
  )
}

start() {
  "$REPO/hack/tools.sh" etcd kube-apiserver openssl curl
  stop
  rm -rf "${dir:?}"/{etcd,kube-apiserver}
  mkdir -m 700 "$dir"/{etcd,kube-apiserver}
  for taken in "$port" "$etcd" "$peer"; do
    ! listening "$taken" || die "port $taken is taken by another process: stop that one, or choose another port (see the head of hack/apiserver.sh)"
  done
  start_etcd
  start_apiserver
  write_kubeconfig
  say "Kubernetes API server answering on https://127.0.0.1:$port; KUBECONFIG=$kubeconfig"
}

mkdir -p "$dir"
exec 8>"$dir/lock"
[ "${1:-}" = status ] || flock 8
case ${1:-} in
  start) start ;;
  stop) stop ;;
  status)
    running "$dir/kube-apiserver" >/dev/null || { echo "not running"; exit 1; }
    echo "running; KUBECONFIG=$kubeconfig"
    ;;
  *) die "usage: hack/apiserver.sh start|stop|status" ;;
esac
