#!/bin/bash
# Prints the software bill of materials of the image as CycloneDX 1.6 (JSON): sbom.sh [IMAGE_DIGEST] (`make sbom`). The
# same commit gives the same document, to the byte.
set -euo pipefail
cd "$(dirname "$0")/.."
export LC_ALL=C
digest=${1:-}
written=$(TZ=UTC0 git log -1 --format=%cd --date=format-local:%Y-%m-%dT%H:%M:%SZ)
sum=$({ cat Cargo.lock; echo "$written $digest"; } | sha256sum)
serial=urn:uuid:${sum:0:8}-${sum:8:4}-5${sum:13:3}-8${sum:17:3}-${sum:20:12}

hack/shipped.sh | jq --arg written "$written" --arg serial "$serial" --arg digest "$digest" '
  def ref: if .ours then "quicksale/\(.name)@\(.version)" else "pkg:cargo/\(.name)@\(.version)" end;
  # Old manifests separate the alternatives with a slash.
  def expression: gsub(" ?/ ?"; " OR ");
  (map({key: .id, value: ref}) | from_entries) as $refs
  | (map(select(.name == "quicksale"))[0].version) as $version
  | {
      "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
      bomFormat: "CycloneDX", specVersion: "1.6", serialNumber: $serial, version: 1,
      metadata: {
        timestamp: $written,
        tools: {components: [{type: "application", name: "hack/sbom.sh"}]},
        component: ({type: "container", "bom-ref": "image", name: "quicksale", version: $version,
            licenses: [{expression: "Apache-2.0"}]}
          + (if $digest == "" then {} else {hashes: [{alg: "SHA-256", content: ($digest | ltrimstr("sha256:"))}]} end))
      },
      components: map({type: "library", "bom-ref": ref, name, version}
        + (if .ours then {} else {purl: ref} end)
        + (if .license then {licenses: [{expression: (.license | expression)}]} else {} end)
        + (if .checksum then {hashes: [{alg: "SHA-256", content: .checksum}]} else {} end)
        + (if .repository then {externalReferences: [{type: "vcs", url: .repository}]} else {} end)),
      dependencies: ([{ref: "image", dependsOn: map(select(.name == "quicksale" or .name == "operator") | ref)}]
        + map({ref: ref, dependsOn: ([.uses[] | $refs[.]] | unique)}))
    }
  # A reference to nothing, a name twice or a crate without a licence would make the document worthless.
  | ([.components[]."bom-ref"] | sort) as $all
  | if ($all | unique) != $all then error("two components have the same name")
    elif ([.dependencies[].dependsOn[]] | unique) - $all != [] then error("a dependency is not among the components")
    elif [.components[] | select(.licenses | not)] != [] then error("a component has no licence: \([.components[] | select(.licenses | not) | .name])")
    else . end'
