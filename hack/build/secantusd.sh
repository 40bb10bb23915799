#!/bin/bash
# Builds secantusd, which speaks the MongoDB protocol and stands in where no mongod can be had: secantusd.sh DIR VERSION
set -euo pipefail
[ "$1" = --describe ] && { echo "building the MongoDB-compatible server secantusd (about 7 min)"; exit; }
command -v cargo >/dev/null || { echo "Rust is needed to build secantusd: install it from https://rustup.rs" >&2; exit 1; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work" # outside of any repository, whose build settings are not meant for it
CARGO_TARGET_DIR=$work/target cargo install --locked --ignore-rust-version --version "$2" --bin secantusd-rs --root "$work/root" secantus-mdb
install -m755 "$work/root/bin/secantusd-rs" "$1/secantusd"
