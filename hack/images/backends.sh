#!/bin/bash
# Builds one image with Kafka, a MongoDB-compatible server and Redis: backends.sh IMAGE KAFKA_DIR SECANTUS_DIR DEBIAN_RELEASE
set -euo pipefail
[ "$1" = --describe ] && { echo "building the backends' image from Debian packages (about 2 min)"; exit; }
image=$1 kafka=$2 secantus=$3 release=$4
root=$(mktemp -d)/root
trap 'rm -rf "$(dirname "$root")"' EXIT

debootstrap --variant=minbase --include=openjdk-17-jre-headless,redis-server,zlib1g "$release" "$root"
rm -rf "$root"/var/cache/apt/archives/* "$root"/var/lib/apt/lists/* "$root"/usr/share/{doc,man,locale}/*
mkdir -p "$root/opt/kafka" "$root/data"
cp -r "$kafka/libs" "$root/opt/kafka/libs"
install -m755 "$secantus/secantusd" "$root/usr/local/bin/secantusd"
tar -C "$root" -c . | docker import --change 'ENV PATH=/usr/local/bin:/usr/bin:/bin' --change 'USER 65532:65532' - "$image"
