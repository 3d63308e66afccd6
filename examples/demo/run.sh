#!/usr/bin/env bash
# Shows a tallyd under a realistic load: examples/demo/run.sh
#
# Starts a daemon with examples/demo/tallyd.yaml in a temporary folder, sends it the simulated load of
# load.py, and prints the URL of the status page. Ctrl-C stops everything and removes the folder.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
root=$(cd "$here/../.." && pwd -P)

usage() {
    cat <<END
usage: examples/demo/run.sh [--seconds N] [--admin HOST:PORT] [--keep]

  --seconds N        stop after N seconds
  --admin HOST:PORT  address of the status page (127.0.0.1:9495; port 0: any free port)
  --keep             keep the folder with the log, the points and the spool

Needs python3. Runs the program \$TALLYD, else a build in this checkout, else the
installed program, else builds one.
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
    echo "building tallyd; the first build takes minutes" >&2
    cargo build --release --manifest-path "$root/Cargo.toml" >&2
    echo "$root/target/release/tallyd"
}

command -v python3 >/dev/null || { echo "the load generator needs python3" >&2 && exit 1; }
tallyd=$(program)
DEMO_DIR=$(mktemp -d -t tallyd-demo.XXXXXX)
export DEMO_DIR
log=$DEMO_DIR/tallyd.log
: >"$log"
daemon='' load='' is_over=false

# Stops both, the load first, and prints the ledger. Runs however this script ends.
finish() {
    local status=$?
    trap '' INT TERM
    if [[ -n $load ]]; then kill "$load" 2>/dev/null || true; fi
    if [[ -n $load ]]; then wait "$load" 2>/dev/null || true; fi
    if [[ -n $daemon ]]; then
        kill -TERM "$daemon" 2>/dev/null || true
        wait "$daemon" || status=1
        echo
        echo "ledger:"
        sed -n 's/^.*\(ledger of\)/  \1/p' "$log"
    fi
    if $is_over; then status=0; fi
    if $keep; then echo "kept: $DEMO_DIR"; else rm -rf "$DEMO_DIR"; fi
    exit "$status"
}
trap finish EXIT
trap 'is_over=true; exit' INT TERM

# Prints the address that the log reports with a message, such as that of the page for Prometheus.
logged() { # MESSAGE
    sed -n "s/^.*$1.*address=\([^ ]*\).*/\1/p" "$log" | head -n 1
}

# Prints a free port, below those that Linux assigns to outgoing connections.
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
        echo "the daemon did not start; if its address is in use, try --admin 127.0.0.1:0" >&2
        exit 1
    fi
    sleep 0.05
done
url=http://$(logged 'admin endpoint')

echo "running $tallyd under load"
echo
echo "  status page    $url/"
echo "  for Prometheus http://$(logged 'Prometheus page')/metrics, and $url/metrics for self-metrics"
echo "  log, points    $DEMO_DIR"
python3 "$here/load.py" "$url" "$port" ${seconds:+"$seconds"} &
load=$!
sleep 0.5
echo
echo "Press Ctrl-C to stop."
# The first of the two that ends, ends the demo.
ended=0
wait -n "$daemon" "$load" || ended=$?
if ! kill -0 "$daemon" 2>/dev/null; then
    # A shell reports only the ends of children that it waits for.
    wait "$daemon" 2>/dev/null || ended=$?
    daemon=''
    echo "the daemon has ended with status $ended; the end of its log:" >&2
    tail -n 20 "$log" >&2
    exit 1
fi
if ((ended != 0)); then exit "$ended"; fi
