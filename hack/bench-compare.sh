#!/bin/bash
# Measures two commits in turns, A B B A, each on empty backends: bench-compare.sh A B [ARGUMENT...] (`make bench-compare A=… B=…`).
# The arguments go to the load generator. One run alone says little: a machine that others share is now faster and now slower by a third.
set -euo pipefail
# A build that fails in $(…) ends the script.
shopt -s inherit_errexit
# shellcheck source=hack/env.sh
. "$(dirname "$0")/env.sh"

if [ -z "${1:-}" ] || [ -z "${2:-}" ]; then
  die "name two commits: make bench-compare A=v1.0.0 B=main"
fi
one=$1 other=$2
shift 2
results=$CACHE/bench-compare
tree=$results/tree
mkdir -p "$results"
"$REPO/hack/tools.sh" rust-build
have jq || die "jq is missing: apt-get install jq"

# build COMMIT: its services, once; prints the name of the file. Deps are shared with the builds of this directory.
build() {
  local commit
  commit=$(git -C "$REPO" rev-parse --verify --quiet "$1^{commit}") || die "there is no commit $1"
  local file=$results/quicksale-${commit:0:12}
  if [ ! -x "$file" ]; then
    say "building $1 (some minutes)"
    git -C "$REPO" worktree prune
    [ -d "$tree" ] || git -C "$REPO" worktree add --quiet --detach "$tree" "$commit"
    git -C "$tree" checkout --quiet --detach "$commit"
    (cd "$tree" && CARGO_TARGET_DIR=$results/target cargo build --release --locked --bin quicksale >&2)
    cp "$results/target/x86_64-unknown-linux-gnu/release/quicksale" "$file"
  fi
  printf '%s\n' "$file"
}

a=$(build "$one")
b=$(build "$other")
for turn in a1:$a b1:$b b2:$b a2:$a; do
  say "turn ${turn%%:*}"
  QUICKSALE_BUILD=${turn#*:} "$REPO/hack/bench.sh" "$@" --out "$results/${turn%%:*}"
done
jq --raw-output --null-input --slurpfile a1 "$results/a1/results.json" --slurpfile a2 "$results/a2/results.json" \
  --slurpfile b1 "$results/b1/results.json" --slurpfile b2 "$results/b2/results.json" --arg a "$one" --arg b "$other" '
  def spread: if add == 0 then 0 else (max - min) / (add / length) * 100 | round end;
  def cpu($process): .cpu_s_per_1000[$process];
  def row($name; $what; of):
    [$a1[0], $a2[0]] as $before | [$b1[0], $b2[0]] as $after
    | [$before[][] | select(.name == $name) | of | select(. != null)] as $x
    | [$after[][] | select(.name == $name) | of | select(. != null)] as $y
    | select(($x | length) == 2 and ($y | length) == 2 and ($x | add) > 0)
    | "| \($name) | \($what) | \($x | join(", ")) | \($y | join(", ")) | \(($y | add) / ($x | add) * 100 | round / 100) | \($x | spread) %, \($y | spread) % |";
  "| scenario | what | \($a) | \($b) | ratio | spread |\n|---|---|---|---|---|---|",
  ($a1[0][].name as $name
    | row($name; "accepted/s"; .accepted_per_s), row($name; "confirmed/s"; .confirmed_per_s),
      row($name; "refused/s"; .refused_per_s), row($name; "accept p99 ms"; .accept_p99_ms),
      row($name; "terminal p99 ms"; .terminal_p99_ms), row($name; "services, CPU s per 1,000"; cpu("quicksale")),
      row($name; "database, CPU s per 1,000"; cpu("mongodb")))'
