#!/bin/bash
# Installs, upgrades and erases the .rpm in a folder with a system: rpm.sh FOLDER ONE TWO.
# scripts/test-packages.sh calls this. The system is a Debian, whose packages rpm does not know,
# hence --nodeps. The dependencies of the package are checked separately.
set -euo pipefail

root=$1 one=$2 two=$3

step() { echo "--- $*"; }
fail() { echo "FAILED: $*" && exit 1; }
expect() { # WHAT COMMAND...
    local what=$1
    shift
    "$@" || fail "$what"
}
rpm_in() { rpm --root "$root" --noplugins "$@"; }

step "what it needs"
rpm --query --package --requires "$one" | sort
unwanted=$(rpm --query --package --requires "$one" |
    grep --extended-regexp --invert-match '^(lib(c|m|gcc_s)\.so|ld-linux|rpmlib|rtld|config\(tallyd\)|/bin/sh|/usr/sbin/useradd)' || true)
expect "that it needs nothing else: $unwanted" test -z "$unwanted"

step "install"
rpm_in --initdb
rpm_in --install --nodeps "$one"
expect "a user" chroot "$root" id tallyd
rpm_in --verify --nodeps tallyd || fail "what is installed is not what is in the package"
expect "a configuration that is its group's to read" \
    test "$(chroot "$root" stat -c '%U:%G %a' /etc/tallyd/tallyd.yaml)" = "root:tallyd 640"
expect "that rpm knows it as one" test "$(rpm_in --query --configfiles tallyd)" = /etc/tallyd/tallyd.yaml
for file in prometheus/prometheus-alerts.yaml prometheus/prometheus-calls.yaml grafana/tallyd.json; do
    expect "$file, for everyone" test "$(stat -c %a "$root/usr/share/tallyd/$file")" = 644
done
expect "documents with links that lead somewhere" "$(dirname "$0")/links.sh" "$root/usr/share/doc/tallyd"
chroot "$root" tallyd --version
chroot "$root" tallyd check

step "upgrade, with a configuration that was changed"
echo 'interval: 1s' >>"$root/etc/tallyd/tallyd.yaml"
rpm_in --upgrade --nodeps "$two"
expect "the change" grep --quiet '^interval: 1s$' "$root/etc/tallyd/tallyd.yaml"
expect "the new configuration beside it" \
    grep --quiet 'of version two' "$root/etc/tallyd/tallyd.yaml.rpmnew"

step "erase"
rpm_in --erase tallyd
expect "the change, kept" grep --quiet '^interval: 1s$' "$root/etc/tallyd/tallyd.yaml.rpmsave"
rm "$root"/etc/tallyd/tallyd.yaml.*
# Packages of cargo-generate-rpm own only files, so empty folders stay.
left=$(find "$root/usr" "$root/etc" -path '*tallyd*' ! -type d | sort)
expect "that nothing is left: $left" test -z "$left"
echo "rpm: passed"
