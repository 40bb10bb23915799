# shellcheck shell=bash
# Sourced by backends.sh: Redis, with nothing kept on disk, because what is in it can always be rebuilt.

redis_ports() { echo "${REDIS_PORT:-6379}"; }
redis_prepare() { :; }
redis_command() { command=(redis-server --bind 127.0.0.1 --port "${REDIS_PORT:-6379}" --dir "$1" --save '' --appendonly no); }
redis_answers() { [ "$(redis-cli -h 127.0.0.1 -p "${REDIS_PORT:-6379}" ping)" = PONG ]; }
redis_settle() { :; }
