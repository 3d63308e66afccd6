#!/usr/bin/env bash
# Installs, starts and stops a real statsd, the one of the npm registry, for the tests.
# `statsd.sh help` lists the commands.
set -euo pipefail
name=statsd
# shellcheck source=tests/servers/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

package=$(cd "$(dirname "${BASH_SOURCE[0]}")/statsd" && pwd -P)
installed=$packages/statsd

usage() {
    cat <<EOF
usage: tests/servers/statsd.sh COMMAND

  install            fetch the packages that tests/servers/statsd/package-lock.json
                     names with npm, unless they are there
  start DIR CONFIG   start a statsd that keeps its configuration, log and pid in DIR
                     (made if missing) and wait until it answers; prints
                       STATSD=127.0.0.1:PORT        (UDP)
                       STATSD_ADMIN=127.0.0.1:PORT  (its management console, TCP)
                     CONFIG is what statsd takes as its configuration, such as
                       { flushInterval: 1000, backends: ["./backends/console"] }
                     Ports and addresses are added. The console backend writes to
                     DIR/log.
  stop DIR           stop it; DIR stays. What it has not flushed is lost.
EOF
}

# The stamp is a copy of the lock file, inside the directory: both appear in one rename.
is_installed() { cmp -s "$package/package-lock.json" "$installed/.installed-lock.json"; }

cmd_install() {
    is_installed && return
    command -v npm >/dev/null || die "npm is missing; scripts/setup.sh installs it"
    mkdir -p "$packages"
    # Tests may start servers in parallel: one of them fetches, the others wait.
    (
        flock 8
        is_installed || fetch
    ) 8>"$packages/statsd.lock"
}

fetch() {
    local new=$installed.new
    rm -rf "$new"
    mkdir -p "$new"
    cp "$package"/package*.json "$new"
    say "fetching what $package/package-lock.json names"
    # Its optional packages are for syslog, a proxy and Windows.
    npm --prefix "$new" ci --omit=optional --ignore-scripts --no-audit --no-fund --silent >&2
    cp "$package/package-lock.json" "$new/.installed-lock.json"
    rm -rf "$installed"
    mv "$new" "$installed"
}

argument() { echo "$dir/config.js"; }

# statsd answers on its console once it listens on all ports.
answers() {
    local port reply
    read -r _ port < <(ports)
    listens "$port" || return 1
    reply=$(exec 3<>"/dev/tcp/127.0.0.1/$port" && echo health >&3 && timeout 5 head -n 1 <&3)
    [[ $reply == "health: up" ]]
}

# The caller's configuration is a JavaScript expression, like statsd's configuration files.
write_config() { # CONFIG
    local udp admin
    read -r udp admin < <(ports)
    cat >"$dir/config.js" <<EOF
Object.assign(
$1
, { address: "127.0.0.1", port: $udp
  , mgmt_address: "127.0.0.1", mgmt_port: $admin
  , automaticConfigReload: false, title: false })
EOF
}

ports_wanted=2 # statsd, console

launch_once() {
    write_config "$given"
    launch "$dir/pid" "$dir/log" node "$installed/node_modules/statsd/stats.js" "$(argument)"
}

cmd_start() { # DIR CONFIG
    given=$2
    enter "$1"
    cmd_install
    [[ -z $(running_pid "$dir/pid" "$(argument)") ]] || die "already running in $dir"
    rm -f "$dir/ports"
    start_server
    local udp admin
    read -r udp admin < <(ports)
    echo "STATSD=127.0.0.1:$udp"
    echo "STATSD_ADMIN=127.0.0.1:$admin"
}

case ${1:-}:$# in
install:1) cmd_install ;;
start:3) cmd_start "$2" "$3" ;;
stop:2) cmd_stop "$2" ;;
help:1 | -h:1 | --help:1) usage ;;
*)
    usage >&2
    exit 2
    ;;
esac
