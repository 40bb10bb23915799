#!/bin/bash
# Builds the etcd server from its Go module: etcd.sh DIR VERSION
set -euo pipefail
[ "$1" = --describe ] && { echo "building etcd (about 1 min)"; exit; }
. "$(dirname "$0")/go-module.sh"

new_module etcd
go get "go.etcd.io/etcd/server/v3@$2"
import_commands go.etcd.io/etcd/server/v3
static_build -ldflags "-s -w" -o "$1/etcd" go.etcd.io/etcd/server/v3
