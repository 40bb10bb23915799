#!/bin/bash
# Docker Compose on the files of this repository: compose.sh dev|prod ARGUMENT..., for instance: compose.sh dev up --detach
#
# dev is docker-compose.yml, prod is docker-compose.prod.yml. Before something starts, what is missing is made: a Docker
# daemon that answers, the compose command, the images (those of the cluster: from a registry, or built here), and for prod
# the secrets. From the environment, where something else is meant: QUICKSALE_IMAGE, KAFKA_IMAGE, MONGODB_IMAGE,
# REDIS_IMAGE, QUICKSALE_SECRETS, COMPOSE_PROJECT_NAME. What .env says of images and secrets is for `docker compose` without this script;
# everything else in it counts here as well.
set -euo pipefail
# shellcheck source=hack/env.sh
. "$(dirname "$0")/env.sh"

case ${1:-} in
  dev) file=$REPO/docker-compose.yml ;;
  prod) file=$REPO/docker-compose.prod.yml ;;
  *) die "usage: hack/compose.sh dev|prod ARGUMENT..., for instance: hack/compose.sh dev up --detach" ;;
esac
"$REPO/hack/docker.sh" start
"$REPO/hack/tools.sh" compose

images() {
  local backends
  QUICKSALE_IMAGE=${QUICKSALE_IMAGE:-$("$REPO/hack/image.sh")}
  export QUICKSALE_IMAGE
  [ -z "${KAFKA_IMAGE:-}" ] || [ -z "${MONGODB_IMAGE:-}" ] || [ -z "${REDIS_IMAGE:-}" ] || return 0
  backends=$("$REPO/hack/images.sh" backends)
  # The files name the official images themselves.
  [ "$backends" != official ] || return 0
  export KAFKA_IMAGE=${KAFKA_IMAGE:-$backends} MONGODB_IMAGE=${MONGODB_IMAGE:-$backends} REDIS_IMAGE=${REDIS_IMAGE:-$backends}
}

case ${2:-} in
  up | create | run)
    images
    [ "$1" != prod ] || "$REPO/hack/compose-secrets.sh" "${QUICKSALE_SECRETS:-$REPO/deploy/compose/secrets}"
    ;;
esac
command=(docker compose)
docker compose version >/dev/null 2>&1 || command=(docker-compose)
exec "${command[@]}" --project-directory "$REPO" --file "$file" "${@:2}"
