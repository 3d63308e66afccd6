#!/usr/bin/env bash
# A tallyd under a lifelike load, to look at: examples/demo/run.sh
#
# Starts a daemon with examples/demo/tallyd.yaml in a folder of its own, sends it what load.py
# makes up, and says where the status page is. Ctrl-C ends it all and removes the folder.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
root=$(cd "$here/../.." && pwd -P)

usage() {
    cat <<END
usage: examples/demo/run.sh [--seconds N] [--admin HOST:PORT] [--keep]

  --seconds N        end by itself after so long
  --admin HOST:PORT  where the status page is (127.0.0.1:9495; port 0: any that is free)
  --keep             leave the folder with the log, the points and the spool

Needs python3. The program is \$TALLYD, else that of a build in here, else the
installed one, else it is built.
END
}

seconds=
keep=false
export DEMO_ADMIN=127.0.0.1:9495
while (($# > 0)); do
    case $1 in
    --seconds) seconds=${2:?--seconds needs a number} && shift ;;
    --admin) DEMO_ADMIN=${2:?--admin needs HOST:PORT} && shift ;;
    --keep) keep=true ;;
    -h | --help) usage && exit ;;
    *) usage >&2 && exit 2 ;;
    esac
    shift
done

program() { # -> path
    local path
    for path in "${TALLYD:-}" "$root"/target/{release,debug}/tallyd "$(command -v tallyd || true)"; do
        if [[ -x $path ]]; then
            echo "$path"
            return
        fi
    done
    echo "building tallyd; the first time this takes minutes" >&2
    cargo build --release --manifest-path "$root/Cargo.toml" >&2
    echo "$root/target/release/tallyd"
}

command -v python3 >/dev/null || { echo "the load needs python3" >&2 && exit 1; }
tallyd=$(program)
DEMO_DIR=$(mktemp -d -t tallyd-demo.XXXXXX)
export DEMO_DIR
log=$DEMO_DIR/tallyd.log
: >"$log"
daemon='' load='' is_over=false

# Ends both, the load first, and says what it came to. Whatever ends this script comes by here.
finish() {
    local status=$?
    trap '' INT TERM
    if [[ -n $load ]]; then kill "$load" 2>/dev/null || true; fi
    if [[ -n $load ]]; then wait "$load" 2>/dev/null || true; fi
    if [[ -n $daemon ]]; then
        kill -TERM "$daemon" 2>/dev/null || true
        wait "$daemon" || status=1
        echo
        echo "what it came to:"
        sed -n 's/^.*\(ledger of\)/  \1/p' "$log"
    fi
    if $is_over; then status=0; fi
    if $keep; then echo "kept: $DEMO_DIR"; else rm -rf "$DEMO_DIR"; fi
    exit "$status"
}
trap finish EXIT
trap 'is_over=true; exit' INT TERM

# What the log says behind a message, such as the address of the page for Prometheus.
logged() { # MESSAGE
    sed -n "s/^.*$1.*address=\([^ ]*\).*/\1/p" "$log" | head -n 1
}

# A port where nobody listens, below those that Linux gives to outgoing connections.
free_port() {
    local port
    while true; do
        port=$((20000 + RANDOM % 10000))
        (: >"/dev/tcp/127.0.0.1/$port") 2>/dev/null || break
    done
    echo "$port"
}

port=$(free_port)
export DEMO_INFLUXDB=127.0.0.1:$port

"$tallyd" run --config "$here/tallyd.yaml" >"$DEMO_DIR/stdout" 2>"$log" &
daemon=$!
until [[ -n $(logged 'admin endpoint') ]]; do
    if ! kill -0 "$daemon" 2>/dev/null; then
        cat "$log" >&2
        daemon=''
        echo "the daemon did not start; if its address is in use: --admin 127.0.0.1:0" >&2
        exit 1
    fi
    sleep 0.05
done
url=http://$(logged 'admin endpoint')

echo "tallyd runs under load, with $tallyd"
echo
echo "  status page    $url/"
echo "  for Prometheus http://$(logged 'Prometheus page')/metrics, and $url/metrics on itself"
echo "  log, points    $DEMO_DIR"
python3 "$here/load.py" "$url" "$port" ${seconds:+"$seconds"} &
load=$!
sleep 0.5
echo
echo "Ctrl-C ends it."
wait "$load"
