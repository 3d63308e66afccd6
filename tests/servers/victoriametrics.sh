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

answers() {
    local http graphite
    read -r http graphite <"$dir/ports"
    [[ $(curl -s -m 5 "http://127.0.0.1:$http/health") == OK ]] && listens "$graphite"
}

launch_once() {
    local http graphite
    read -r http graphite <"$dir/ports"
    # Points of years ago are kept, and the latest ones are shown at once.
    launch "$dir/pid" "$dir/log" "$(program victoria-metrics victoria-metrics)" "$(argument)" \
        -httpListenAddr="127.0.0.1:$http" -graphiteListenAddr="127.0.0.1:$graphite" \
        -retentionPeriod=100y -search.latencyOffset=0s -memory.allowedBytes=128MB \
        -loggerLevel=WARN
}

choose_ports() { # last | new
    local http graphite
    if [[ $1 == last && -e $dir/ports ]]; then
        read -r http graphite <"$dir/ports"
        ! listens "$http" && ! listens "$graphite" && return
    fi
    echo "$(free_port) $(free_port)" >"$dir/ports"
}

cmd_start() { # DIR
    mkdir -p "$1"
    dir=$(cd "$1" && pwd -P)
    cmd_install
    exec 9>"$dir/lock"
    flock -w "$start_limit" 9 || die "another start in $dir does not end"
    local deadline=$((SECONDS + start_limit)) use=last
    if [[ -z $(running_pid "$dir/pid" "$(argument)") ]]; then
        trap 'stop_server "$dir/pid" "$(argument)"' EXIT
        until choose_ports "$use" && launch_once &&
            wait_until "$deadline" "$dir/pid" "$(argument)" answers; do
            # It ends by itself where somebody has taken a port meanwhile.
            stop_server "$dir/pid" "$(argument)"
            if ((SECONDS >= deadline)) || [[ $use == "new" ]]; then
                tail -n 20 "$dir/log" >&2
                die "does not start; see $dir/log"
            fi
            use=new
        done
        trap - EXIT
    fi
    local http graphite
    read -r http graphite <"$dir/ports"
    echo "VICTORIAMETRICS_URL=http://127.0.0.1:$http"
    echo "VICTORIAMETRICS_GRAPHITE=127.0.0.1:$graphite"
}

cmd_stop() { # DIR
    [[ -d $1 ]] || die "no such directory: $1"
    dir=$(cd "$1" && pwd -P)
    stop_server "$dir/pid" "$(argument)"
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
