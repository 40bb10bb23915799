#!/bin/bash
# Writes the files that are generated from the Rust types (the CRD and its reference): `make generate`.
set -euo pipefail
cd "$(dirname "$0")/.."
cargo run --quiet --locked --package crds --bin generate
