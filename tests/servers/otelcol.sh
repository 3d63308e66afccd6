#!/usr/bin/env bash
# Builds, starts and stops a real OpenTelemetry Collector for the tests.
# `otelcol.sh help` lists the commands.
set -euo pipefail
name=otelcol
# shellcheck source=tests/servers/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

usage() {
    cat <<EOF
usage: tests/servers/otelcol.sh COMMAND

  install              build the Collector of tests/servers/otelcol with Go, unless it is built
  start DIR [BROKER]   start a Collector that keeps its log, pid and data in DIR (made if
                       missing) and wait until it answers; prints
                         OTELCOL_HTTP=http://127.0.0.1:PORT
                         OTELCOL_GRPC=grpc://127.0.0.1:PORT
                         OTELCOL_FILE=DIR/metrics.json
                       It appends each request to the file as a line of JSON. With a Kafka
                       BROKER it also reads the topics otlp_proto and otlp_json.
  stop DIR             stop it; DIR and its data stay
EOF
}

built=$packages/otelcol

cmd_install() { provide_go otelcol .; }

argument() { echo "--config=file:$dir/config.yaml"; }

ports_wanted=2 # http grpc

answers() {
    local http grpc
    read -r http grpc < <(ports)
    listens "$http" && listens "$grpc"
}

write_config() {
    local http grpc kafka='' receivers='[otlp]'
    read -r http grpc < <(ports)
    if [[ -n $broker ]]; then
        receivers='[otlp, kafka/proto, kafka/json]'
        kafka="
  kafka/proto: { brokers: [\"$broker\"], initial_offset: earliest, metrics: { topics: [otlp_proto], encoding: otlp_proto } }
  kafka/json: { brokers: [\"$broker\"], initial_offset: earliest, metrics: { topics: [otlp_json], encoding: otlp_json } }"
    fi
    cat >"$dir/config.yaml" <<EOF
# Written by tests/servers/otelcol.sh at every start.
receivers:
  otlp:
    protocols:
      http: { endpoint: "127.0.0.1:$http", max_request_body_size: 1048576 }
      grpc: { endpoint: "127.0.0.1:$grpc", max_recv_msg_size_mib: 1 }$kafka
exporters:
  file: { path: "$dir/metrics.json", append: true, flush_interval: 100ms }
service:
  telemetry: { metrics: { level: none }, logs: { level: warn } }
  pipelines:
    metrics: { receivers: $receivers, exporters: [file] }
EOF
}

launch_once() {
    write_config
    launch "$dir/pid" "$dir/log" "$built/otelcol" "$(argument)"
}

cmd_start() { # DIR [BROKER]
    broker=${2:-}
    enter "$1"
    cmd_install
    start_server
    local http grpc
    read -r http grpc < <(ports)
    echo "OTELCOL_HTTP=http://127.0.0.1:$http"
    echo "OTELCOL_GRPC=grpc://127.0.0.1:$grpc"
    echo "OTELCOL_FILE=$dir/metrics.json"
}

case ${1:-}:$# in
install:1) cmd_install ;;
start:2 | start:3) cmd_start "${@:2}" ;;
stop:2) cmd_stop "$2" ;;
help:1 | -h:1 | --help:1) usage ;;
*)
    usage >&2
    exit 2
    ;;
esac
