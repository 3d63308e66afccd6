#!/usr/bin/env bash
# Installs, starts and stops a real carbon-cache, Graphite's storage, for the tests, and renders its
# data with Graphite's web application.
# `carbon.sh help` lists the commands.
set -euo pipefail
name=carbon
# shellcheck source=tests/servers/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

# Debian's Python: the packages that carbon needs exist only for it.
python=/usr/bin/python3

usage() {
    cat <<EOF
usage: tests/servers/carbon.sh COMMAND

  install     fetch and unpack the Debian packages, unless the programs are there
  start DIR   start a carbon-cache that keeps its data, log and pid in DIR (made if
              missing) and wait until it answers; prints where it listens:
                CARBON=127.0.0.1:PORT          (plaintext, TCP and UDP)
                CARBON_PICKLE=127.0.0.1:PORT
                CARBON_PID=PID
              It keeps a point for each second of the last hour. One that was stopped
              starts again with its data, and on the same ports if these are free.
  stop DIR    stop it; DIR and its data stay
  dump DIR    what it has stored: a JSON object of {PATH: [[TIMESTAMP, VALUE], ...]}.
              It is behind by up to a second.
  render DIR QUERY...
              what graphite-web answers to /render?QUERY for each QUERY, a line each; QUERY
              has format=json
EOF
}

cmd_install() {
    provide graphite-carbon carbon-cache
    PYTHONPATH=$(modules) "$python" -c 'import carbon.cache, twisted, whisper' 2>/dev/null ||
        die "packages that carbon needs are missing; scripts/setup.sh installs them"
    provide graphite-web graphite-manage
    PYTHONPATH=$(web_modules) "$python" -c 'import graphite, cairocffi, django, pytz, simplejson, tagging' \
        2>/dev/null || die "packages that graphite-web needs are missing; scripts/setup.sh installs them"
}

# Prints the folder of the program's modules, installed or unpacked.
modules() {
    local program
    program=$(program graphite-carbon carbon-cache)
    echo "${program%/usr/bin/*}/usr/lib/python3/dist-packages"
}

web_modules() {
    local program
    program=$(program graphite-web graphite-manage)
    echo "${program%/usr/bin/*}/usr/lib/python3/dist-packages"
}

argument() { echo "--config=$dir/carbon.conf"; }

ports_wanted=3 # lines, pickle, queries

answers() {
    local port
    for port in $(ports); do listens "$port" || return; done
}

write_config() {
    local line pickle query
    read -r line pickle query < <(ports)
    mkdir -p "$dir/logs"
    cat >"$dir/carbon.conf" <<EOF
[cache]
STORAGE_DIR = $dir
LOCAL_DATA_DIR = $dir/whisper
CONF_DIR = $dir
LOG_DIR = $dir/logs
PID_DIR = $dir
LINE_RECEIVER_INTERFACE = 127.0.0.1
LINE_RECEIVER_PORT = $line
ENABLE_UDP_LISTENER = True
UDP_RECEIVER_INTERFACE = 127.0.0.1
UDP_RECEIVER_PORT = $line
PICKLE_RECEIVER_INTERFACE = 127.0.0.1
PICKLE_RECEIVER_PORT = $pickle
CACHE_QUERY_INTERFACE = 127.0.0.1
CACHE_QUERY_PORT = $query
MAX_CACHE_SIZE = inf
MAX_UPDATES_PER_SECOND = inf
MAX_CREATES_PER_MINUTE = inf
# Without carbon's metrics about itself, and without a web application to notify of tags.
CARBON_METRIC_INTERVAL = 0
ENABLE_TAGS = False
# The file has the name of the series, so that dump can print it.
TAG_HASH_FILENAMES = False
EOF
    : >"$dir/storage-aggregation.conf" # without, it complains
    cat >"$dir/storage-schemas.conf" <<EOF
[all]
pattern = .*
retentions = 1s:1h
EOF
}

launch_once() {
    write_config
    rm -f "$dir/carbon.pid"
    PYTHONPATH=$(modules) launch "$dir/pid" "$dir/log" \
        "$python" "$(program graphite-carbon carbon-cache)" \
        --nodaemon "$(argument)" --logdir="$dir/logs" --pidfile="$dir/carbon.pid" start
}

cmd_start() { # DIR
    enter "$1"
    cmd_install
    start_server
    local line pickle
    read -r line pickle _ < <(ports)
    echo "CARBON=127.0.0.1:$line"
    echo "CARBON_PICKLE=127.0.0.1:$pickle"
    echo "CARBON_PID=$(running_pid "$dir/pid" "$(argument)")"
}

cmd_dump() { # DIR
    "$python" - "$1/whisper" <<'EOF'
import json, os, struct, sys

import whisper

root = sys.argv[1]
stored = {}
for folder, _, files in os.walk(root):
    for file in files:
        path = os.path.relpath(os.path.join(folder, file), root)
        try:
            fetched = whisper.fetch(os.path.join(root, path), 0)
        except (whisper.WhisperException, struct.error, OSError):
            continue  # just being made
        if not fetched:
            continue
        name = path[: -len(".wsp")].split(os.sep)
        if name[0] == "_tagged":
            name = [os.sep.join(name[3:]).replace("_DOT_", ".")]
        (start, _, step), values = fetched
        points = [[start + step * n, v] for n, v in enumerate(values) if v is not None]
        stored[".".join(name)] = points
json.dump(stored, sys.stdout)
EOF
}

# Without a web server: the application is called directly.
cmd_render() { # DIR QUERY...
    PYTHONPATH=$(web_modules) "$python" -W ignore - "$@" <<'EOF'
import os, sys, tempfile

with tempfile.TemporaryDirectory() as storage:
    whisper = os.path.join(os.path.abspath(sys.argv[1]), "whisper")
    os.symlink(whisper, os.path.join(storage, "whisper"))
    os.makedirs(os.path.join(storage, "log", "webapp"))
    os.environ.update(
        DJANGO_SETTINGS_MODULE="graphite.settings",
        GRAPHITE_STORAGE_DIR=storage,
        GRAPHITE_CONF_DIR=storage,
    )
    import django
    from django.conf import settings

    settings.ALLOWED_HOSTS = ["*"]
    settings.DATABASES["default"]["NAME"] = ":memory:"
    settings.CARBONLINK_HOSTS = []
    django.setup()
    from django.test import Client

    for query in sys.argv[2:]:
        reply = Client().get("/render?" + query)
        if reply.status_code != 200:
            sys.exit(f"{query}: {reply.status_code}: {reply.content.decode()}")
        print(reply.content.decode())
EOF
}

case ${1:-}:$# in
install:1) cmd_install ;;
start:2) cmd_start "$2" ;;
stop:2) cmd_stop "$2" ;;
dump:2) cmd_dump "$2" ;;
render:1 | render:2) usage >&2 && exit 2 ;;
render:*) cmd_render "${@:2}" ;;
help:1 | -h:1 | --help:1) usage ;;
*)
    usage >&2
    exit 2
    ;;
esac
