#!/bin/bash
# Prints the crates that the executables of the image are made of, as a JSON array, ours first; for hack/notices.sh and
# hack/sbom.sh. What is only used by tests, by other platforms or while building is not among them.
set -euo pipefail
cd "$(dirname "$0")/.."
target=x86_64-unknown-linux-gnu
checksums=$(awk -F'"' '/^name = /{n=$2} /^version = /{v=$2} /^checksum = /{print n " " v " " $2}' Cargo.lock)
built=$(cargo tree --locked --package quicksale --package operator --edges normal --target $target --prefix none --format '{p}')
cargo metadata --locked --format-version 1 --filter-platform $target |
  jq --arg checksums "$checksums" --arg built "$built" '
    ($checksums | split("\n") | map(split(" ") | {key: "\(.[0]) \(.[1])", value: .[2]}) | from_entries) as $sums
    | ($built | split("\n") | map(split(" ") | {key: "\(.[0]) \(.[1][1:])", value: true}) | from_entries) as $shipped
    | (.packages | map(select($shipped["\(.name) \(.version)"]))) as $packages
    | ($packages | map({key: .id, value: true}) | from_entries) as $known
    | (.resolve.nodes | map({key: .id, value: [.deps[] | select(any(.dep_kinds[]; .kind == null)) | .pkg | select($known[.])]})
        | from_entries) as $uses
    | $packages
    | map({id, name, version, license, repository, authors, manifest_path, ours: (.source == null),
        checksum: $sums["\(.name) \(.version)"], uses: $uses[.id]})
    | sort_by((.ours | not), .name, .version)'
