#!/bin/bash
# Removes what `make up` made: the cluster, and the Docker daemon if the scripts started it and nothing else uses it.
# What was built stays in the cache.
set -euo pipefail
# shellcheck source=hack/env.sh
. "$(dirname "$0")/env.sh"

"$REPO/hack/cluster.sh" down
if [ -z "$(docker ps --quiet 2>/dev/null)" ]; then
  "$REPO/hack/docker.sh" stop
fi
