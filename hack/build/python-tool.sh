#!/bin/bash
# Installs a Python tool into an environment of its own: python-tool.sh DIR NAME LOCK
# hack/NAME-requirements.txt pins it and all that it needs by version and checksum; LOCK is that file's checksum, so that a changed file is
# another directory. DIR/NAME runs it.
set -euo pipefail
[ "$1" = --describe ] && { echo "installing $2 (about 1 min)"; exit; }
here=$(cd "$(dirname "$0")/.." && pwd)
# No environment of `venv`: that holds its own address, and this directory gets another name when it is complete.
python3 -m pip install --quiet --disable-pip-version-check --no-compile --only-binary :all: --require-hashes --no-deps \
  --target "$1/packages" --requirement "$here/$2-requirements.txt"
cat >"$1/$2" <<'END'
#!/bin/bash
# -s keeps out what the user has installed.
here=$(cd "$(dirname "$0")" && pwd)
PYTHONPATH=$here/packages exec python3 -s "$here/packages/bin/$(basename "$0")" "$@"
END
chmod 755 "$1/$2"
