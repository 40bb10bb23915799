# shellcheck shell=bash
# Sourced by scripts that run tests of the operator by themselves: the API server without nodes, and the backends, where test.sh has them.

# Ports and directories as the tests have them.
export QUICKSALE_BACKENDS_DIR=$CACHE/test-backends QUICKSALE_APISERVER_DIR=$CACHE/apiserver-test
export KAFKA_PORT=19092 KAFKA_CONTROLLER_PORT=19093 MONGODB_PORT=27117 REDIS_PORT=16379
export MONGODB_URI="mongodb://127.0.0.1:$MONGODB_PORT/?directConnection=true"
export KAFKA_BROKERS=127.0.0.1:$KAFKA_PORT KAFKA_TLS=false REDIS_URL=redis://127.0.0.1:$REDIS_PORT

bed_tools() { hack/tools.sh rust-build redis kafka mongodb openssl curl etcd kube-apiserver kubectl helm; }

# Starts both anew; they stop with the script.
start_bed() {
  trap stop_bed EXIT
  hack/backends.sh wipe
  hack/backends.sh start
  hack/apiserver.sh start
}

stop_bed() {
  hack/apiserver.sh stop || true
  hack/backends.sh stop || true
}

# bed_tests ARGUMENT...: runs those of the tests on the API server that run by themselves only.
bed_tests() {
  KUBECONFIG=$QUICKSALE_APISERVER_DIR/kubeconfig cargo test --locked --workspace --test apiserver -- --ignored "$@"
}
