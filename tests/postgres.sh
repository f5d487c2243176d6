#!/bin/sh
# Runs a command with DATABASE_URL naming a PostgreSQL server of its own, on loopback, gone afterwards:
#   tests/postgres.sh .venv/bin/python -m pytest
set -eu

# Debian keeps the server's programs out of PATH, in a folder for each version.
for folder in $(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -rV); do PATH=$PATH:$folder; done
if ! command -v initdb >/dev/null || ! command -v pg_ctl >/dev/null; then
    echo "PostgreSQL's initdb and pg_ctl are not installed: apt-get install postgresql" >&2
    exit 1
fi

folder=$(mktemp -d)
# initdb refuses to run as root.
if [ "$(id -u)" = 0 ]; then
    owner=$(id -u postgres >/dev/null 2>&1 && echo postgres || echo nobody)
    chown "$owner" "$folder"
    as_owner="setpriv --reuid=$owner --regid=$(id -g "$owner") --clear-groups"
else
    as_owner=
fi
cleanup() {
    (cd / && $as_owner pg_ctl -D "$folder/data" -m immediate -w stop >/dev/null 2>&1) || true
    rm -rf "$folder"
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

port=$(python3 "$(dirname "$0")/free_port.py")
# fsync off: what these tests kill is our process, not the machine.
(cd / && $as_owner initdb -D "$folder/data" -U supportdesk -A trust -E UTF8 --no-sync >/dev/null)
(cd / && $as_owner pg_ctl -D "$folder/data" -w -l "$folder/log" start >/dev/null \
    -o "-c listen_addresses=127.0.0.1 -c port=$port -c unix_socket_directories=$folder -c fsync=off -c max_connections=200") \
    || { cat "$folder/log" >&2; exit 1; }
(cd / && createdb -h 127.0.0.1 -p "$port" -U supportdesk supportdesk)

DATABASE_URL="postgres://supportdesk@127.0.0.1:$port/supportdesk" "$@"
