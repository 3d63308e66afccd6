#!/usr/bin/env bash
# Builds a real statsd_exporter from its Go module.
# `statsd_exporter.sh help` lists the commands.
set -euo pipefail
name=statsd_exporter
# shellcheck source=tests/servers/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

usage() {
    cat <<EOF
usage: tests/servers/statsd_exporter.sh COMMAND

  install   build statsd_exporter with Go, unless it is built; prints
              STATSD_EXPORTER=PATH
EOF
}

version=v0.31.0
built=$packages/statsd_exporter-$version

cmd_install() {
    if [[ ! -x $built/statsd_exporter ]]; then
        command -v go >/dev/null || die "Go is missing; please install it"
        mkdir -p "$built"
        (
            flock 8
            [[ -x $built/statsd_exporter ]] || build
        ) 8>"$built/lock"
    fi
    echo "STATSD_EXPORTER=$built/statsd_exporter"
}

build() {
    local began=$SECONDS
    say "building statsd_exporter, which takes a minute"
    # Go from 1.21 on fetches the version that the module requires.
    GOTOOLCHAIN=auto GOBIN=$built.new go install \
        "github.com/prometheus/statsd_exporter@$version" >&2
    mv "$built.new/statsd_exporter" "$built/statsd_exporter"
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
