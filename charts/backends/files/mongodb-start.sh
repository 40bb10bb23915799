# shellcheck shell=bash
# Sourced by bash, after the functions unsecured, create_users and secured.
# The users are made or updated by a first start that nobody outside of the pod reaches, and that asks for neither TLS nor a
# password; the second start is the one that lasts.
set -eu
unsecured &
server=$!
trap 'kill -TERM $server; exit 1' TERM INT
until (exec 3<>/dev/tcp/127.0.0.1/27017) 2>/dev/null; do
  kill -0 $server
  sleep 0.2
done
create_users
kill -TERM $server
wait $server || true
trap - TERM INT
secured
