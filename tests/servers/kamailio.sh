#!/usr/bin/env bash
# Installs, starts and stops a real Kamailio, and sends SIP traffic through it, for the tests.
# `kamailio.sh help` lists the commands.
set -euo pipefail
name=kamailio
# shellcheck source=tests/servers/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

templates=$(cd "$(dirname "${BASH_SOURCE[0]}")/kamailio" && pwd -P)

usage() {
    cat <<EOF
usage: tests/servers/kamailio.sh COMMAND

  install         fetch and unpack the Debian packages, unless the program is there
  start DIR       start a Kamailio that keeps its sockets, log and pid in DIR (made if
                  missing, with a short name) and wait until it answers; prints where:
                    KAMAILIO_UNIX=unix:DIR/ctl.sock
                    KAMAILIO_UNIXD=unixd:DIR/ctl.dgram
                    KAMAILIO_TCP=tcp:127.0.0.1:PORT
                    KAMAILIO_UDP=udp:127.0.0.1:PORT
                    KAMAILIO_TLS=127.0.0.1:PORT      (SIP, with a certificate of its own)
                    KAMAILIO_PID=PID
                  One that was stopped starts again on the same ports.
  traffic DIR [N] send it N (10) registrations, 5 N stateless requests, 4 N calls that it
                  refuses and N calls through a gateway
  rpc DIR METHOD [ARGUMENT...]
                  what kamcmd prints
  record DIR FOLDER NAME METHOD [ARGUMENT...]
                  call a method as kamcmd does, write FOLDER/NAME.request.bin, NAME.reply.bin and
                  NAME.kamcmd.txt, and print the row for FOLDER/index.tsv
  run FILE [OPTION...]
                  become a Kamailio with another configuration, in the foreground
  kill DIR        kill all its processes at once, as a crash would
  stop DIR        stop it; DIR stays
EOF
}

cmd_install() {
    provide kamailio kamailio
    local missing
    missing=$(libraries_of "$(program kamailio kamailio)" | grep 'not found' || true)
    [[ -z $missing ]] || die "libraries are missing, scripts/setup.sh installs them:$missing"
    provide_tls
    command -v openssl >/dev/null || die "openssl is missing; scripts/setup.sh installs it"
    have_sipp || die "sipp is missing; scripts/setup.sh installs it"
}

have_sipp() { command -v sipp >/dev/null; }

# Prints the folder of Kamailio's libraries and modules, installed or unpacked.
lib() {
    local program
    program=$(program kamailio kamailio)
    for folder in "${program%/sbin/*}"/lib/*/kamailio "${program%/sbin/*}"/lib/kamailio; do
        [[ -e $folder/modules/ctl.so ]] && echo "$folder" && return
    done
    die "the modules of $program are not found"
}

# Debian has this module in a separate package.
provide_tls() {
    tls_modules >/dev/null && return
    mkdir -p "$packages"
    (
        flock 8
        tls_modules >/dev/null || unpack kamailio-tls-modules tls.so
    ) 8>"$packages/apt.lock"
}

tls_modules() {
    for folder in "$(lib)/modules" "$packages"/kamailio-tls-modules/usr/lib/*/kamailio/modules; do
        [[ -e $folder/tls.so ]] && echo "$folder" && return
    done
    return 1
}

libraries_of() { LD_LIBRARY_PATH=$(lib) ldd "$1"; } # PROGRAM

argument() { echo "$dir/kamailio.cfg"; }

rpc() { LD_LIBRARY_PATH=$(lib) "$(program kamailio kamcmd)" -s "unix:$dir/ctl.sock" "$@"; }

answers() { [[ -S $dir/ctl.sock ]] && rpc core.uptime >/dev/null 2>&1; }

names=(SIP_PORT PEER_PORT DMQ_PORT DMQ_PEER_PORT UAS_PORT DOWN_PORT SPARE_PORT CTL_TCP_PORT
    CTL_UDP_PORT STATSD_PORT RTPENGINE_PORT CALLER_PORT TLS_PORT)
ports_wanted=${#names[@]}

port() { # NAME
    local index
    for index in "${!names[@]}"; do
        if [[ ${names[index]} == "$1" ]]; then ports | cut -d " " -f $((index + 1)); fi
    done
}

fill() { # TEMPLATE
    local name expressions=(-e "s|@RUNDIR@|$dir|g")
    for name in "${names[@]}"; do expressions+=(-e "s|@$name@|$(port "$name")|g"); done
    sed "${expressions[@]}" "$templates/$1" >"$dir/$1"
}

# Creates a key and a self-signed certificate.
make_certificate() {
    [[ -s $dir/tls.crt ]] || openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 \
        -nodes -days 3650 -subj /CN=testbed.invalid -keyout "$dir/tls.key" -out "$dir/tls.crt" \
        2>/dev/null
}

launch_once() {
    make_certificate
    fill kamailio.cfg
    fill dispatcher.list
    rm -f "$dir/ctl.sock" "$dir/ctl.dgram"
    LD_LIBRARY_PATH=$(lib) launch "$dir/pid" "$dir/log" "$(program kamailio kamailio)" -DD -E \
        -L "$(lib)/modules:$(tls_modules)" -f "$(argument)" -w "$dir" -Y "$dir" -m 32 -M 8
}

cmd_start() { # DIR
    enter "$1"
    ((${#dir} <= 90)) || die "the path of a socket has no room for $dir"
    cmd_install
    [[ -z $(running_pid "$dir/pid" "$(argument)") ]] || die "already running in $dir"
    start_server
    echo "KAMAILIO_UNIX=unix:$dir/ctl.sock"
    echo "KAMAILIO_UNIXD=unixd:$dir/ctl.dgram"
    echo "KAMAILIO_TCP=tcp:127.0.0.1:$(port CTL_TCP_PORT)"
    echo "KAMAILIO_UDP=udp:127.0.0.1:$(port CTL_UDP_PORT)"
    echo "KAMAILIO_TLS=127.0.0.1:$(port TLS_PORT)"
    echo "KAMAILIO_PID=$(cat "$dir/pid")"
}

# Runs a scenario of SIPp against Kamailio; its output goes to a log.
scenario() { # NAME CALLS [OPTION...]
    local scenario=$1 calls=$2
    shift 2
    TERM=dumb timeout --foreground 120 sipp "127.0.0.1:$(port SIP_PORT)" -sf "$templates/sipp/$scenario.xml" \
        -i 127.0.0.1 -p "$(port CALLER_PORT)" -t u1 -m "$calls" -r 50 -nostdin -timeout 100 \
        -timeout_error -cid_str "%u-%p-$scenario@testbed" "$@" \
        </dev/null >"$dir/sipp/$scenario.log" 2>&1 9>&- || {
        say "the scenario $scenario failed; see $dir/sipp/$scenario.log"
        return 1
    }
}

cmd_traffic() { # DIR [N]
    go_to "$1"
    local calls=${2:-10} code failed=0
    mkdir -p "$dir/sipp"
    # SIPp writes its logs to the current folder.
    cd "$dir/sipp"
    scenario register "$calls" || failed=1
    scenario options "$calls" || failed=1
    for code in 404 486 503 603; do scenario "reject_$code" "$calls" || failed=1; done
    TERM=dumb sipp -sf "$templates/sipp/uas.xml" -i 127.0.0.1 -p "$(port UAS_PORT)" -t u1 -nostdin \
        </dev/null >"$dir/sipp/uas.log" 2>&1 9>&- &
    gateway=$!
    trap 'kill "$gateway" 2>/dev/null || true; wait "$gateway" 2>/dev/null || true' EXIT
    sleep 0.5
    scenario call "$calls" -s bridge -d 100 -l 200 || failed=1
    return "$failed"
}

cmd_run() { # FILE [OPTION...]
    cmd_install
    export LD_LIBRARY_PATH
    LD_LIBRARY_PATH=$(lib)
    exec "$(program kamailio kamailio)" -DD -E -L "$(lib)/modules" -m 32 -M 8 -f "$@"
}

cmd_kill() { # DIR
    go_to "$1"
    local pid
    pid=$(running_pid "$dir/pid" "$(argument)")
    [[ -n $pid ]] || die "does not run in $dir"
    # It was started in a separate session, so it has a separate process group.
    kill -KILL -- "-$pid"
}

cmd_rpc() { # DIR METHOD [ARGUMENT...]
    go_to "$1"
    shift
    rpc "$@"
}

cmd_record() { # DIR FOLDER NAME METHOD [ARGUMENT...]
    go_to "$1"
    shift
    LD_LIBRARY_PATH=$(lib) python3 "$templates/record.py" "$dir/ctl.sock" "${@:1:2}" \
        "$(program kamailio kamcmd)" "${@:3}"
}

case ${1:-}:$# in
install:1) cmd_install ;;
start:2) cmd_start "$2" ;;
traffic:2 | traffic:3) cmd_traffic "$2" "${3:-10}" ;;
kill:2) cmd_kill "$2" ;;
stop:2) cmd_stop "$2" ;;
run:1) usage >&2 && exit 2 ;;
run:*) cmd_run "${@:2}" ;;
rpc:1 | rpc:2) usage >&2 && exit 2 ;;
record:1 | record:2 | record:3 | record:4) usage >&2 && exit 2 ;;
record:*) cmd_record "${@:2}" ;;
rpc:*) cmd_rpc "${@:2}" ;;
help:1 | -h:1 | --help:1) usage ;;
*)
    usage >&2
    exit 2
    ;;
esac
