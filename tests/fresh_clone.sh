#!/bin/sh
# Clones the checkout's last commit into an empty folder, runs `make run` there as on a machine with only Python,
# and prints how long /healthz took, at the first start and at the second.   PYTHON=python3.11 tests/fresh_clone.sh
set -eu
checkout=$(cd "$(dirname "$0")/.." && pwd)
folder=$(mktemp -d)
unset DEBUG SECRET_KEY ALLOWED_HOSTS DATABASE_URL USE_SHARED_CONTEXT REDIS_URL HOST VENV VIRTUAL_ENV MAKEFLAGS MAKELEVEL
PORT=$(python3 "$checkout/tests/free_port.py")
export PORT
group=
finish() {
    [ -z "$group" ] || kill -s KILL -- "-$group" 2>/dev/null || true
    rm -rf "$folder"
}
trap finish EXIT

answers() { curl -fs --noproxy '*' -o /dev/null "http://127.0.0.1:$PORT$1"; }

# Milliseconds of CPU that the process group took, with those of its processes that have ended.
cpu() {
    cat /proc/[0-9]*/stat 2>/dev/null | sed 's/^.*) //' |
        awk -v group="$group" -v hz="$(getconf CLK_TCK)" '$3 == group { ticks += $12 + $13 + $14 + $15 }
            END { printf "%d", ticks * 1000 / hz }'
}

# More want to run than there are processors.
busy() { awk -v cores="$(getconf _NPROCESSORS_ONLN)" '{ exit !($1 >= cores) }' /proc/loadavg; }

# start NAME SECONDS: until /healthz answers; prints the time it took, and fails when that was longer. Where others keep
# the machine busy the time is theirs, too: then what counts is the CPU that the start took.
start() {
    began=$(date +%s%N)
    setsid make run ${PYTHON:+PYTHON="$PYTHON"} >"$folder/log" 2>&1 &
    group=$!
    until answers /healthz; do
        if ! kill -0 "$group" 2>/dev/null; then
            cat "$folder/log" >&2
            echo "$1: it ended" >&2
            exit 1
        fi
        sleep 0.2
    done
    elapsed=$(( ($(date +%s%N) - began) / 1000000 ))
    echo "$1: $elapsed ms until /healthz (load $(cut -d' ' -f1 /proc/loadavg))"
    if [ "$elapsed" -gt "$(($2 * 1000))" ] && { ! busy || [ "$(cpu)" -gt "$(($2 * 1000))" ]; }; then
        echo "$1: longer than $2 s" >&2
        exit 1
    fi
}

stop() {
    kill -s TERM -- "-$group"
    wait "$group" || true
    group=
}

git clone --quiet "$checkout" "$folder/desk"
cd "$folder/desk"
start "first start" 600
answers /readyz && answers / && answers /api/schema/ || { cat "$folder/log" >&2; exit 1; }
stop
start "second start" 5
cat "$folder/log"
stop
