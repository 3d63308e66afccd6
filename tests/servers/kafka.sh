#!/usr/bin/env bash
# Installs, starts and stops a real Apache Kafka broker for the tests.
# `kafka.sh help` lists the commands.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
root=$(cd "$here/../.." && pwd -P)

pom=$here/kafka/pom.xml
work=$root/target/servers/kafka
libs=${KAFKA_LIBS:-$work/libs}
java=${JAVA_HOME:+$JAVA_HOME/bin/}java

start_limit=${KAFKA_START_SECONDS:-300} # the whole of `start`, its retries included
stop_limit=10                          # from TERM to KILL
idle_ms=${KAFKA_IDLE_MS:-5000}         # `consume` gives up after this long without a message

usage() {
    cat <<EOF
usage: tests/servers/kafka.sh COMMAND

  install                     fetch the broker's jars with Maven, unless they are there
  start DIR                   start a broker that keeps its data, log and pid in DIR (made
                              if missing) and wait until it answers; prints one line on
                              stdout: KAFKA_BROKER=127.0.0.1:PORT
                              A broker that was stopped starts again with its data, and
                              on the same port if that is still free.
  stop DIR                    stop it; DIR and its data stay
  topic BROKER NAME PARTITIONS [CONFIG=VALUE...]
                              create a topic, for example with max.message.bytes=1000
  consume BROKER TOPIC [MAX]  print KEY<tab>VALUE of the messages from the beginning, until
                              MAX of them or until none comes for KAFKA_IDLE_MS (now $idle_ms)
                              ms; the latter shows as a TimeoutException on stderr, and is
                              no failure

Progress and errors go to stderr. BROKER is HOST:PORT. The environment may set:
  KAFKA_LIBS           where the jars go   ($libs)
  KAFKA_START_SECONDS  time limit of start ($start_limit)
  KAFKA_IDLE_MS        see consume         ($idle_ms)
  JAVA_HOME            which Java to use   (17 or later)
EOF
}

say() { echo "kafka: $*" >&2; }

die() {
    say "$*"
    exit 1
}

# --- the jars ----------------------------------------------------------------

# The stamp is a copy of the pom, inside the directory: both appear in one rename.
installed() { cmp -s "$pom" "$libs/.installed-pom.xml"; }

cmd_install() {
    installed && return
    command -v mvn >/dev/null || die "Maven (mvn) is missing; scripts/setup.sh installs it"
    mkdir -p "$work" "$(dirname "$libs")"
    # Tests may start brokers in parallel: one of them fetches, the others wait.
    (
        flock 8
        installed || fetch_jars
    ) 8>"$libs.lock"
}

fetch_jars() {
    local began=$SECONDS new=$libs.new
    # Regardless of KAFKA_LIBS, never delete a directory that this script did not create.
    if [[ -e $libs && ! -e $libs/.installed-pom.xml ]]; then
        die "$libs exists, but was not made by this script"
    fi
    say "fetching the jars with Maven into $libs"
    rm -rf "$new"
    # Maven remembers a failed download: -U makes the second try a real one.
    run_maven "$new" || { say "trying once more" && run_maven "$new" -U; } || die "Maven failed"
    cp "$pom" "$new/.installed-pom.xml"
    rm -rf "$libs"
    mv "$new" "$libs"
    say "fetched $(find "$libs" -name '*.jar' | wc -l) jars in $((SECONDS - began)) s"
}

run_maven() { # OUTPUT_DIRECTORY [OPTION...]
    mvn -q -B -f "$pom" "${@:2}" dependency:copy-dependencies -DoutputDirectory="$1" </dev/null >&2
}

# --- java --------------------------------------------------------------------

need_java() {
    local version
    version=$("$java" -version 2>&1 | sed -n 's/.* version "\([0-9]*\).*/\1/p' | head -n 1) || true
    [[ -n $version ]] || die "no working Java found ($java); scripts/setup.sh installs one"
    ((version >= 17)) || die "$java is Java $version, but Kafka needs 17 or later"
}

# Runs one of Kafka's command line tools: short-lived, so tuned for a quick start.
tool() { # CLASS [ARGUMENT...]
    # Kafka unpacks its compression libraries into tmpdir: keep that in the checkout.
    mkdir -p "$work/tmp"
    "$java" -Xmx256m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -XX:-UsePerfData \
        -Djava.io.tmpdir="$work/tmp" \
        -Dorg.slf4j.simpleLogger.defaultLogLevel=warn \
        -cp "$libs/*" "$@"
}

# --- a running broker, with the directory $dir ---------------------------------

# Prints the pid of the broker of $dir, or nothing. The pid in the file alone is not
# enough (another process may have it by now), but the command line names the broker's
# configuration file.
running_pid() {
    local pid
    pid=$(cat "$dir/broker.pid" 2>/dev/null) || return 0
    if tr '\0' '\n' 2>/dev/null <"/proc/$pid/cmdline" | grep -xF "$dir/server.properties" >/dev/null; then
        echo "$pid"
    fi
}

ports() { cat "$dir/ports"; } # "BROKER_PORT CONTROLLER_PORT"

broker_address() {
    local port
    read -r port _ < <(ports)
    echo "127.0.0.1:$port"
}

cluster_id() { sed -n 's/^cluster\.id=//p' "$dir/data/meta.properties"; }

listens() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# Succeeds once the broker answers a metadata request with the ID of its cluster. Another
# program on this port would return another ID, or none.
answers() {
    local address reply
    address=$(broker_address)
    listens "${address#*:}" || return 1
    reply=$(timeout 10 "$BASH" "${BASH_SOURCE[0]}" cluster-id "$address" 2>/dev/null) || return 1
    [[ $reply == *"$(cluster_id)"* ]]
}

# --- start -------------------------------------------------------------------

cmd_start() { # DIR
    mkdir -p "$1"
    dir=$(cd "$1" && pwd -P)
    need_java
    cmd_install

    local deadline=$((SECONDS + start_limit)) began=$SECONDS
    exec 9>"$dir/lock"
    flock -w "$start_limit" 9 || die "another start in $dir does not end"

    if [[ -n $(running_pid) ]]; then
        say "already running in $dir (pid $(running_pid))"
        answers || die "but it does not answer at $(broker_address); see $dir/broker.log"
        echo "KAFKA_BROKER=$(broker_address)"
        return
    fi

    # Until the broker is ready, an end of this script for any reason ends the broker too.
    trap 'stop_broker' EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM

    local use=last
    while true; do
        choose_ports "$use"
        write_config
        format_storage
        launch
        wait_until_ready "$deadline" && break
        port_was_taken || start_failed
        say "a port was taken meanwhile: trying other ones"
        stop_broker
        use=new
    done

    trap - EXIT INT TERM
    say "ready at $(broker_address) after $((SECONDS - began)) s (pid $(running_pid))"
    echo "KAFKA_BROKER=$(broker_address)"
}

# A restarted broker should be where its clients expect it: "last" takes the previous
# ports, if there are any and they are still free.
choose_ports() { # last | new
    local broker controller
    if [[ $1 == last && -e $dir/ports ]]; then
        read -r broker controller < <(ports)
        ! listens "$broker" && ! listens "$controller" && return
        say "the ports of the last time ($broker, $controller) are taken: choosing other ones"
    fi
    broker=$(free_port)
    controller=$(free_port "$broker")
    echo "$broker $controller" >"$dir/ports"
}

# Prints a free port below the range of ephemeral ports, so that no outgoing connection
# takes it before the broker binds it.
free_port() { # [BUT_NOT_THIS_ONE]
    local port
    while true; do
        port=$((20000 + SRANDOM % 10000))
        [[ $port != "${1:-}" ]] && ! listens "$port" && break
    done
    echo "$port"
}

write_config() {
    local broker controller
    read -r broker controller < <(ports)
    cat >"$dir/server.properties" <<EOF
# Written by tests/servers/kafka.sh at every start.
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:$controller
controller.listener.names=CONTROLLER
listeners=PLAINTEXT://127.0.0.1:$broker,CONTROLLER://127.0.0.1:$controller
advertised.listeners=PLAINTEXT://127.0.0.1:$broker
log.dirs=$dir/data

auto.create.topics.enable=true
num.partitions=1

# With one broker nothing can be replicated, and Kafka's internal topics need only one
# partition (the first consumer waits until they exist).
default.replication.factor=1
min.insync.replicas=1
offsets.topic.replication.factor=1
offsets.topic.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
share.coordinator.state.topic.num.partitions=1

# Consumers get their partitions at once instead of after 3 s.
group.initial.rebalance.delay.ms=0

# Tests may send timestamps of years ago: such messages must not expire.
log.retention.ms=-1
EOF
}

format_storage() {
    [[ -e $dir/data/meta.properties ]] && return
    local id
    # A Kafka UUID: 16 bytes in URL-safe base64 without padding.
    id=$(head -c 16 /dev/urandom | base64 | tr '+/' '-_' | tr -d '=')
    tool kafka.tools.StorageTool format --cluster-id="$id" --config "$dir/server.properties" \
        >"$dir/format.log" 2>&1 9>&- || {
        cat "$dir/format.log" >&2
        die "formatting the storage failed"
    }
}

launch() {
    mkdir -p "$dir/tmp"
    touch "$dir/broker.log"
    log_from=$(($(wc -c <"$dir/broker.log") + 1)) # where this launch's log begins
    # In a separate session, because Ctrl-C in the terminal is for the tests, which then stop
    # the broker. It must not inherit descriptors: a reader of this script's output,
    # or a waiter for its lock, would wait for the broker to end.
    setsid "$java" -Xms64m -Xmx512m -XX:-UsePerfData \
        -Djava.io.tmpdir="$dir/tmp" \
        -Dorg.slf4j.simpleLogger.showDateTime=true \
        -Dorg.slf4j.simpleLogger.dateTimeFormat='yyyy-MM-dd HH:mm:ss.SSS' \
        -cp "$libs/*" kafka.Kafka "$dir/server.properties" \
        </dev/null >>"$dir/broker.log" 2>&1 9>&- &
    echo $! >"$dir/broker.pid"
    broker_job=$!
    say "started pid $!, waiting until it answers at $(broker_address)"
}

this_launch_log() { tail -c "+$log_from" "$dir/broker.log"; }

wait_until_ready() { # DEADLINE
    while ((SECONDS < $1)); do
        kill -0 "$broker_job" 2>/dev/null || return 1
        answers && return
        sleep 0.2
    done
    return 1
}

port_was_taken() {
    # Not grep -q, which ends at the first match: pipefail would then see tail's SIGPIPE.
    this_launch_log | grep -E 'BindException|Address already in use' >/dev/null
}

start_failed() {
    say "the end of $dir/broker.log:"
    this_launch_log | tail -n 60 >&2
    if kill -0 "$broker_job" 2>/dev/null; then
        die "the broker did not answer within $start_limit s"
    fi
    die "the broker ended before it answered"
}

# --- stop --------------------------------------------------------------------

cmd_stop() { # DIR
    [[ -d $1 ]] || die "no such directory: $1"
    dir=$(cd "$1" && pwd -P)
    if [[ -z $(running_pid) ]]; then
        rm -f "$dir/broker.pid"
        say "not running in $dir"
        return
    fi
    say "stopping pid $(running_pid)"
    stop_broker
}

stop_broker() {
    local pid deadline=$((SECONDS + stop_limit)) signalled=
    pid=$(running_pid)
    while [[ -n $pid && $pid == "$(running_pid)" ]]; do
        if [[ -z $signalled ]]; then
            kill -TERM "$pid" 2>/dev/null || true
            signalled=TERM
        elif ((SECONDS > deadline)); then
            if [[ $signalled == TERM ]]; then say "no end after $stop_limit s: killing it"; fi
            kill -KILL "$pid" 2>/dev/null || true
            signalled=KILL
        fi
        sleep 0.1
    done
    rm -f "$dir/broker.pid"
}

# --- looking into a broker -----------------------------------------------------

cmd_topic() { # BROKER NAME PARTITIONS [CONFIG=VALUE...]
    local broker=$1 name=$2 partitions=$3 config options=()
    shift 3
    for config in "$@"; do options+=(--config "$config"); done
    need_java
    cmd_install
    tool org.apache.kafka.tools.TopicCommand --bootstrap-server "$broker" --create \
        --topic "$name" --partitions "$partitions" --replication-factor 1 "${options[@]}" >&2
}

cmd_consume() { # BROKER TOPIC [MAX]
    local options=()
    if [[ -n ${3:-} ]]; then options+=(--max-messages "$3"); fi
    need_java
    cmd_install
    # Reading must not create the topic: a test may check that it does not exist.
    tool org.apache.kafka.tools.consumer.ConsoleConsumer --bootstrap-server "$1" --topic "$2" \
        --from-beginning --timeout-ms "$idle_ms" \
        --command-property allow.auto.create.topics=false \
        --formatter-property print.key=true \
        --formatter-property key.separator=$'\t' \
        "${options[@]}"
}

# Not in the usage text: `start` calls this with a time limit.
cmd_cluster_id() { # BROKER
    tool org.apache.kafka.tools.ClusterTool cluster-id --bootstrap-server "$1"
}

# --- main --------------------------------------------------------------------

arguments() { # AT_LEAST AT_MOST COUNT
    if (($3 < $1 || $3 > $2)); then
        usage >&2
        exit 2
    fi
}

command=${1:-}
shift || true
case $command in
install) arguments 0 0 $# && cmd_install ;;
start) arguments 1 1 $# && cmd_start "$1" ;;
stop) arguments 1 1 $# && cmd_stop "$1" ;;
topic) arguments 3 99 $# && cmd_topic "$@" ;;
consume) arguments 2 3 $# && cmd_consume "$@" ;;
cluster-id) arguments 1 1 $# && cmd_cluster_id "$1" ;;
help | -h | --help) usage ;;
*)
    usage >&2
    exit 2
    ;;
esac
