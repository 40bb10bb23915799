#!/bin/bash
# Prints the certificates that an image trusts, as PEM: Mozilla's roots for TLS servers, from the crate webpki-root-certs
# at the version and checksum in Cargo.lock. So the image trusts the same wherever it is built, and never what the
# builder's machine or network was told to trust.
set -euo pipefail
cd "$(dirname "$0")/.."
manifest=$(cargo metadata --locked --format-version 1 | jq -er '.packages[] | select(.name == "webpki-root-certs") | .manifest_path')
count=0
# Each certificate is one line of the crate's source: its name in a comment, then its bytes as \x escapes.
while read -r line; do
  case $line in
    '// "'*) name=${line#// } ;;
    'CertificateDer::from_slice(b"'*)
      bytes=${line#*'b"'}
      printf '# %s\n-----BEGIN CERTIFICATE-----\n' "$name"
      printf '%b' "${bytes%%'"'*}" | base64 --wrap=64
      printf -- '-----END CERTIFICATE-----\n'
      count=$((count + 1))
      ;;
  esac
done <"$(dirname "$manifest")/src/lib.rs"
[ "$count" -ge 50 ] || { echo "error: found only $count certificates in $manifest" >&2; exit 1; }
