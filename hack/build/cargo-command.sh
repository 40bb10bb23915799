#!/bin/bash
# Builds one Rust command as its authors release it: cargo-command.sh DIR PACKAGE VERSION [FEATURES]
# FEATURES, comma-separated, are then all that it has.
set -euo pipefail
[ "$1" = --describe ] && { echo "building $2 (1 to 3 min)"; exit; }
command -v cargo >/dev/null || { echo "Rust is needed to build $2: install it from https://rustup.rs, or install the command itself" >&2; exit 1; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work" # outside of any repository, whose build settings are not meant for it
features=()
[ $# -lt 4 ] || features=(--no-default-features --features "$4")
CARGO_TARGET_DIR=$work/target cargo install --locked --version "$3" "${features[@]}" --root "$work/root" "$2"
install -m755 "$work"/root/bin/* "$1/"
