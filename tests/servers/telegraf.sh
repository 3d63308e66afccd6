#!/usr/bin/env bash
# Builds a real Telegraf, with the plugins that the tests use, from its Go module.
# `telegraf.sh help` lists the commands.
set -euo pipefail
name=telegraf
# shellcheck source=tests/servers/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

usage() {
    cat <<EOF
usage: tests/servers/telegraf.sh COMMAND

  install   build Telegraf with Go, unless it is built; prints
              TELEGRAF=PATH
EOF
}

version=v1.37.2
# A complete build takes ten times as long.
plugins='custom inputs.statsd outputs.file inputs.kafka_consumer parsers.xpath outputs.influxdb outputs.socket_writer'
serializers='binary carbon2 cloudevents csv graphite influx json msgpack nowmetric prometheus prometheusremotewrite splunkmetric template wavefront'
for serializer in $serializers; do plugins+=" serializers.$serializer"; done
# Another list of plugins is another program.
built=$packages/telegraf-$version-$(cksum <<<"$plugins" | cut -d ' ' -f 1)

cmd_install() {
    if [[ ! -x $built/telegraf ]]; then
        command -v go >/dev/null || die "Go is missing; please install it"
        mkdir -p "$built"
        (
            flock 8
            [[ -x $built/telegraf ]] || build
        ) 8>"$built/lock"
    fi
    echo "TELEGRAF=$built/telegraf"
}

build() {
    local began=$SECONDS
    say "building Telegraf, which takes minutes"
    # Go from 1.21 on fetches the version that the module requires.
    GOTOOLCHAIN=auto GOBIN=$built.new go install -tags "$plugins" \
        "github.com/influxdata/telegraf/cmd/telegraf@$version" >&2
    mv "$built.new/telegraf" "$built/telegraf"
    rmdir "$built.new"
    say "built in $((SECONDS - began)) s"
}

case ${1:-}:$# in
install:1) cmd_install ;;
help:1 | -h:1 | --help:1) usage ;;
*)
    usage >&2
    exit 2
    ;;
esac
