# shellcheck shell=bash
# Sourced by the Go builds beside it: a throw-away module in which other modules' commands are built with the
# versions and replacements that those modules ask for.

command -v go >/dev/null || { echo "Go 1.26 or newer is needed to build this: install it from https://go.dev/dl" >&2; exit 1; }

# new_module NAME: an empty module to work in.
new_module() {
  work=$(mktemp -d)
  trap 'rm -rf "$work"' EXIT
  cd "$work" || exit
  printf 'module %s\ngo 1.26\n' "$1" >go.mod
}

# module_source MODULE@VERSION: where its downloaded source is.
module_source() {
  local answer
  # Why it could not be downloaded go writes into its answer.
  answer=$(go mod download -json "$1") || { printf 'cannot download %s: %s\n' "$1" "$answer" >&2; return 1; }
  sed -n 's/.*"Dir": "\(.*\)".*/\1/p' <<<"$answer"
}

# import_commands PACKAGE...: makes the module depend on them.
import_commands() {
  { printf '//go:build tools\npackage tools\nimport (\n'; printf '_ "%s"\n' "$@"; printf ')\n'; } >tools.go
  go mod tidy
}

static_build() { CGO_ENABLED=0 go build -trimpath "$@"; }
