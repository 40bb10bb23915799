#!/bin/bash
# Builds the image of the operator and the services from this source, and prints its name.
#
# Each content has a tag of its own (quicksale:HASH), so that a change rolls out in a cluster and no change does nothing;
# quicksale:dev is the newest. QUICKSALE_IMAGE_FROM names a directory with the two executables to use instead of building.
set -euo pipefail
# shellcheck source=hack/env.sh
. "$(dirname "$0")/env.sh"
executables=(quicksale quicksale-operator)

build() {
  "$REPO/hack/tools.sh" rust-build
  say "building the executables (about 10 min the first time)"
  (cd "$REPO" && cargo build --release --locked "${executables[@]/#/--bin=}" >&2)
  echo "${CARGO_TARGET_DIR:-$REPO/target}/x86_64-unknown-linux-gnu/release"
}

from=${QUICKSALE_IMAGE_FROM:-}
[ -n "$from" ] || from=$(build)
context=$(mktemp -d)
trap 'rm -rf "$context"' EXIT
rootfs=$context/rootfs doc=$rootfs/usr/share/doc/quicksale trusted=$rootfs/etc/ssl/certs
umask 022
mkdir -p "$doc" "$trusted"
install -D -m755 -t "$rootfs/usr/local/bin" "${executables[@]/#/$from/}"
cp "$REPO/LICENSE" "$REPO/NOTICE" "$doc/"
"$REPO/hack/notices.sh" >"$doc/THIRD-PARTY-NOTICES"
"$REPO/hack/certificates.sh" >"$trusted/ca-certificates.crt"
mkdir -m 1777 "$rootfs/tmp"
tag=quicksale:$(cd "$rootfs" && find . "$REPO/Dockerfile" -type f -print0 | LC_ALL=C sort -z | xargs -0 cat | sha256sum | cut -c1-12)
if ! docker image inspect "$tag" >/dev/null 2>&1; then
  # Without BuildKit's plugin, the builder that comes with Docker does.
  docker buildx version >/dev/null 2>&1 || export DOCKER_BUILDKIT=0
  docker build --quiet --tag "$tag" --file "$REPO/Dockerfile" "$context" >"$context/log" 2>&1 ||
    { cat "$context/log" >&2; die "the image could not be built"; }
fi
docker tag "$tag" quicksale:dev
# One in use stays: Docker refuses.
docker image ls --format '{{.Repository}}:{{.Tag}}' quicksale | grep -xE 'quicksale:[0-9a-f]{12}' | grep -vxF -e "$tag" | tail -n +3 |
  xargs --no-run-if-empty docker image rm >/dev/null 2>&1 || true
say "image $tag, $(($(docker image inspect --format '{{.Size}}' "$tag") / 1000000)) MB"
echo "$tag"
