# shellcheck shell=bash
# Sourced: processes that outlive the script that starts them, each with a directory that holds its pid file and log.
# A process is known by its pid and the moment it started, so that a pid file left over from another boot or another
# process never leads to somebody else's process being ended.

# started_at PID: clock ticks since boot, and the boot; fails where there is no such process.
started_at() {
  local stat
  { stat=$(<"/proc/$1/stat"); } 2>/dev/null || return 1
  # The command's name is in brackets and may hold anything, so count fields after the last bracket.
  local fields
  read -ra fields <<<"${stat##*) }"
  [ "${fields[0]}" != Z ] || return 1
  echo "${fields[19]} $(</proc/sys/kernel/random/boot_id)"
}

# running DIR: whether the process of this directory runs; prints its pid.
running() {
  local pid since
  [ -f "$1/pid" ] || return 1
  read -r pid since <"$1/pid" || return 1
  [ -n "$since" ] && [ "$(started_at "$pid")" = "$since" ] || return 1
  echo "$pid"
}

# launch DIR COMMAND...: starts it in its own session, with its output in DIR/log.
launch() {
  local dir=$1 pid
  shift
  # Descriptors of locks must not be inherited, or a lock would be held for as long as the process runs.
  setsid "$@" >>"$dir/log" 2>&1 </dev/null 8>&- 9>&- &
  pid=$!
  echo "$pid $(started_at "$pid")" >"$dir/pid"
}

# await DIR SECONDS WHAT CHECK...: waits until the check succeeds; ends the script, with the log's tail, when the
# process ends before that or the time is over.
await() {
  # Functions see the variables of those that call them, so these must not hide the ones that CHECK uses.
  local awaited=$1 deadline=$((SECONDS + $2)) awaited_name=$3
  shift 3
  until "$@" >/dev/null 2>&1; do
    if ! running "$awaited" >/dev/null; then
      tail -n 20 "$awaited/log" >&2
      die "$awaited_name stopped while it started; its log is $awaited/log"
    elif [ $SECONDS -ge $deadline ]; then
      tail -n 20 "$awaited/log" >&2
      die "$awaited_name runs but does not answer; its log is $awaited/log"
    fi
    sleep 0.1
  done
}

# end DIR SIGNAL SECONDS: sends the signal and waits until the process is gone; kills it when the time is over.
end() {
  local pid deadline=$((SECONDS + $3))
  pid=$(running "$1") || { rm -f "$1/pid"; return 0; }
  kill "-$2" "$pid"
  while running "$1" >/dev/null; do
    [ $SECONDS -lt $deadline ] || { kill -KILL "$pid" 2>/dev/null || true; deadline=$((SECONDS + 10)); }
    sleep 0.05
  done
  rm -f "$1/pid"
}

# listening PORT: whether anything accepts connections there.
listening() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# free_soon PORT: waits until nothing listens there. A process that was killed is gone for its parent before the last of its threads is, and
# until then the kernel takes connections for it.
free_soon() {
  local deadline=$((SECONDS + 10))
  while listening "$1"; do
    [ $SECONDS -lt $deadline ] || return 1
    sleep 0.1
  done
}
