# Shared by the scripts of this folder: a temporary folder that is removed, and a comparison that fails when a behaviour changed.
set -euo pipefail
folder=$(mktemp -d)
server=
finish() { [ -z "$server" ] || kill "$server" 2>/dev/null || true; rm -rf "$folder"; }
trap finish EXIT
cd "$folder"

# Installs npm packages at exact versions.
with_npm() { echo '{"private":true,"type":"module"}' >package.json; npm install --no-audit --no-fund --ignore-scripts --silent --save-exact "$@"; }

# Installs PyPI packages at exact versions; `python` is then the interpreter that has them.
with_pip() { python3 -m venv venv && venv/bin/pip install -q --disable-pip-version-check "$@"; }
python() { venv/bin/python -W ignore "$@"; }

# Prints what was seen and fails when it is not what was expected.
expect() { # expected, command...
  local expected=$1 seen
  shift
  seen=$("$@")
  printf '%s\n' "$seen"
  [ "$seen" = "$expected" ] || { printf 'CHANGED, expected:\n%s\n' "$expected" >&2; exit 1; }
}
