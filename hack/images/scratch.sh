# shellcheck shell=bash
# Sourced by the image builds beside it.

# scratch_image IMAGE EXECUTABLE: an image that holds one static executable. It trusts no certificates of its own: what is
# built so talks to the test cluster only, which has its own authority.
scratch_image() {
  local tree name
  tree=$(mktemp -d)
  name=$(basename "$2")
  mkdir -m 1777 "$tree/tmp"
  install -D -m755 "$2" "$tree/usr/local/bin/$name"
  tar -C "$tree" -c . | docker import --change 'ENV PATH=/usr/local/bin' --change "ENTRYPOINT [\"/usr/local/bin/$name\"]" - "$1"
  rm -rf "$tree"
}
