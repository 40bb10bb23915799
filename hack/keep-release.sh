#!/bin/bash
# Keeps what this release makes, for the tests of the next one: keep-release.sh (once for each release, before its tag).
#
# The definition goes to crds/released/, the chart and the objects of an open sale to tests/released/VERSION/. It takes some minutes.
set -euo pipefail
# shellcheck source=hack/env.sh
. "$(dirname "$0")/env.sh"
cd "$REPO"
version=$(sed -n '/^\[workspace.package\]/,/^\[/s/^version = "\(.*\)"/\1/p' Cargo.toml)
[ -n "$version" ] || die "Cargo.toml names no version in [workspace.package]"

if [ -e "tests/released/$version" ] || [ -e "crds/released/$version.yaml" ]; then
  die "what $version makes is kept already: raise the version in Cargo.toml first"
fi

# shellcheck source=hack/test/bed.sh
. hack/test/bed.sh
bed_tools
say "building (some minutes where little is built yet)"
cargo build --locked --workspace --all-targets
start_bed
QUICKSALE_RELEASE=$version bed_tests released::
[ -n "$(find "tests/released/$version/open-sale.json" -mmin -15)" ] || die "the test that writes tests/released/$version/open-sale.json did not run"
helm package charts/quicksale --destination "tests/released/$version"
cp crds/flashsales.quicksale.io.yaml "crds/released/$version.yaml"
say "kept in tests/released/$version and crds/released/$version.yaml; name it in RELEASED of crds/src/compatible.rs"
