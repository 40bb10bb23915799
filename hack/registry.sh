# shellcheck shell=bash
# Sourced: whether an image registry answers. The answer is remembered in QUICKSALE_REGISTRY (yes or no) for the scripts
# that are called from this one; set it beforehand to decide it yourself.

registry_answers() {
  if [ -z "${QUICKSALE_REGISTRY:-}" ]; then
    QUICKSALE_REGISTRY=no
    ! timeout 30 docker pull --quiet "$PROBE_IMAGE" >/dev/null 2>&1 || QUICKSALE_REGISTRY=yes
    export QUICKSALE_REGISTRY
  fi
  [ "$QUICKSALE_REGISTRY" = yes ]
}
