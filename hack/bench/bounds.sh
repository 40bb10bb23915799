# shellcheck shell=bash
# Sourced by hack/bench.sh: how much CPU and memory the processes of the services have, each for itself.
#
#   QUICKSALE_CPU   cores that each process may use at the most, as a pod's limit says: 0.1 for all of them, 0.1,processor=0.3 where one
#                   service has more. It takes a user who may make control groups, such as root. No less than 0.05.
#   QUICKSALE_MEMORY  megabytes that each process may have at the most, in the same form: 256, or 256,auth=512. One that needs more is killed,
#                   as a pod is, and the run fails.
#   QUICKSALE_PIN   the core that each process runs on: 0, or gateway=0,order=1. Others run there as well, so it bounds less.

# In a period of so many microseconds a process may use its part, and then stands still until the next one. Kubernetes has 100 ms; of a
# twentieth of a core that would be five milliseconds of work and 95 of standing still.
CPU_PERIOD=20000

# setting LIST SERVICE: what a list says of a service, or else of all; nothing where it says nothing.
setting() {
  local parts part of_all='' of_it=''
  IFS=, read -ra parts <<<"$1"
  for part in "${parts[@]}"; do
    case $part in
      "$2="*) of_it=${part#*=} ;;
      *=*) ;;
      *) of_all=$part ;;
    esac
  done
  echo "${of_it:-$of_all}"
}

# cpu_groups: where control groups are made that bound CPU, and of which version they are; fails where there are none.
cpu_groups() {
  if [ -f /sys/fs/cgroup/cpu/cpu.cfs_quota_us ]; then
    echo "/sys/fs/cgroup/cpu 1"
  elif grep -qw cpu /sys/fs/cgroup/cgroup.controllers 2>/dev/null; then
    echo "/sys/fs/cgroup 2"
  else
    return 1
  fi
}

# cpu_group NAME CORES: makes a group that may use so many cores, and prints its directory.
cpu_group() {
  local mount version group quota
  quota=$(awk -v cores="$2" -v period="$CPU_PERIOD" 'BEGIN { quota = int(cores * period); print quota < 1000 ? 1000 : quota }')
  read -r mount version <<<"$(cpu_groups)"
  group=$mount/quicksale-bench/$1
  {
    if [ "$version" = 2 ]; then
      echo +cpu >"$mount/cgroup.subtree_control"
      mkdir -p "$mount/quicksale-bench"
      echo +cpu >"$mount/quicksale-bench/cgroup.subtree_control"
    fi
    mkdir -p "$group"
    if [ "$version" = 2 ]; then
      echo "$quota $CPU_PERIOD" >"$group/cpu.max"
    else
      echo "$CPU_PERIOD" >"$group/cpu.cfs_period_us"
      echo "$quota" >"$group/cpu.cfs_quota_us"
    fi
  } 2>/dev/null || die "QUICKSALE_CPU: no control group that bounds CPU can be made in ${mount:-/sys/fs/cgroup}. Run this as root on a machine with the cpu controller, or keep processes on cores with QUICKSALE_PIN"
  echo "$group"
}

# memory_group NAME MEGABYTES: makes a group that may have so much memory, and prints its directory.
memory_group() {
  local mount=/sys/fs/cgroup file=memory.max group
  [ ! -d /sys/fs/cgroup/memory ] || mount=/sys/fs/cgroup/memory file=memory.limit_in_bytes
  group=$mount/quicksale-bench/$1
  {
    if [ "$file" = memory.max ]; then
      echo +memory >"$mount/cgroup.subtree_control"
      mkdir -p "$mount/quicksale-bench"
      echo +memory >"$mount/quicksale-bench/cgroup.subtree_control"
    fi
    mkdir -p "$group"
    echo $(($2 * 1024 * 1024)) >"$group/$file"
  } 2>/dev/null || die "QUICKSALE_MEMORY: no control group that bounds memory can be made in $mount. Run this as root on a machine with the memory controller"
  echo "$group"
}

# forget_groups: removes them, once their processes are gone.
forget_groups() {
  local mount
  for mount in /sys/fs/cgroup /sys/fs/cgroup/cpu /sys/fs/cgroup/memory; do
    [ -d "$mount/quicksale-bench" ] || continue
    find "$mount/quicksale-bench" -depth -type d -exec rmdir {} + 2>/dev/null || true
  done
}

# launch_bounded DIR SERVICE NAME COMMAND...: launches it within what was set for its service.
launch_bounded() {
  local dir=$1 service=$2 name=$3 cores megabytes group command
  command=("${@:4}")
  cores=$(setting "${QUICKSALE_PIN:-}" "$service")
  if [ -n "$cores" ]; then
    have taskset || die "QUICKSALE_PIN: taskset is missing (util-linux)"
    command=(taskset --cpu-list "$cores" "${command[@]}")
  fi
  cores=$(setting "${QUICKSALE_CPU:-}" "$service")
  if [ -n "$cores" ]; then
    group=$(cpu_group "$name" "$cores")
    # It is in the group before it becomes the service, which looks how many cores it has.
    # shellcheck disable=SC2016 # expanded by the shell that is started
    command=(bash -c 'echo $$ >"$0/cgroup.procs" && exec "$@"' "$group" "${command[@]}")
  fi
  megabytes=$(setting "${QUICKSALE_MEMORY:-}" "$service")
  if [ -n "$megabytes" ]; then
    group=$(memory_group "$name" "$megabytes")
    # shellcheck disable=SC2016 # expanded by the shell that is started
    command=(bash -c 'echo $$ >"$0/cgroup.procs" && exec "$@"' "$group" "${command[@]}")
  fi
  launch "$dir" "${command[@]}"
}
