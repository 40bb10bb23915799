#!/bin/bash
# Writes the files that are generated from the Rust code: the CRD, its reference, the reference of the API.
set -euo pipefail
cd "$(dirname "$0")/.."
cargo run --quiet --locked --bin generate
api=$(cargo run --quiet --locked --bin quicksale -- openapi --markdown)
printf '%s\n' "$api" >docs/api.md
