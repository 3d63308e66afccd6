# shellcheck shell=bash
# Functions for the scripts that run a server from a Debian package, which source it.
# Such a script sets `name`, and before it starts or stops a server also `dir`.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd -P)
packages=$root/target/servers # where packages are unpacked
# shellcheck disable=SC2034  # used by the scripts that source this
start_limit=${SERVER_START_SECONDS:-300}
stop_limit=10 # from TERM to KILL

say() { echo "${name:?}: $*" >&2; }

die() {
    say "$*"
    exit 1
}

# --- packages ------------------------------------------------------------------
#
# Packages are unpacked below target/ instead of installed, which needs no root,
# creates no users and starts no services.

# Prints the path of PROGRAM of PACKAGE: the installed one, or the unpacked one.
program() { # PACKAGE PROGRAM
    command -v "$2" && return
    local path=$packages/$1/usr/sbin/$2
    [[ -x $path ]] || path=$packages/$1/usr/bin/$2
    echo "$path"
}

# Makes PROGRAM available. Several scripts may do so at the same time.
provide() { # PACKAGE PROGRAM
    [[ -x $(program "$1" "$2") ]] && return
    mkdir -p "$packages"
    (
        flock 8
        [[ -x $(program "$1" "$2") ]] || unpack "$1" "$2"
    ) 8>"$packages/apt.lock"
}

unpack() { # PACKAGE PROGRAM
    local new=$packages/$1.new
    command -v apt-get >/dev/null || die "$2 is missing, and this is not Debian: please install it"
    rm -rf "$new"
    mkdir -p "$new"
    say "fetching the package $1"
    download "$1" "$new" || { update_lists && download "$1" "$new"; } ||
        die "the package $1 cannot be fetched; is it in the sources of apt?"
    dpkg-deb -x "$new"/*.deb "$new/root"
    rm -rf "${packages:?}/$1"
    mv "$new/root" "$packages/$1"
    rm -rf "$new"
}

download() { # PACKAGE DIRECTORY
    local options=()
    # As root, apt would download as its own user, which must not write here.
    if ((EUID == 0)); then options=(-o APT::Sandbox::User=root); fi
    (cd "$2" && apt-get download -qq "${options[@]}" "$1" >&2)
}

update_lists() {
    if ((EUID == 0)); then
        apt-get update -qq >&2
    else
        sudo -n apt-get update -qq >&2
    fi
}

# --- Go --------------------------------------------------------------------------
#
# Programs of which Debian has no package, or an old one, are built with Go. The module in the folder
# of the server pins their versions.

# Prints what the programs of a module are built from; go.sum names all versions.
go_stamp() { # MODULE
    find "$root/tests/servers/$1" -type f \( -name '*.go' -o -name 'go.*' \) -print0 | sort -z | xargs -0 cat
    declare -f build_go
}

go_is_built() { # MODULE
    cmp -s <(go_stamp "$1") "$packages/$1/stamp"
}

# Builds PACKAGEs of the module into target/servers/MODULE, unless they are built. Several scripts may
# do so at the same time.
provide_go() { # MODULE PACKAGE...
    go_is_built "$1" && return
    command -v go >/dev/null || die "Go is missing; please install it"
    mkdir -p "$packages/$1"
    (
        flock 8
        go_is_built "$1" || build_go "$@"
    ) 8>"$packages/$1/lock"
}

build_go() { # MODULE PACKAGE...
    local module=$1 began=$SECONDS
    say "building it with Go, which takes minutes"
    # Go from 1.21 on fetches the version that go.mod requires. Not `go mod tidy`, which would need
    # the tests of all modules. Prometheus has a tag that leaves most service discoveries out: most of
    # its dependencies.
    GOTOOLCHAIN=auto go build -C "$root/tests/servers/$module" -mod=readonly -buildvcs=false \
        -trimpath -ldflags='-s -w' -tags=remove_all_sd -o "$packages/$module/" "${@:2}" >&2
    go_stamp "$module" >"$packages/$module/stamp"
    say "built in $((SECONDS - began)) s"
}

# --- ports ---------------------------------------------------------------------

listens() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

any_listens() { # PORTS, apart by blanks
    local port
    for port in $1; do if listens "$port"; then return; fi; done
    return 1
}

# Prints a free port below the range of ephemeral ports, so that no outgoing connection
# takes it before the server binds it.
free_port() {
    local port
    while true; do
        port=$((20000 + SRANDOM % 10000))
        listens "$port" || break
    done
    echo "$port"
}

# --- a running server, with the directory $dir -----------------------------------

# Prints the pid of the server whose command line contains ARGUMENT, or nothing. The pid
# in the file alone is not enough: another process may have it by now.
running_pid() { # PIDFILE ARGUMENT
    local pid
    pid=$(cat "$1" 2>/dev/null) || return 0
    if tr '\0' '\n' 2>/dev/null <"/proc/$pid/cmdline" | grep -xF -- "$2" >/dev/null; then
        echo "$pid"
    fi
}

# Starts a server in a separate session, because Ctrl-C in the terminal is for the tests,
# which then stop the server. It must not inherit descriptors: a reader of this
# script's output would wait for the server to end.
launch() { # PIDFILE LOG COMMAND...
    local pid_file=$1 log=$2
    shift 2
    setsid "$@" </dev/null >>"$log" 2>&1 9>&- &
    echo $! >"$pid_file"
}

# Waits until CHECK succeeds; fails if the server ends first, or at DEADLINE.
wait_until() { # DEADLINE PIDFILE ARGUMENT CHECK...
    local deadline=$1 pid_file=$2 argument=$3
    shift 3
    # The command line of the program takes a moment to appear, on a busy machine a long one. Until
    # then the pid seems to belong to another process.
    while ((SECONDS < deadline)) && kill -0 "$(<"$pid_file")" 2>/dev/null &&
        [[ -z $(running_pid "$pid_file" "$argument") ]]; do
        sleep 0.1
    done
    while ((SECONDS < deadline)); do
        if [[ -z $(running_pid "$pid_file" "$argument") ]]; then return 1; fi
        if "$@"; then return; fi
        sleep 0.1
    done
    return 1
}

stop_server() { # PIDFILE ARGUMENT
    local pid deadline=$((SECONDS + stop_limit)) signalled=
    pid=$(running_pid "$1" "$2")
    while [[ -n $pid && $pid == "$(running_pid "$1" "$2")" ]]; do
        if [[ -z $signalled ]]; then
            kill -TERM "$pid" 2>/dev/null || true
            signalled=TERM
        elif ((SECONDS > deadline)); then
            kill -KILL "$pid" 2>/dev/null || true
            signalled=KILL
        fi
        sleep 0.1
    done
    rm -f "$1"
}

# --- starting and stopping a server -------------------------------------------------
#
# For a server with its ports in $dir/ports, its pid in $dir/pid and its log in $dir/log.
# Its script sets `ports_wanted`, the number of ports, and defines the functions
# `argument`, which prints the distinctive part of its command line, `launch_once`, and
# `answers`.

# Creates DIR if it is missing, and locks it until this start ends.
enter() { # DIR
    mkdir -p "$1"
    dir=$(cd "$1" && pwd -P)
    exec 9>"$dir/lock"
    flock -w "$start_limit" 9 || die "another start in $dir does not end"
}

go_to() { # DIR
    [[ -d $1 ]] || die "no such directory: $1"
    dir=$(cd "$1" && pwd -P)
}

ports() { cat "$dir/ports"; }

choose_ports() { # last | new
    local port chosen=()
    if [[ $1 == last && -e $dir/ports ]] && ! any_listens "$(ports)"; then return; fi
    for ((port = 0; port < ${ports_wanted:?}; port++)); do chosen+=("$(free_port)"); done
    echo "${chosen[*]}" >"$dir/ports"
}

# Starts the server unless it runs, on its previous ports if these are free.
start_server() {
    local deadline=$((SECONDS + start_limit)) use=last
    [[ -z $(running_pid "$dir/pid" "$(argument)") ]] || return 0
    trap 'stop_server "$dir/pid" "$(argument)"' EXIT
    until choose_ports "$use" && launch_once &&
        wait_until "$deadline" "$dir/pid" "$(argument)" answers; do
        # The server ends by itself if another program has taken a port in between.
        stop_server "$dir/pid" "$(argument)"
        if ((SECONDS >= deadline)) || [[ $use == "new" ]]; then
            tail -n 20 "$dir/log" >&2
            die "does not start; see $dir/log"
        fi
        use=new
    done
    trap - EXIT
}

cmd_stop() { # DIR
    go_to "$1"
    stop_server "$dir/pid" "$(argument)"
}
