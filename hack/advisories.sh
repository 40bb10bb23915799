#!/bin/bash
# Checks Cargo.lock against the RustSec advisory database: advisories.sh. Or advisories.sh refresh: takes all of it that
# concerns the crates in Cargo.lock into hack/advisories.
#
# The database is fetched. Where it cannot be, the piece in hack/advisories is used, and said to be.
set -euo pipefail
# shellcheck source=hack/env.sh
. "$(dirname "$0")/env.sh"
database=https://github.com/RustSec/advisory-db
snapshot=$REPO/hack/advisories
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

crates() { sed -n 's/^name = "\(.*\)"$/\1/p' "$REPO/Cargo.lock" | sort -u; }

refresh() {
  local clone=$work/clone crate
  git clone --quiet --depth 1 "$database" "$clone"
  rm -rf "$snapshot/crates"
  crates | while read -r crate; do
    [ ! -d "$clone/crates/$crate" ] || install -D -m644 -t "$snapshot/crates/$crate" "$clone/crates/$crate"/RUSTSEC-*.md
  done
  cat >"$snapshot/README.md" <<X
# A pinned piece of the RustSec advisory database
What \`hack/advisories.sh\` gives to cargo-deny where <$database> cannot be fetched: all that
it had on the crates of \`Cargo.lock\` in the state of $(git -C "$clone" log -1 --format=%cs) (CC0-1.0, or CC-BY-4.0 where an advisory says so).
X
}

# as_database DIR: the snapshot as the repository that cargo-deny fetches.
as_database() {
  cp -r "$snapshot/crates" "$1/"
  git -C "$1" -c init.defaultBranch=main init --quiet
  git -C "$1" add crates
  git -C "$1" -c user.name=snapshot -c user.email=snapshot@localhost -c commit.gpgsign=false commit --quiet --message snapshot
}

check() {
  if timeout 20 git ls-remote --quiet --exit-code "$database" HEAD >/dev/null 2>&1; then
    cargo-deny --locked check --hide-inclusion-graph advisories
    return
  fi
  say "the advisory database cannot be fetched: $(grep -o 'state of [-0-9]*' "$snapshot/README.md"), from hack/advisories"
  mkdir "$work/snapshot"
  as_database "$work/snapshot"
  sed "/^\[advisories\]/a db-path = \"$work/databases\"" deny.toml >"$work/deny.toml"
  GIT_CONFIG_COUNT=1 GIT_CONFIG_KEY_0=url.file://$work/snapshot.insteadOf GIT_CONFIG_VALUE_0=$database \
    cargo-deny --locked --config "$work/deny.toml" check --hide-inclusion-graph advisories
}

cd "$REPO"
case ${1:-} in
  '') check ;;
  refresh) refresh ;;
  *) die "usage: hack/advisories.sh [refresh]" ;;
esac
