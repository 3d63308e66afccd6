#!/usr/bin/env bash
# Prepares a fresh Debian or Ubuntu machine for building and testing tallyd.
# Installs only missing packages, and prints each command before it runs it.
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

usage() {
    cat <<EOF
usage: scripts/setup.sh [--build-only | --deb | --rpm | --arm64 | --packages | --release | --lint]

  (no option)   the requirements of building and testing
  --build-only  only those of building
  --deb, --rpm  those of building, and of building a package of this kind
  --amd64, --arm64
                those of building, and of building for that processor on another
  --packages    those of building, and of building and testing packages
  --image       those of building, and of building and testing the container image
  --chart       those of the check of the Helm chart
  --release     those of building everything for a release
  --lint        all of these but --arm64 and --release, and those of the checks of .ci/run

On Debian and Ubuntu, installs the missing packages (with sudo unless you are
root). On other systems, lists them.
EOF
}

build_only=false
deb=false
rpm=false
foreign=
package_tests=false
image=false
chart=false
release=false
lint=false
if (($# == 0)); then set -- ''; fi
for option in "$@"; do
    case $option in
    '') ;;
    --build-only) build_only=true ;;
    --deb) build_only=true deb=true ;;
    --rpm) build_only=true rpm=true ;;
    --amd64 | --arm64) build_only=true foreign=${option#--} ;;
    --packages) build_only=true deb=true rpm=true package_tests=true ;;
    --image) build_only=true image=true ;;
    --chart) build_only=true chart=true ;;
    --release) build_only=true deb=true rpm=true foreign=arm64 image=true chart=true release=true ;;
    --lint) deb=true rpm=true package_tests=true image=true chart=true lint=true ;;
    -h | --help) usage && exit ;;
    *) usage >&2 && exit 2 ;;
    esac
done

say() { echo "setup: $*" >&2; }

run() {
    say "\$ $*"
    "$@" </dev/null
}

# --- missing packages ----------------------------------------------------------

packages=() # Debian packages to install
wanted=()   # their descriptions: "mvn (fetches the Kafka broker)"

# Notes PACKAGE as missing unless all COMMANDS exist.
need() { # PACKAGE WHAT_FOR COMMAND...
    local package=$1 what_for=$2 command
    shift 2
    for command in "$@"; do
        if ! have "$command"; then
            note "$package" "$* ($what_for)"
            return
        fi
    done
}

# Does the same for a module of the system's Python, the only one that packages extend.
need_python_module() { # PACKAGE MODULE WHAT_FOR
    /usr/bin/python3 -c "import $2" 2>/dev/null || note "$1" "python3: $2 ($3)"
}

# Does the same for a shared library.
need_library() { # PACKAGE LIBRARY WHAT_FOR
    PATH=$PATH:/usr/sbin ldconfig -p | grep -F "$2 " >/dev/null || note "$1" "$2 ($3)"
}

note() { # PACKAGE DESCRIPTION
    packages+=("$1")
    wanted+=("$2")
}

java_version() { # -> 17, or nothing
    "${JAVA_HOME:+$JAVA_HOME/bin/}java" -version 2>&1 |
        sed -n 's/.* version "\([0-9]*\).*/\1/p' | head -n 1 || true
}

# A library of examples/sketches refuses all other versions. With a compiler, because a test starts a
# program from its source.
java_fits() {
    [[ $(java_version) =~ ^(17|21)$ ]] && have "${JAVA_HOME:+$JAVA_HOME/bin/}javac"
}

# Debian has venv in a separate package.
python_makes_environments() { python3 -c 'import ensurepip, venv' 2>/dev/null; }

node_is_new_enough() {
    local major
    major=$(node --version 2>/dev/null | sed -n 's/^v\([0-9]*\).*/\1/p')
    [[ -n $major ]] && ((major >= 18))
}

find_missing() {
    need build-essential "compile the Kafka client library" gcc g++ make
    need perl "builds C libraries" perl
    need curl "for trying out tallyd" curl
    if on_debian && [[ ! -s /etc/ssl/certs/ca-certificates.crt ]]; then
        note ca-certificates "certificates for verifying downloads"
    fi
    if $deb || $rpm; then find_missing_for_packages; fi
    if [[ -n $foreign ]]; then find_missing_for_processor; fi
    if $image; then find_missing_for_image; fi
    if $chart; then find_missing_for_chart; fi
    if $release; then find_missing_for_release; fi
    if $build_only; then return; fi

    need systemd "its tools test passed sockets and the units" \
        systemd-socket-activate systemd-analyze
    need groff "reads the manual pages" groff
    need python3 "runs helpers of the tests" python3
    python_makes_environments ||
        note python3-venv "Python's venv (for the Python clients of the tests)"
    node_is_new_enough ||
        note nodejs "node 18 or later (runs the Node.js client of the tests)"
    need npm "fetches the Node.js client" npm
    need golang-go "compiles the example in Go and the OpenTelemetry Collector" go
    need netcat-openbsd "sends test metrics" nc
    need iproute2 "creates the network namespace of the tutorial's test" ip
    [[ -n $(browser) ]] || note chromium "chromium or google-chrome (opens the status page)"
    need maven "fetches the Kafka broker" mvn
    java_fits || note JAVA "java and javac 17 or 21 (run the Kafka broker and a reader of its records)"
    need_python_module python3-twisted twisted "runs carbon, Graphite's storage"
    need_python_module python3-whisper whisper "reads the data of carbon"
    need_python_module python3-cachetools cachetools "carbon needs it"
    need_python_module python3-urllib3 urllib3 "carbon needs it"
    need openssl "makes a certificate for Kamailio" openssl
    need_python_module python3-django django "graphite-web, which renders the data of carbon, needs it"
    need_python_module python3-django-tagging tagging "graphite-web needs it"
    need_python_module python3-cairocffi cairocffi "graphite-web needs it"
    need_python_module python3-pyparsing pyparsing "graphite-web needs it"
    need_python_module python3-simplejson simplejson "graphite-web needs it"
    need_python_module python3-tz pytz "graphite-web needs it"
    need faketime "sets the clock of the daemon" faketime
    need sip-tester "sends SIP traffic through Kamailio" sipp
    # Kamailio itself is not installed but only unpacked, because its package starts a service.
    need_library libpcre3 libpcre.so.3 "Kamailio needs it"
    if $lint; then
        need shellcheck "checks the shell scripts" shellcheck
        need valgrind "counts instructions" valgrind
    fi
}

find_missing_for_packages() {
    need binutils "separates debug symbols" objcopy
    need python3 "collects licences" python3
    if $deb; then
        need dpkg-dev "finds what a .deb depends on" dpkg-shlibdeps
        need xz-utils "packs a .deb" xz
    fi
    if $package_tests; then find_missing_for_package_tests; fi
}

find_missing_for_processor() {
    local gnu
    gnu=$(gnu_of "$foreign")
    need "gcc-${gnu/_/-}" "compiles for $foreign" "$gnu-gcc"
    need "g++-${gnu/_/-}" "compiles for $foreign" "$gnu-g++"
    need qemu-user "runs programs for $foreign" "$(runner_for "$foreign" | cut -d ' ' -f 1)"
}

find_missing_for_image() {
    need python3 "packs the image" python3
    need dpkg "unpacks the libraries of the image" dpkg-deb
    need binutils "finds which libraries the program needs" readelf
    local keyring=debian-archive-keyring
    # Ubuntu has its keys in any case.
    [[ -e /usr/share/keyrings/$keyring.gpg ]] || grep -qx ID=ubuntu /etc/os-release ||
        note "$keyring" "Debian's keys (verify these libraries)"
    need runc "runs the image" runc
    need skopeo "reads the image" skopeo
}

find_missing_for_chart() {
    need golang-go "compiles Helm" go
    python_makes_environments || note python3-venv "Python's venv (for the schemas of Kubernetes)"
    node_is_new_enough || note nodejs "node 18 or later (for the schema of the Prometheus Operator)"
    need npm "fetches that schema" npm
}

find_missing_for_release() {
    need apt-utils "writes the apt repository" apt-ftparchive
    need createrepo-c "writes the yum repository" createrepo_c
    need maven "builds the Flink job" mvn
    java_fits || note JAVA "java and javac 17 or 21 (build the Flink job)"
    need util-linux "builds in a folder that is the same on every host" unshare
}

find_missing_for_package_tests() {
    need rpm "installs an .rpm" rpm
    need apt-utils "writes an apt repository" apt-ftparchive
    need dpkg-dev "lists its packages" dpkg-scanpackages
    need gnupg "signs it" gpg
    need lintian "checks a .deb" lintian
    need debootstrap "creates a Debian for testing packages" debootstrap
    need systemd-container "boots it" systemd-nspawn
}

# --- packages ------------------------------------------------------------------

on_debian() { have apt-get && have dpkg; }

as_root() {
    if ((EUID == 0)); then
        run "$@"
    elif have sudo; then
        run sudo "$@"
    else
        say "neither root nor sudo; run this as root, then restart the script: $*"
        exit 1
    fi
}

lists_are_fresh=false
update_lists() {
    if $lists_are_fresh; then return; fi
    as_root apt-get update -qq
    lists_are_fresh=true
}

in_apt() { apt-cache policy "$1" | grep 'Candidate: [0-9]' >/dev/null; } # PACKAGE

apt_install() { # PACKAGE...
    # Errors go to stderr; stdout would be hundreds of lines per package.
    as_root env DEBIAN_FRONTEND=noninteractive \
        apt-get install -qq -y -o Dpkg::Use-Pty=0 --no-install-recommends "$@" >/dev/null
}

# The default of a release may be too old (Ubuntu 22.04: Java 11) or too new.
java_package() {
    local package
    for package in openjdk-{21,17}-jdk-headless; do
        if in_apt "$package"; then
            echo "$package"
            return
        fi
    done
    echo default-jdk-headless
}

install_missing() {
    local i
    if ((${#packages[@]} == 0)); then
        say "all required tools are installed"
        return
    fi
    for i in "${wanted[@]}"; do say "missing: $i"; done
    if ! on_debian; then
        say "this is not Debian or Ubuntu: install these yourself, then restart the script"
        exit 1
    fi
    update_lists
    for i in "${!packages[@]}"; do
        if [[ ${packages[i]} == JAVA ]]; then packages[i]=$(java_package); fi
    done
    apt_install "${packages[@]}"

    if ! $build_only && ! java_fits; then
        say "java is still version $(java_version): point JAVA_HOME to Java 17 or 21, or"
        say "choose it with update-alternatives --config java"
        exit 1
    fi
    if ! $build_only && ! node_is_new_enough; then
        say "node is still $(node --version): install version 18 or later, then restart the script"
        exit 1
    fi
}

# --- Rust ----------------------------------------------------------------------

# Not `have cargo`, because rustup's cargo exists even without a toolchain.
cargo_works() { cargo --version >/dev/null 2>&1; }

install_rust() {
    if cargo_works; then return; fi
    say "missing: a Rust toolchain"
    if ! have rustup && on_debian; then
        update_lists
        if in_apt rustup; then apt_install rustup; fi
    fi
    if ! have rustup; then
        say "install Rust as described at https://rustup.rs, then restart the script"
        exit 1
    fi
    if ! run rustup default stable || ! cargo_works; then
        say "that failed; install Rust as described at https://rustup.rs, then restart the script"
        exit 1
    fi
}

check_rust_version() {
    local needed found
    needed=$(sed -n 's/^rust-version *= *"\([0-9.]*\)".*/\1/p' Cargo.toml | head -n 1)
    found=$(rustc --version | sed 's/^rustc \([0-9.]*\).*/\1/')
    if [[ $(printf '%s\n' "$needed" "$found" | sort -V | head -n 1) != "$needed" ]]; then
        say "Rust $found is too old, $needed is required; with rustup: rustup update stable"
        exit 1
    fi
    say "Rust $found is installed (required: ${needed:-any})"
}

install_rust_lints() {
    if cargo fmt --version >/dev/null 2>&1 && cargo clippy --version >/dev/null 2>&1; then return; fi
    say "missing: rustfmt or clippy"
    if ! have rustup; then
        say "install both for your Rust toolchain, then restart the script"
        exit 1
    fi
    run rustup component add rustfmt clippy
}

# The standard library for another processor.
install_target() {
    local triple
    triple=$(triple_of "$foreign")
    if [[ -d $(rustc --print target-libdir --target "$triple") ]]; then return; fi
    say "missing: Rust's standard library for $triple"
    if ! have rustup; then
        say "install it for your Rust toolchain, then restart the script"
        exit 1
    fi
    run rustup target add "$triple"
}

# --- main ----------------------------------------------------------------------

if ! on_debian; then
    say "required: gcc g++ make perl curl; Rust; for the tests also"
    say "chromium, python3 with venv, twisted, whisper, cachetools, urllib3, django, django-tagging,"
    say "cairocffi, pyparsing, simplejson and pytz, node 18 or later, npm, nc (OpenBSD's), go, mvn"
    say "(Maven), java 17 or 21, openssl, sipp, libpcre 3, systemd's tools, groff; for --packages"
    say "dpkg-dev, objcopy, xz, python3, rpm, lintian, debootstrap, systemd-nspawn, apt-ftparchive; for"
    say "--arm64 aarch64-linux-gnu-gcc and -g++, qemu-aarch64; for --image runc, skopeo and Debian's"
    say "keyring; for --chart go, npm; for --release createrepo_c, mvn, java, unshare; for --lint these"
    say "too, shellcheck, valgrind"
fi
find_missing
install_missing
install_rust
check_rust_version
if [[ -n $foreign ]]; then install_target; fi
if $lint; then install_rust_lints; fi
if $deb || $rpm; then cargo_auditable >/dev/null; fi
if $deb; then cargo_deb >/dev/null; fi
if $rpm; then cargo_generate_rpm >/dev/null; fi
