#!/bin/bash
# Writes the files that are generated from the Rust code: the CRD, its reference, the reference of the API,
# what each service may do in the backends, the list of third-party crates.
set -euo pipefail
cd "$(dirname "$0")/.."
cargo run --quiet --locked --bin generate
api=$(cargo run --quiet --locked --bin quicksale -- openapi --markdown)
printf '%s\n' "$api" >docs/api.md
rights=$(hack/rights.sh)
printf '%s\n' "$rights" >docs/backends.md
crates=$(hack/notices.sh --list)
printf '%s\n' "$crates" >docs/third-party.md
