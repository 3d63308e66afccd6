#!/usr/bin/env bash
# Builds the packages and tests them in a separate Debian system.
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

staging=target/package
work=$root/target/test-packages
# Longer than the test of the .deb takes on a busy machine.
patience=300

usage() {
    cat <<EOF
usage: scripts/test-packages.sh [--no-build | --release FOLDER]

Builds the packages, except with --no-build, and then:
  - checks the .deb with lintian;
  - creates a Debian with debootstrap (once), boots it, and in it installs the .deb from a
    signed repository, uses it under systemd, upgrades, removes and purges it;
  - installs, upgrades and erases the .rpm in another copy of that system.
With --release it only installs tallyd from the apt repository that scripts/release.sh wrote
to FOLDER, in such a system.
These systems need root; without it the script uses sudo.
EOF
}

build=true
release=
case ${1:-} in
'') ;;
--no-build) build=false ;;
--release) build=false && release=$(realpath "$2") ;;
-h | --help) usage && exit ;;
*) usage >&2 && exit 2 ;;
esac
begin() {
    echo
    echo "==> $*"
}

# --- the packages ------------------------------------------------------------------

# Builds packages of a later version that differ only in the configuration.
make_second() {
    local second=$work/two
    mkdir -p "$second"
    cp "$staging/tallyd.yaml" "$work/tallyd.yaml"
    echo "# of version two" >>"$staging/tallyd.yaml"
    "$(cargo_deb)" deb --no-build --no-strip --compress-system --fast --quiet \
        --deb-version 99.0.0-1 --output "$second/"
    "$(cargo_generate_rpm)" generate-rpm --auto-req disabled --payload-compress none \
        --set-metadata 'version = "99.0.0"' --output "$second/"
    mv "$work/tallyd.yaml" "$staging/tallyd.yaml"
}

# Makes a repository of the package, signed with a key of its own, and another key.
make_repository() {
    local folder=$work/repository gnupg key
    gnupg=$(mktemp -d)
    rm -rf "$folder"
    mkdir -p "$folder"
    cp "$staging"/*.deb "$folder/"
    for key in another tallyd; do
        GNUPGHOME=$gnupg gpg --batch --quiet --passphrase '' --quick-generate-key "$key" default default never
    done
    GNUPGHOME=$gnupg scripts/repositories.sh "$folder" tallyd
    GNUPGHOME=$gnupg gpg --armor --export another >"$folder/another-key.asc"
    GNUPGHOME=$gnupg gpgconf --kill all
    rm -rf "$gnupg"
}

# --- the systems -------------------------------------------------------------------

# Uses this host's release, for which the packages are built, and its mirror.
make_base() {
    local codename mirror
    if [[ -e $work/base.done ]]; then return; fi
    codename=$(sed -n 's/^VERSION_CODENAME=//p' /etc/os-release)
    # shellcheck disable=SC2016 # apt expands this
    mirror=$(apt-get indextargets --format '$(SITE)' "Codename: $codename" | sed -n 1p)
    rm -rf "$work/base"
    debootstrap --variant=minbase --include=systemd,systemd-sysv,adduser "$codename" \
        "$work/base" "$mirror" >"$work/debootstrap.log" ||
        { tail -n 20 "$work/debootstrap.log" && return 1; }
    touch "$work/base.done"
}

copy_base() { # NAME -> a fresh system in $work/NAME
    rm -rf "${work:?}/$1"
    cp --archive --reflink=auto "$work/base" "$work/$1"
}

test_deb() {
    local system=$work/deb result=0
    copy_base deb
    mkdir -p "$system/packages/two" "$system/etc/systemd/system/multi-user.target.wants"
    cp --recursive "$work/repository"/{apt,*.asc} "$system/packages/"
    cp "$work"/two/*.deb "$system/packages/two/"
    cp tests/packages/{deb,apt,links}.sh "$system/packages/"
    # The system shuts down after the test, with the test's status.
    cat >"$system/etc/systemd/system/package-test.service" <<EOF
[Unit]
After=systemd-user-sessions.service
SuccessAction=exit
FailureAction=exit
[Service]
Type=oneshot
ExecStart=/packages/deb.sh
TimeoutStartSec=$patience
StandardOutput=append:/packages/log
StandardError=inherit
EOF
    ln -s ../package-test.service "$system/etc/systemd/system/multi-user.target.wants/"
    timeout --kill-after=10 $((patience + 60)) systemd-nspawn --quiet --boot \
        --directory="$system" --machine=tallyd-packages --register=no --keep-unit \
        --private-network --link-journal=no --resolv-conf=off --timezone=off \
        </dev/null >"$work/boot.log" 2>&1 || result=$?
    cat "$system/packages/log" || tail -n 30 "$work/boot.log"
    return "$result"
}

test_rpm() {
    copy_base rpm
    # The scripts of the package read /proc.
    mount --bind /proc "$work/rpm/proc"
    tests/packages/rpm.sh "$work/rpm" "$staging"/*.rpm "$work"/two/*.rpm || result=$?
    umount "$work/rpm/proc"
    return "${result:-0}"
}

test_release() { # FOLDER
    local system=$work/release key=
    copy_base release
    mkdir -p "$system/packages"
    cp --recursive "$1/apt" tests/packages/apt.sh "$system/packages/"
    if [[ -e $1/tallyd.asc ]]; then
        cp "$1/tallyd.asc" "$system/packages/"
        key=/packages/tallyd.asc
    fi
    # The folder belongs to the program that verifies signatures, which has a user of its own.
    chmod -R go=u-w "$system/packages"
    chroot "$system" /packages/apt.sh /packages/apt $key
    chroot "$system" tallyd --version
    chroot "$system" tallyd check
    rm -rf "$system"
}

# --- main --------------------------------------------------------------------------

began=$SECONDS
if $build; then
    begin "building the packages"
    scripts/package.sh
fi
if ((EUID != 0)); then
    begin "continuing as root"
    arguments=(--no-build)
    if [[ -n $release ]]; then arguments=(--release "$release"); fi
    exec sudo env "PATH=$PATH" "HOME=$HOME" "$0" "${arguments[@]}"
fi
mkdir -p "$work"
if [[ -n $release ]]; then
    begin "creating a Debian system"
    make_base
    begin "installing from $release/apt"
    test_release "$release"
    echo "test-packages.sh: PASSED in $(duration $((SECONDS - began)))"
    exit
fi
rm -rf "${work:?}/two"
make_second
make_repository

begin "lintian"
lintian --allow-root --fail-on error,warning --display-level '>=warning' "$staging"/*.deb

begin "creating a Debian system"
make_base

begin "testing the .deb"
test_deb

begin "testing the .rpm"
test_rpm

rm -rf "$work"/{deb,rpm,two,repository}
echo
echo "test-packages.sh: PASSED in $(duration $((SECONDS - began)))"
