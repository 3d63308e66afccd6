#!/usr/bin/env bash
# Installs, starts and stops a real Prometheus for the tests.
# `prometheus.sh help` lists the commands.
set -euo pipefail
name=prometheus
# shellcheck source=tests/servers/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

usage() {
    cat <<EOF
usage: tests/servers/prometheus.sh COMMAND

  install               fetch and unpack the Debian package, unless the program is there
  start DIR [TARGET...] start a server that keeps its data, log and pid in DIR (made if
                        missing) and wait until it answers; prints
                          PROMETHEUS_URL=http://127.0.0.1:PORT
                          PROMETHEUS_TARGETS=DIR/targets
                          PROMTOOL=/path/of/promtool
                        It scrapes each TARGET (HOST:PORT) every second, and what the
                        files *.json in DIR/targets name, as they come and go:
                          [{"targets": ["127.0.0.1:9494"], "labels": {"test": "x"}}]
                        It takes remote writes as well, at /api/v1/write, native histograms
                        and, from version 3.0 on, OTLP at /api/v1/otlp. It stores created
                        timestamps if it can.
  stop DIR              stop it; DIR and its data stay

TALLYD_TEST_PROMETHEUS_PROGRAM is the path of another prometheus, with promtool next to
it, to use instead of the Debian package; or the word "current": the server of the
module tests/servers/prometheus-current, which is built with Go unless it is built. It has no
pages, no promtool, and finds its targets only in files.
EOF
}

own_program=${TALLYD_TEST_PROMETHEUS_PROGRAM:-}
if [[ $own_program == current ]]; then own_program=$packages/prometheus-current/prometheus; fi

cmd_install() {
    if [[ -z $own_program ]]; then
        provide prometheus prometheus
    elif [[ $own_program == "$packages"/* ]]; then
        provide_go prometheus-current github.com/prometheus/prometheus/cmd/prometheus
    fi
}

path_of() { # PROGRAM
    if [[ -n $own_program ]]; then echo "$(dirname "$own_program")/$1"; else program prometheus "$1"; fi
}

argument() { echo "--storage.tsdb.path=$dir/data"; }

ports_wanted=1

answers() { [[ $(curl -s -m 5 "http://127.0.0.1:$(ports)/-/ready") == *Ready* ]]; }

# Newer versions have a key where older ones have only the feature flag.
histograms_key() {
    if grep -aq scrape_native_histograms "$(path_of prometheus)"; then
        echo "  scrape_native_histograms: true"
    fi
}

features() {
    local zeros=created-timestamp-zero-ingestion
    echo "native-histograms$(grep -aq $zeros "$(path_of prometheus)" && echo ",$zeros")"
}

write_config() { # TARGET...
    local target list=
    mkdir -p "$dir/targets"
    for target in "$@"; do list+="${list:+, }\"$target\""; done
    if [[ -n $list ]]; then echo "[{\"targets\": [$list]}]" >"$dir/targets/arguments.json"; fi
    cat >"$dir/prometheus.yml" <<EOF
# Written by tests/servers/prometheus.sh at every start.
global:
  scrape_interval: 1s
  scrape_timeout: 1s
$(histograms_key)
scrape_configs:
  - job_name: tallyd
    file_sd_configs:
      - files: ["$dir/targets/*.json"]
        refresh_interval: 1s
EOF
}

launch_once() {
    local receivers=(--web.enable-remote-write-receiver)
    if grep -aq web.enable-otlp-receiver "$(path_of prometheus)"; then
        receivers+=(--web.enable-otlp-receiver)
    fi
    launch "$dir/pid" "$dir/log" "$(path_of prometheus)" "$(argument)" \
        --enable-feature="$(features)" \
        --config.file="$dir/prometheus.yml" --web.listen-address="127.0.0.1:$(ports)" \
        "${receivers[@]}" --log.level=warn
}

cmd_start() { # DIR [TARGET...]
    enter "$1"
    cmd_install
    write_config "${@:2}"
    start_server
    echo "PROMETHEUS_URL=http://127.0.0.1:$(ports)"
    echo "PROMETHEUS_TARGETS=$dir/targets"
    echo "PROMTOOL=$(path_of promtool)"
}

case ${1:-}:$# in
install:1) cmd_install ;;
start:1 | stop:1)
    usage >&2
    exit 2
    ;;
start:*) cmd_start "${@:2}" ;;
stop:2) cmd_stop "$2" ;;
help:1 | -h:1 | --help:1) usage ;;
*)
    usage >&2
    exit 2
    ;;
esac
