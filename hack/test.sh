#!/bin/bash
# Everything, from formatting to the services on real backends: test.sh [STAGE...] (`make test`).
#
# Without arguments all stages run, in this order: tools format clippy generated shell charts unit integration
# faults apiserver e2e. A stage that fails does not stop the others. The last line is the sum of all tests that ran.
# `test.sh down` removes the cluster that the e2e stage leaves for the next run.
set -euo pipefail
# shellcheck source=hack/env.sh
. "$(dirname "$0")/env.sh"
cd "$REPO"
output=$(mktemp)
passed=0 failed=0 failures=()

# Ports and directories of their own, so that the tests do not meet `make dev`.
export QUICKSALE_BACKENDS_DIR=$CACHE/test-backends
export KAFKA_PORT=19092 KAFKA_CONTROLLER_PORT=19093 MONGODB_PORT=27117 REDIS_PORT=16379
export QUICKSALE_APISERVER_DIR=$CACHE/apiserver-test
export MONGODB_URI="mongodb://127.0.0.1:$MONGODB_PORT/?directConnection=true"
export KAFKA_BROKERS=127.0.0.1:$KAFKA_PORT KAFKA_TLS=false REDIS_URL=redis://127.0.0.1:$REDIS_PORT

tools() {
  hack/docker.sh start
  hack/tools.sh rust-build lint redis kafka mongodb openssl curl etcd kube-apiserver kind kubectl helm chromium
}
format() { hack/lint.sh rust_format; }
clippy() { hack/lint.sh rust_lints; }
generated() { hack/lint.sh generated_files; }
shell() { hack/lint.sh shell_scripts; }
charts() { hack/lint.sh charts; }
unit() {
  cargo test --locked --workspace --lib --bins --no-fail-fast
}
integration() {
  hack/backends.sh wipe
  hack/backends.sh start
  cargo build --locked --bin quicksale
  cargo test --locked --test integration --test front_door -- --test-threads 2
}
# These stop the backends that all tests share.
faults() {
  hack/backends.sh start
  cargo build --locked --bin quicksale
  cargo test --locked --test faults -- --test-threads 1
}
apiserver() {
  hack/backends.sh start
  hack/apiserver.sh start
  cargo build --locked --bin quicksale-operator
  KUBECONFIG=$QUICKSALE_APISERVER_DIR/kubeconfig cargo test --locked --test apiserver
  hack/apiserver.sh stop
}
# On a cluster of its own; it stays for the next run, and `hack/test.sh down` removes it.
e2e() {
  hack/backends.sh stop
  export CLUSTER=quicksale-e2e INGRESS_PORT=18080 KUBECONFIG=$CACHE/e2e-kubeconfig
  hack/up.sh
  # What failed tests of an earlier run have left would compete with this one.
  kubectl delete namespace --selector quicksale.io/made-by=tests --timeout 180s ||
    say "sales that an earlier run left are still going"
  cargo test --locked --test e2e -- --test-threads 1
}
down() { CLUSTER=quicksale-e2e KUBECONFIG=$CACHE/e2e-kubeconfig hack/down.sh; }
cleanup() {
  hack/backends.sh stop || true
  hack/apiserver.sh stop || true
  rm -f "$output"
}
trap cleanup EXIT

# count: adds up what the test runner said of itself in this stage's output.
count() {
  local ok bad
  read -r ok bad < <(sed -n 's/^test result: .*[^0-9]\([0-9]*\) passed; \([0-9]*\) failed;.*/\1 \2/p' "$output" |
    awk '{ok += $1; bad += $2} END {print ok + 0, bad + 0}')
  passed=$((passed + ok)) failed=$((failed + bad))
  [ "$bad" != 0 ]
}

# run STAGE: in a process of its own, so that `set -e` holds in it.
run() {
  local began=$SECONDS status
  printf '\n==== %s\n' "$1"
  # Behind `||` or `if`, bash would not stop a stage at its first failure.
  set +e
  (set -e; "$1") 2>&1 | tee "$output"
  status=${PIPESTATUS[0]}
  set -e
  if [ "$status" != 0 ]; then
    # A stage that failed without a failed test (a check, or a test that did not compile) is one failure.
    count || failed=$((failed + 1))
    failures+=("$1")
    printf '==== %s FAILED after %s s\n' "$1" $((SECONDS - began))
  else
    count || true
    printf '==== %s done in %s s\n' "$1" $((SECONDS - began))
  fi
}

case ${1:-} in
  -h | --help) sed -n '2,6s/^# \?//p' "$0"; exit ;;
  down) down; exit ;;
esac
stages=("$@")
[ $# -gt 0 ] || stages=(tools format clippy generated shell charts unit integration faults apiserver e2e)
for stage in "${stages[@]}"; do
  declare -F "$stage" >/dev/null || die "no stage is called $stage"
  run "$stage"
done
cleanup
trap - EXIT

printf '\n'
[ ${#failures[@]} = 0 ] || printf 'failed: %s\n' "${failures[*]}"
[ "$passed" != 0 ] || failed=$((failed + 1))
printf '%s passed, %s failed\n' "$passed" "$failed"
[ "$failed" = 0 ]
