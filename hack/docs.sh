#!/bin/bash
# The documentation as a book for a browser (`make docs`), or what can be said about it without building it:
#   docs.sh [build [DIR]]  checks it, builds it into DIR (the cache's docs, when left out), and checks what was built
#   docs.sh check          links, table of contents, and the sentences that docs/troubleshooting.md quotes
# The pages stay where they are and are read there as well, so the book is put together beside them: docs/ and the pages at
# the root of the repository, in the same places, so that their links lead to each other in both.
set -euo pipefail
# shellcheck source=hack/env.sh
. "$(dirname "$0")/env.sh"
cd "$REPO"

check() { python3 hack/docs/check.py; }

# The links of docs/SUMMARY.md begin in docs/, those of the book at the repository's root.
contents() { sed -E 's#\]\(([^)]*)\)#](docs/\1)#; s#\]\(docs/\.\./#](#' docs/SUMMARY.md; }

# gather DIR: what the book is made of.
gather() {
  local page
  cp docs/book.toml "$1/"
  contents >"$1/SUMMARY.md"
  sed -nE 's#.*\]\(([^)]*)\).*#\1#p' "$1/SUMMARY.md" | while IFS= read -r page; do
    mkdir -p "$1/$(dirname "$page")"
    cp "$page" "$1/$page"
  done
  cp -R docs/images docs/book.css "$1/docs/"
}

# What pages of the book lead to and is no page: files come along, of folders their list.
bring_the_rest() {
  local pages=$1 book=$2 path
  python3 hack/docs/check.py rest "$pages" | while IFS= read -r path; do
    if [ -d "$path" ]; then
      mkdir -p "$book/$path"
      { printf '<!doctype html><meta charset="utf-8"><title>%s</title><p>In the repository, %s has:<ul>\n' "$path" "$path"
        git ls-files "$path" | sed 's#.*#<li>&#'; } >"$book/$path/index.html"
    else
      install -D -m644 "$path" "$book/$path"
    fi
  done
}

build() {
  local book=$1 work log=$CACHE/logs/docs.log
  hack/tools.sh docs
  check
  work=$(mktemp -d)
  # shellcheck disable=SC2064 # its name is known now
  trap "rm -rf '$work'" EXIT
  gather "$work"
  mkdir -p "$book" "$CACHE/logs"
  mdbook build --dest-dir "$book" "$work" >"$log" 2>&1 || { cat "$log" >&2; die "mdbook could not build the book"; }
  ! grep -E 'WARN|ERROR' "$log" >&2 || die "mdbook is not content with the book"
  rm -f "$book/book.toml" # it takes along all that is no page
  bring_the_rest "$work" "$book"
  python3 hack/docs/check.py book "$book"
  say "the book is $book/index.html"
}

case ${1:-build} in
  check) check ;;
  build) build "$(realpath -m "${2:-$CACHE/docs}")" ;;
  *) die "usage: hack/docs.sh [build [DIR] | check]" ;;
esac
