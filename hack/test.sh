#!/bin/bash
# Everything, from formatting to a sale on a kind cluster: test.sh [STAGE...] (`make test`).
#
# Without arguments all stages run, in this order: tools format clippy shell charts alerts workflows docs dependencies unit
# generated fuzz integration faults apiserver compose e2e. A stage that fails does not stop the others. A test that fails runs once
# more, alone, unless it is one of safety (hack/test/books.sh); where it then passes it is called FLAKY, and fails nothing. The
# last lines are the time of each stage, and the sum of all tests that ran.
# `test.sh down` removes the cluster that the e2e stage leaves for the next run.
set -euo pipefail
# shellcheck source=hack/env.sh
. "$(dirname "$0")/env.sh"
cd "$REPO"
# shellcheck source=hack/test/books.sh
. hack/test/books.sh
failures=()

# Ports and directories of their own, so that the tests do not meet `make dev`.
export QUICKSALE_BACKENDS_DIR=$CACHE/test-backends
export KAFKA_PORT=19092 KAFKA_CONTROLLER_PORT=19093 MONGODB_PORT=27117 REDIS_PORT=16379
export QUICKSALE_APISERVER_DIR=$CACHE/apiserver-test
export MONGODB_URI="mongodb://127.0.0.1:$MONGODB_PORT/?directConnection=true"
export KAFKA_BROKERS=127.0.0.1:$KAFKA_PORT KAFKA_TLS=false REDIS_URL=redis://127.0.0.1:$REDIS_PORT
# Where the executables of a debug build are: the tests start them, and the cluster's image holds them.
executables=${CARGO_TARGET_DIR:-$REPO/target}/x86_64-unknown-linux-gnu/debug

# The plain and the secured ones share their ports, so only one of the two runs at a time.
stop_backends() {
  hack/backends.sh stop
  QUICKSALE_BACKENDS_DIR=$QUICKSALE_BACKENDS_DIR-secured hack/backends.sh stop
}

tools() {
  check_safety_list
  needs_room "$([ -d "$executables" ] && echo 3 || echo 12)" "make test"
  hack/docker.sh start
  hack/tools.sh rust-build lint redis kafka mongodb openssl curl etcd kube-apiserver kind kubectl helm compose chromium axe rotel schemathesis
}
format() { hack/lint.sh rust_format; }
clippy() { hack/lint.sh rust_lints; }
docs() { hack/lint.sh docs; }
generated() { hack/lint.sh generated_files; }
shell() {
  hack/lint.sh shell_scripts
  hack/test/try-books.sh
}
charts() { hack/lint.sh charts; }
alerts() { hack/lint.sh alerts; }
workflows() { hack/lint.sh workflows; }
dependencies() { hack/lint.sh dependencies; }
# The one build: every executable and every test, with one selection of packages and features, so that no crate is
# compiled for a second time later.
unit() {
  cargo build --locked --workspace --all-targets
  tests --workspace --lib --bins
}
# Generated strange input, for so many seconds each; `hack/fuzz.sh SECONDS` goes on for longer.
fuzz() { NO_SECOND_TRY=yes QUICKSALE_FUZZ_SECONDS=${QUICKSALE_FUZZ_SECONDS:-30} tests --workspace --test fuzz; }
# On backends that ask for TLS, a certificate and a password, where each service is a user with the rights that
# charts/backends/files/grants.json gives it and no others.
integration() {
  # The first asks as much as it can, and others are told that the system is busy. The second has Redis forget all scripts, which others
  # would bring back.
  local alone=(document::every_route_answers_as_its_document_says gate::a_redis_that_has_just_begun_anew_refuses_no_repeat)
  stop_backends
  export QUICKSALE_BACKENDS_SECURED=yes QUICKSALE_BACKENDS_DIR=$QUICKSALE_BACKENDS_DIR-secured KAFKA_BROKERS_PORT=19094
  unset MONGODB_URI KAFKA_BROKERS KAFKA_TLS REDIS_URL
  QUICKSALE_AXE=$(built_dir "${AXE_BUILD[@]}")/axe.min.js
  export QUICKSALE_AXE
  QUICKSALE_ROTEL=$(built_dir "${ROTEL_BUILD[@]}")/rotel-agent
  export QUICKSALE_ROTEL
  QUICKSALE_SCHEMATHESIS=$(built_dir "${SCHEMATHESIS_BUILD[@]}")/schemathesis
  export QUICKSALE_SCHEMATHESIS
  hack/backends.sh wipe
  hack/backends.sh start
  tests --workspace --test integration --test accounts --test front_door -- --test-threads 2 "${alone[@]/#/--skip=}"
  tests --workspace --test integration -- --test-threads 1 "${alone[@]}"
}
# Each of these has backends of its own, and kills them; those of a run that was killed itself are still there.
faults() {
  local left
  stop_backends
  for left in "$QUICKSALE_BACKENDS_DIR"-own/*/; do
    [ -d "$left" ] || continue
    QUICKSALE_BACKENDS_DIR=$left hack/backends.sh kill
    rm -rf "$left"
  done
  tests --workspace --test faults -- --test-threads 2
  # By itself: it measures how long buyers wait.
  tests --workspace --test hostile
}
apiserver() {
  stop_backends
  hack/backends.sh start
  hack/apiserver.sh start
  QUICKSALE_GATEWAY_API_CRDS=$(built "${GATEWAY_API_BUILD[@]}")
  export QUICKSALE_GATEWAY_API_CRDS
  KUBECONFIG=$QUICKSALE_APISERVER_DIR/kubeconfig tests --workspace --test apiserver
  # Each by itself, on a server that holds nothing else: one has an operator of its own, the other counts what the operator asks for.
  hack/apiserver.sh start
  KUBECONFIG=$QUICKSALE_APISERVER_DIR/kubeconfig tests --workspace --test apiserver -- --ignored unwell::
  hack/apiserver.sh start
  KUBECONFIG=$QUICKSALE_APISERVER_DIR/kubeconfig tests --workspace --test apiserver -- --ignored many::
  hack/apiserver.sh stop
}
# Both files of Docker Compose, each of which starts, sells out and goes. That is about safety: there is no second try.
compose() {
  local kind result=0
  stop_backends
  cargo build --locked --workspace --all-targets
  for kind in dev prod; do
    if QUICKSALE_IMAGE_FROM=$executables hack/test/compose.sh $kind; then
      note passed 1
    else
      note failed 1
      note lost "docker-compose, $kind"
      result=1
    fi
  done
  return $result
}
# On a cluster of its own; it stays for the next run, and `hack/test.sh down` removes it.
e2e() {
  stop_backends
  export CLUSTER=quicksale-e2e INGRESS_PORT=18080 KUBECONFIG=$CACHE/e2e-kubeconfig
  cargo build --locked --workspace --all-targets
  OBSERVE=1 GATEWAY_API=1 QUICKSALE_IMAGE_FROM=$executables hack/up.sh
  # Whether the cluster enforces policies, as hack/cluster.sh found out.
  NETWORK_POLICIES=$(cat "$CACHE/network-$CLUSTER" 2>/dev/null || echo enforced)
  export NETWORK_POLICIES
  # What failed tests of an earlier run have left would compete with this one.
  kubectl delete namespace --selector quicksale.io/made-by=tests --timeout 180s ||
    say "sales that an earlier run left are still going"
  tests --workspace --test e2e -- --test-threads 1
}
down() { CLUSTER=quicksale-e2e KUBECONFIG=$CACHE/e2e-kubeconfig hack/down.sh; }
cleanup() {
  stop_backends || true
  hack/apiserver.sh stop || true
  forget_go_build
  rm -rf "$books"
}
trap cleanup EXIT

# run STAGE: in a process of its own, so that `set -e` holds in it.
run() {
  local began=$SECONDS status before
  before=$(sum failed)
  printf '\n==== %s\n' "$1"
  # Behind `||` or `if`, bash would not stop a stage at its first failure.
  set +e
  (set -e; "$1") 2>&1
  status=$?
  set -e
  note times "$(printf '%-12s %5s s' "$1" $((SECONDS - began)))"
  if [ "$status" = 0 ]; then
    printf '==== %s done in %s s\n' "$1" $((SECONDS - began))
    return
  fi
  # A stage that failed without a failed test (a check, or a test that did not compile) is one failure.
  [ "$(sum failed)" != "$before" ] || note failed 1
  failures+=("$1")
  printf '==== %s FAILED after %s s\n' "$1" $((SECONDS - began))
}

case ${1:-} in
  -h | --help) sed -n '2,8s/^# \?//p' "$0"; exit ;;
  down) down; exit ;;
esac
stages=("$@")
[ $# -gt 0 ] || stages=(tools format clippy shell charts alerts workflows docs dependencies unit generated fuzz integration faults apiserver compose e2e)
for stage in "${stages[@]}"; do
  declare -F "$stage" >/dev/null || die "no stage is called $stage"
  run "$stage"
done

printf '\n==== times\n'
cat "$books/times"
printf '%-12s %5s s\n' 'in all' "$SECONDS"
[ ! -s "$books/flaky" ] || { printf '\n==== FLAKY: failed once, and passed alone\n'; cat "$books/flaky"; }
[ ! -s "$books/lost" ] || { printf '\n==== failed tests\n'; cat "$books/lost"; }
[ ${#failures[@]} = 0 ] || printf '\nfailed stages: %s\n' "${failures[*]}"
passed=$(sum passed) failed=$(sum failed)
[ "$passed" != 0 ] || failed=$((failed + 1))
cleanup
trap - EXIT
printf '\n%s passed, %s failed\n' "$passed" "$failed"
[ "$failed" = 0 ]
