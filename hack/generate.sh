#!/bin/bash
# Writes the files that are generated: from the Rust code the CRD, its reference, the references of the API and of the metrics, the
# list of third-party crates; what each service may do in the backends; the dashboards.
set -euo pipefail
cd "$(dirname "$0")/.."
# The same selection of packages as everywhere: another one would compile most crates for a second time.
cargo build --quiet --locked --workspace --all-targets
executables=${CARGO_TARGET_DIR:-target}/x86_64-unknown-linux-gnu/debug
"$executables/generate"
api=$("$executables/quicksale" openapi --markdown)
printf '%s\n' "$api" >docs/api.md
metrics=$("$executables/quicksale" metrics && "$executables/quicksale-operator" metrics)
printf '%s\n' "$metrics" >docs/metrics.md
rights=$(hack/rights.sh)
printf '%s\n' "$rights" >docs/backends.md
hack/dashboards.sh
crates=$(hack/notices.sh --list)
printf '%s\n' "$crates" >docs/third-party.md
