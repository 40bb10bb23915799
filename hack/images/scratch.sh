# shellcheck shell=bash
# Sourced by the image builds beside it.

# scratch_image IMAGE EXECUTABLE: an image that holds one static executable, and the certificates to trust.
scratch_image() {
  local tree name
  tree=$(mktemp -d)
  name=$(basename "$2")
  mkdir -p "$tree/etc/ssl/certs"
  mkdir -m 1777 "$tree/tmp"
  cp /etc/ssl/certs/ca-certificates.crt "$tree/etc/ssl/certs/"
  install -D -m755 "$2" "$tree/usr/local/bin/$name"
  tar -C "$tree" -c . | docker import --change 'ENV PATH=/usr/local/bin' --change "ENTRYPOINT [\"/usr/local/bin/$name\"]" - "$1"
  rm -rf "$tree"
}
