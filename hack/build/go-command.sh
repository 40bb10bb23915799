#!/bin/bash
# Builds one Go command as its authors release it: go-command.sh DIR PACKAGE VERSION
set -euo pipefail
[ "$1" = --describe ] && { echo "building $2 (1 to 2 min)"; exit; }
command -v go >/dev/null || { echo "Go 1.26 or newer is needed to build $2: install it, or install the command itself" >&2; exit 1; }
GOBIN=$1 CGO_ENABLED=0 go install -trimpath -ldflags "-s -w" "$2@$3"
