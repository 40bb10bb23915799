#!/bin/bash
# Makes a Docker daemon answer: docker.sh start|stop
#
# Where one answers already, it is used. Otherwise dockerd is started in the background and stays until `stop`, which
# never touches a daemon that this script did not start.
set -euo pipefail
# shellcheck source=hack/env.sh
. "$(dirname "$0")/env.sh"
# shellcheck source=hack/process.sh
. "$REPO/hack/process.sh"
dir=$CACHE/docker

# can CAPABILITY_BIT: whether this host may give that capability to a process.
can() { (((0x$(sed -n 's/^CapBnd:[[:space:]]*//p' /proc/self/status) >> $1) & 1)); }

# forget PID_FILE COMMAND: removes what a daemon that was killed left behind, which would keep the next one from starting
# once its pid belongs to another process.
forget() {
  [ -f "$1" ] || return 0
  [ "$(cat "/proc/$(<"$1")/comm" 2>/dev/null)" = "$2" ] || rm -f "$1"
}

start() {
  ! docker info >/dev/null 2>&1 || return 0
  "$REPO/hack/tools.sh" docker
  ! docker info >/dev/null 2>&1 || return 0
  [ "$(id -u)" = 0 ] || die "no Docker daemon answers; start it (for instance: sudo systemctl start docker), and see that you may use it (docker info)"
  local arguments=()
  local cap_sys_resource=24
  if ! can $cap_sys_resource; then
    arguments=(--add-runtime "bounded=$REPO/hack/docker/runc-bounded" --default-runtime bounded)
  fi
  if ! running "$dir" >/dev/null; then
    forget /var/run/docker.pid dockerd
    forget /var/run/docker/containerd/containerd.pid containerd
    : >"$dir/log"
    launch "$dir" dockerd "${arguments[@]}"
  fi
  await "$dir" 60 dockerd docker info
  say "started a Docker daemon; its log is $dir/log"
}

mkdir -p "$dir"
exec 8>"$dir/lock"
flock 8
case ${1:-} in
  start) start ;;
  stop) end "$dir" TERM 30 ;;
  *) die "usage: hack/docker.sh start|stop" ;;
esac
