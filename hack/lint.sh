#!/bin/bash
# Everything that can be said about the source without running it: `make lint`.
set -euo pipefail
# shellcheck source=hack/env.sh
. "$(dirname "$0")/env.sh"
cd "$REPO"

rust_format() { cargo fmt --all --check; }
rust_lints() {
  cargo clippy --workspace --all-targets --locked -- --deny warnings
  RUSTDOCFLAGS='--deny warnings' cargo doc --workspace --no-deps --locked
}
shell_scripts() { git ls-files -z 'hack/*.sh' 'charts/*.sh' 'deploy/*.sh' 'tests/*.sh' hack/docker/runc-bounded plugins/kubectl-flashsale .ci/run | xargs -0 shellcheck; }
# The images of backends that the files of Compose name.
compose_images() { sed -n 's/^ *image: \${[A-Z]*_IMAGE:-\(docker\.io.*\)}$/\1/p' docker-compose.yml docker-compose.prod.yml | sort -u; }
charts() {
  local digest
  digest=sha256:$(printf '%064d' 0)
  helm lint --strict charts/backends
  helm lint --strict charts/backends --set flavor=sourceBuilt --set images.sourceBuilt=any
  helm lint --strict charts/quicksale
  helm lint --strict charts/quicksale --set 'watchNamespaces={one,two},networkPolicy.backendPorts={27018}' --set crds.install=false \
    --set-json 'networkPolicy.monitoringPeers=[{"namespaceSelector": {}}],networkPolicy.backendPeers=[{"ipBlock": {"cidr": "10.0.0.0/8"}}]'
  # A console that may only look has no right to write anything.
  helm lint --strict charts/quicksale --set 'console.enabled=true,console.switches=true,console.ingress.host=console.example,watchNamespaces={one}'
  [ "$(helm template charts/quicksale | grep -c quicksale-console)" = 0 ]
  [ "$(helm template charts/quicksale --set console.enabled=true | grep -c console-switches)" = 0 ]
  [ "$(helm template charts/quicksale --set 'console.enabled=true,console.switches=true' | grep -c 'name: .*console-switches$')" = 2 ]
  helm template charts/backends --set "digests.redis=$digest" | grep -q "image: docker.io/library/redis:.*@$digest"
  # Compose runs the images of the chart.
  diff <(sed -n 's/^  \(kafka\|mongodb\|redis\): \(docker\.io.*\)$/\2/p' charts/backends/values.yaml | sort) <(compose_images)
  # By default nobody's word about addresses counts.
  [ "$(helm template charts/quicksale | grep -c QUICKSALE_TRUSTED_PROXIES)" = 0 ]
  helm template charts/quicksale --set 'trustedProxies={10.0.0.0/8,fd00::/8}' | grep -q 'QUICKSALE_TRUSTED_PROXIES, value: "10.0.0.0/8,fd00::/8"'
  [ "$(helm template charts/quicksale --set "image.digest=$digest" | grep -c "quicksale:.*@$digest")" = 2 ]
  helm template charts/quicksale --set salePods.priorityClassName=high | grep -q 'QUICKSALE_SALE_PODS, value: "{\\"priorityClassName\\":\\"high\\"}"'
  # Values of a release from before there were traces, as --reuse-values brings them.
  [ "$(helm template charts/quicksale --set tracing=null,networkPolicy.collectorPeers=null | grep -c 'TRACE\|collectorPeers')" = 0 ]
  [ "$(helm template charts/quicksale --set tracing.endpoint=http://c:4318,tracing.part=null | grep -c 'QUICKSALE_TRACED_PART')" = 0 ]
  [ "$(helm template charts/quicksale --set entrances=null | grep -c 'ENTRANCES\|httproutes')" = 0 ]
  [ "$(helm template charts/quicksale --set entrances.gatewayApi=true | grep -c httproutes)" = 2 ]
  helm template charts/quicksale --set tracing.endpoint=http://c:4318,tracing.part=0.5 | grep -q 'QUICKSALE_TRACED_PART, value: "0.5"'
  helm template charts/quicksale --set tracing.endpoint=http://c:4318,tracing.part=0 | grep -q 'QUICKSALE_TRACED_PART, value: "0"'
  local wrong
  for wrong in tracing.part=1.5 tracing.part=-1 tracing.endpoint=http://:4318 tracing.endpoint=grpc://c:4318 \
    tracing.endpoint=http://c:4317 tracing.endpoint=http://c:4318/v1/traces; do
    if helm template charts/quicksale --set "$wrong" >/dev/null 2>&1; then
      echo "the chart takes $wrong" >&2
      return 1
    fi
  done
  # Whoever has a right in MongoDB is a user of the locked compose file's.
  diff <(jq -r 'to_entries[] | select(.value.mongodb) | .key' charts/backends/files/grants.json | sort) \
    <(sed -n 's|.*source: mongodb-[a-z]*, target: /passwords/\([a-z]*\)}|\1|p' docker-compose.prod.yml | sort) || {
    echo "docker-compose.prod.yml mounts other passwords into mongodb (/passwords/…) than grants.json has users" >&2
    return 1
  }
}
# What the chart gives to Prometheus and Grafana, against the files that say what is expected of it.
alerts() { hack/alerts.sh; }
# The book builds, no link in it or in a page is dead, and what it says that the product prints is printed.
docs() { hack/docs.sh; }
# Advisories, licences, sources and versions that are in the tree twice (deny.toml), and the bill of materials.
dependencies() {
  hack/advisories.sh
  cargo-deny --locked check --hide-inclusion-graph licenses bans sources
  hack/sbom.sh >/dev/null
}
# The release workflow must not have a bug that shows only at a release.
workflows() {
  actionlint -color=false
  zizmor --offline --persona pedantic --quiet .github
}
# Compares with what is there, committed or not, so that it can be run before a commit.
sums() { git ls-files --cached --others --exclude-standard -z crds charts docs | xargs -0 sha256sum; }
generated_files() {
  local before
  before=$(sums)
  hack/generate.sh
  diff <(echo "$before") <(sums) || {
    echo "generated files were not up to date, and are now: commit these changes" >&2
    return 1
  }
  # What people have applied must stay valid: docs/api-versions.md.
  "${CARGO_TARGET_DIR:-target}/x86_64-unknown-linux-gnu/debug/generate" compatible
}

checks=("$@")
[ $# -gt 0 ] || checks=(rust_format rust_lints shell_scripts charts alerts docs workflows dependencies generated_files)
for check in "${checks[@]}"; do "$check"; done
