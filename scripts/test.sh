#!/usr/bin/env bash
# Runs all tests of tallyd, including those against real servers and with real
# clients: installs their requirements, starts the servers while cargo compiles, and
# stops them afterwards.
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

usage() {
    cat <<EOF
usage: scripts/test.sh [ARGUMENT...]

ARGUMENTs are passed to cargo test:
  scripts/test.sh                         everything
  scripts/test.sh kafka                   the tests with "kafka" in their name
  scripts/test.sh --test NAME -- --nocapture
EOF
}

# --- the steps -----------------------------------------------------------------

began=$SECONDS

begin() { # TITLE
    step=$1
    step_began=$SECONDS
    echo
    echo "==> $step"
}

finish() {
    echo "==> $step: done in $(duration $((SECONDS - step_began)))"
    step=
}

# --- the servers -----------------------------------------------------------------
#
# For each NAME in `servers` there are three functions:
#   start_NAME  runs in the background while cargo compiles, and ends when the server
#               answers; its stdout goes to $run/NAME.out, its stderr to $run/NAME.err.
#               It must `exec`, so that a signal to it ends the command.
#   export_NAME exports the address of the server to the tests, after start_NAME.
#   stop_NAME   stops the server, or does nothing if it does not run.

servers=(kafka influxdb prometheus prometheus_current victoriametrics otelcol carbon statsd telegraf statsd_exporter kamailio)
declare -A starting # NAME -> pid of its background process

start_kafka() { exec tests/servers/kafka.sh start "$run/kafka"; }
export_kafka() {
    TALLYD_TEST_KAFKA=$(sed -n 's/^KAFKA_BROKER=//p' "$run/kafka.out")
    export TALLYD_TEST_KAFKA
    echo "TALLYD_TEST_KAFKA=$TALLYD_TEST_KAFKA"
}
stop_kafka() { [[ ! -d $run/kafka ]] || tests/servers/kafka.sh stop "$run/kafka"; }

start_influxdb() { exec tests/servers/influxdb.sh start "$run/influxdb"; }
export_influxdb() {
    export_as TALLYD_TEST_INFLUXDB influxdb INFLUXDB_URL
    export_as TALLYD_TEST_INFLUXDB_AUTH influxdb INFLUXDB_AUTH_URL
}
stop_influxdb() { [[ ! -d $run/influxdb ]] || tests/servers/influxdb.sh stop "$run/influxdb"; }

start_prometheus() { exec tests/servers/prometheus.sh start "$run/prometheus"; }
export_prometheus() {
    export_as TALLYD_TEST_PROMETHEUS prometheus PROMETHEUS_URL
    export_as TALLYD_TEST_PROMETHEUS_TARGETS prometheus PROMETHEUS_TARGETS
    export_as TALLYD_TEST_PROMTOOL prometheus PROMTOOL
}
stop_prometheus() {
    [[ ! -d $run/prometheus ]] || tests/servers/prometheus.sh stop "$run/prometheus"
}

# Debian's version is too old for OTLP.
start_prometheus_current() {
    export TALLYD_TEST_PROMETHEUS_PROGRAM=current
    exec tests/servers/prometheus.sh start "$run/prometheus-current"
}
export_prometheus_current() {
    export_as TALLYD_TEST_PROMETHEUS_CURRENT prometheus_current PROMETHEUS_URL
}
stop_prometheus_current() {
    [[ ! -d $run/prometheus-current ]] ||
        tests/servers/prometheus.sh stop "$run/prometheus-current"
}

start_victoriametrics() {
    exec tests/servers/victoriametrics.sh start "$run/victoriametrics"
}
export_victoriametrics() {
    export_as TALLYD_TEST_VICTORIAMETRICS victoriametrics VICTORIAMETRICS_URL
    export_as TALLYD_TEST_VICTORIAMETRICS_GRAPHITE victoriametrics VICTORIAMETRICS_GRAPHITE
}
stop_victoriametrics() {
    [[ ! -d $run/victoriametrics ]] ||
        tests/servers/victoriametrics.sh stop "$run/victoriametrics"
}

# Exports a value from the output of a server's script under another name.
export_as() { # VARIABLE SERVER PRINTED
    export "$1=$(sed -n "s/^$3=//p" "$run/$2.out")"
    echo "$1=${!1}"
}
# Each test starts its own instance of these, because it stops the server or needs special settings.
start_otelcol() { exec tests/servers/otelcol.sh install; }
export_otelcol() { export TALLYD_TEST_OTELCOL=$root/tests/servers/otelcol.sh; }
stop_otelcol() { :; }

start_carbon() { exec tests/servers/carbon.sh install; }
export_carbon() { export TALLYD_TEST_CARBON=$root/tests/servers/carbon.sh; }
stop_carbon() { :; }

start_statsd() { exec tests/servers/statsd.sh install; }
export_statsd() { export TALLYD_TEST_STATSD=$root/tests/servers/statsd.sh; }
stop_statsd() { :; }

start_telegraf() { exec tests/servers/telegraf.sh install; }
export_telegraf() { export_as TALLYD_TEST_TELEGRAF_PROGRAM telegraf TELEGRAF; }
stop_telegraf() { :; }

start_statsd_exporter() { exec tests/servers/statsd_exporter.sh install; }
export_statsd_exporter() { export_as TALLYD_TEST_STATSD_EXPORTER statsd_exporter STATSD_EXPORTER; }
stop_statsd_exporter() { :; }

start_kamailio() { exec tests/servers/kamailio.sh install; }
export_kamailio() { export TALLYD_TEST_KAMAILIO=$root/tests/servers/kamailio.sh; }
stop_kamailio() { :; }

start_servers() {
    local server
    mkdir -p target/test-servers
    run=$(mktemp -d "$root/target/test-servers/run.XXXXXX")
    for server in "${servers[@]}"; do
        "start_$server" >"$run/$server.out" 2>"$run/$server.err" &
        starting[$server]=$!
        echo "$server: starting in the background, in $run"
    done
}

wait_for_servers() {
    local server failed=
    for server in "${servers[@]}"; do
        wait "${starting[$server]}" || failed+=" $server"
        unset "starting[$server]"
        cat "$run/$server.err"
    done
    if [[ -n $failed ]]; then
        echo "could not start:$failed"
        return 1
    fi
    for server in "${servers[@]}"; do "export_$server"; done
    # Without this, tests skip a missing server.
    export TALLYD_REQUIRE_SERVERS=1
}

stop_servers() {
    local server
    for server in "${!starting[@]}"; do
        kill "${starting[$server]}" 2>/dev/null || true
        wait "${starting[$server]}" || true
    done
    for server in "${servers[@]}"; do "stop_$server" || true; done
}

# --- the clients -------------------------------------------------------------------
#
# The client libraries of the tests, which are installed while cargo compiles.

install_clients() {
    tests/clients/install.sh target/test-clients >"$run/clients.out" 2>"$run/clients.err" &
    starting[clients]=$!
    echo "clients: installing in the background, in target/test-clients"
}

wait_for_clients() {
    local is_installed=true
    wait "${starting[clients]}" || is_installed=false
    unset "starting[clients]"
    cat "$run/clients.err"
    if ! $is_installed; then
        echo "could not install the clients"
        return 1
    fi
    TALLYD_TEST_CLIENTS_PYTHON=$(sed -n 's/^PYTHON=//p' "$run/clients.out")
    TALLYD_TEST_CLIENTS_NODE_PATH=$(sed -n 's/^NODE_PATH=//p' "$run/clients.out")
    TALLYD_TEST_CLIENTS_SKETCHES=$(sed -n 's/^SKETCHES=//p' "$run/clients.out")
    export TALLYD_TEST_CLIENTS_PYTHON TALLYD_TEST_CLIENTS_NODE_PATH TALLYD_TEST_CLIENTS_SKETCHES
}

# --- the end -----------------------------------------------------------------------

# Adds up cargo's lines "test result: ok. 5 passed; 0 failed; 1 ignored; ...".
count_tests() {
    awk '/^test result:/ { passed += $4; ignored += $8 }
         END { printf "tests passed: %d, ignored: %d", passed, ignored }' \
        "$run/cargo-test.log"
}

at_exit() {
    local status=$?
    trap - EXIT INT TERM
    if [[ -n ${run:-} ]]; then stop_servers; fi
    if ((status == 0)); then
        echo
        echo "test.sh: PASSED in $(duration $((SECONDS - began))): $(count_tests), real servers: ${servers[*]}"
        rm -rf "$run"
    else
        echo
        echo "test.sh: FAILED after $(duration $((SECONDS - began))), while: ${step:-starting}"
        if [[ -n ${run:-} ]]; then echo "test.sh: the logs of the servers are in $run"; fi
    fi
    exit "$status"
}

# --- main --------------------------------------------------------------------------

case ${1:-} in
-h | --help) usage && exit ;;
esac

# The first run of cargo only compiles, so it does not get the arguments after --, which
# are for the test programs.
cargo_args=()
for arg in "$@"; do
    if [[ $arg == -- ]]; then break; fi
    cargo_args+=("$arg")
done

trap at_exit EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

begin "installing missing tools"
scripts/setup.sh
finish

begin "starting the servers: ${servers[*]}, and installing the clients"
start_servers
install_clients
finish

begin "compiling the tests"
cargo test --workspace --all-features --locked --no-run "${cargo_args[@]}"
finish

begin "waiting for the servers and the clients"
wait_for_servers
wait_for_clients
finish

# A real browser, for the status page.
TALLYD_TEST_CHROMIUM=$(browser)
export TALLYD_TEST_CHROMIUM

begin "running the tests"
cargo test --workspace --all-features --locked "$@" | tee "$run/cargo-test.log"
finish
