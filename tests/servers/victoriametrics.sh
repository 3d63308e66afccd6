#!/usr/bin/env bash
# Installs, starts and stops a real VictoriaMetrics for the tests.
# `victoriametrics.sh help` lists the commands.
set -euo pipefail
name=victoriametrics
# shellcheck source=tests/servers/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

usage() {
    cat <<EOF
usage: tests/servers/victoriametrics.sh COMMAND

  install     fetch and unpack the Debian package, unless the program is there
  start DIR   start a server that keeps its data, log and pid in DIR (made if missing)
              and wait until it answers; prints where it listens:
                VICTORIAMETRICS_URL=http://127.0.0.1:PORT
                VICTORIAMETRICS_GRAPHITE=127.0.0.1:PORT   (plaintext, TCP and UDP)
              A server that was stopped starts again with its data, and on the same
              ports if these are still free.
  stop DIR    stop it; DIR and its data stay

What was written can be read at once after GET /internal/force_flush.
EOF
}

cmd_install() { provide victoria-metrics victoria-metrics; }

argument() { echo "-storageDataPath=$dir/data"; }

ports_wanted=2 # http graphite

answers() {
    local http graphite
    read -r http graphite < <(ports)
    [[ $(curl -s -m 5 "http://127.0.0.1:$http/health") == OK ]] && listens "$graphite"
}

launch_once() {
    local http graphite
    read -r http graphite < <(ports)
    # Keeps points from years ago, and shows the latest ones immediately.
    launch "$dir/pid" "$dir/log" "$(program victoria-metrics victoria-metrics)" "$(argument)" \
        -httpListenAddr="127.0.0.1:$http" -graphiteListenAddr="127.0.0.1:$graphite" \
        -retentionPeriod=100y -search.latencyOffset=0s -memory.allowedBytes=128MB \
        -loggerLevel=WARN
}

cmd_start() { # DIR
    enter "$1"
    cmd_install
    start_server
    local http graphite
    read -r http graphite < <(ports)
    echo "VICTORIAMETRICS_URL=http://127.0.0.1:$http"
    echo "VICTORIAMETRICS_GRAPHITE=127.0.0.1:$graphite"
}

case ${1:-}:$# in
install:1) cmd_install ;;
start:2) cmd_start "$2" ;;
stop:2) cmd_stop "$2" ;;
help:1 | -h:1 | --help:1) usage ;;
*)
    usage >&2
    exit 2
    ;;
esac
