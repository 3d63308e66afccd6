#!/usr/bin/env bash
# Installs, starts and stops real InfluxDB 1.x servers for the tests.
# `influxdb.sh help` lists the commands.
set -euo pipefail
name=influxdb
# shellcheck source=tests/servers/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

usage() {
    cat <<EOF
usage: tests/servers/influxdb.sh COMMAND

  install     fetch and unpack the Debian package, unless the program is there
  start DIR   start two servers that keep their data, logs and pids in DIR (made if
              missing) and wait until they answer; prints where they listen:
                INFLUXDB_URL=http://127.0.0.1:PORT        no passwords
                INFLUXDB_AUTH_URL=http://127.0.0.1:PORT   passwords are asked for, and no
                                                          request is over 64 KiB
              On the second, admin (password "admin password") may do everything.
              Servers that were stopped start again with their data, and on the same
              ports if these are still free.
  stop DIR    stop them; DIR and its data stay
EOF
}

cmd_install() { provide influxdb influxd; }

config() { echo "$dir/$1.conf"; } # open | auth
url() { echo "http://127.0.0.1:$(cat "$dir/$1.port")"; }
status() { curl -s -o /dev/null -m 5 -w '%{http_code}' "$@"; }
answers() { [[ $(status "$(url "$1")/ping") == 204 ]]; }

write_config() { # open | auth
    local auth=false body_max=0
    if [[ $1 == auth ]]; then auth=true body_max=65536; fi
    cat >"$(config "$1")" <<EOF
# Written by tests/servers/influxdb.sh at every start.
reporting-disabled = true
bind-address = "127.0.0.1:$(free_port)"
[meta]
dir = "$dir/$1/meta"
[data]
dir = "$dir/$1/data"
wal-dir = "$dir/$1/wal"
# No limits on series, because tests write many different names.
max-series-per-database = 0
max-values-per-tag = 0
[http]
bind-address = "127.0.0.1:$(cat "$dir/$1.port")"
auth-enabled = $auth
max-body-size = $body_max
log-enabled = false
[monitor]
store-enabled = false
[retention]
enabled = false
EOF
}

start_one() { # open | auth
    local deadline=$((SECONDS + start_limit)) attempt
    [[ -z $(running_pid "$dir/$1.pid" "$(config "$1")") ]] || return 0
    for attempt in 1 2; do
        # The server ends by itself if another program has taken its port in between.
        if [[ ! -e $dir/$1.port || $attempt == 2 ]] || listens "$(cat "$dir/$1.port")"; then
            free_port >"$dir/$1.port"
        fi
        write_config "$1"
        launch "$dir/$1.pid" "$dir/$1.log" "$(program influxdb influxd)" -config "$(config "$1")"
        if wait_until "$deadline" "$dir/$1.pid" "$(config "$1")" answers "$1"; then return; fi
        stop_server "$dir/$1.pid" "$(config "$1")"
    done
    tail -n 20 "$dir/$1.log" >&2
    die "does not start; see $dir/$1.log"
}

# The first user can be created without authentication; after that it is required.
make_admin() {
    local query="CREATE USER admin WITH PASSWORD 'admin password' WITH ALL PRIVILEGES"
    # Hashing a password is deliberately slow, and other programs may be compiling.
    status "$(url auth)/query" -m 120 --data-urlencode "q=$query" >/dev/null ||
        die "cannot make the user that tests log in as"
}

cmd_start() { # DIR
    enter "$1"
    cmd_install
    trap stop_both EXIT
    start_one open
    start_one auth
    make_admin
    trap - EXIT
    echo "INFLUXDB_URL=$(url open)"
    echo "INFLUXDB_AUTH_URL=$(url auth)"
}

stop_both() {
    local which
    for which in open auth; do stop_server "$dir/$which.pid" "$(config "$which")"; done
}

cmd_stop() { # DIR
    go_to "$1"
    stop_both
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
