#!/bin/bash
# Installs the package, uses the service under its unit, upgrades, removes and purges it.
# scripts/test-packages.sh runs this as root in a freshly booted Debian. /packages contains apt, a signed
# repository with the package, and two/*.deb, a later version with another configuration.
set -euo pipefail
export DEBIAN_FRONTEND=noninteractive

step() { echo "--- $*"; }

fail() {
    echo "FAILED: $*"
    systemctl status --no-pager --full tallyd.service tallyd.socket || true
    journalctl --no-pager --unit tallyd.service | tail -n 40 || true
    exit 1
}

expect() { # WHAT COMMAND...
    local what=$1
    shift
    "$@" || fail "$what"
}

wait_until() { # WHAT COMMAND...
    local what=$1 tries
    shift
    for ((tries = 0; tries < 600; tries++)); do
        if "$@"; then return; fi
        sleep 0.1
    done
    fail "$what did not come"
}

status() {
    exec 9<>/dev/tcp/127.0.0.1/9495 || return
    printf 'GET /api/v1/status HTTP/1.0\r\n\r\n' >&9
    cat <&9
    exec 9>&-
}
status_has() { status 2>/dev/null | grep --quiet --fixed-strings "$1"; }

send() { # TIMES
    local i
    for ((i = 0; i < $1; i++)); do
        echo '{"metric_name":"sent","metric_type":"counter"}' >/dev/udp/127.0.0.1/5090
    done
}

property() { systemctl show --property "$1" --value tallyd.service; }
restarted_since() { [[ $(property MainPID) != "$1" && $(property ActiveState) == active ]]; }

override() { # UNIT, and the text from standard input
    mkdir -p "/etc/systemd/system/$1.d"
    cat >"/etc/systemd/system/$1.d/override.conf"
    systemctl daemon-reload
}

step "install from the repository"
if /packages/apt.sh /packages/apt /packages/another-key.asc; then fail "a wrong signature was accepted"; fi
/packages/apt.sh /packages/apt /packages/tallyd.asc
expect "a user" id tallyd
expect "that the service is enabled" systemctl is-enabled --quiet tallyd.service
expect "that the socket is not" test "$(systemctl is-enabled tallyd.socket)" = disabled
expect "that it runs" systemctl is-active --quiet tallyd.service
expect "that it runs as its user" test "$(stat -c %U "/proc/$(property MainPID)")" = tallyd
expect "a configuration that is its group's to read" \
    test "$(stat -c '%U:%G %a' /etc/tallyd/tallyd.yaml)" = "root:tallyd 640"
expect "a folder for the spools" test "$(stat -c '%U %a' /var/lib/tallyd)" = "tallyd 700"
for file in prometheus/prometheus-alerts.yaml prometheus/prometheus-calls.yaml grafana/tallyd.json; do
    expect "$file, for everyone" test "$(stat -c %a "/usr/share/tallyd/$file")" = 644
done
expect "documents with links that lead somewhere" /packages/links.sh /usr/share/doc/tallyd
tallyd --version
tallyd check
send 3
wait_until "what was sent" status_has '"received":3'
tells_status() { [[ $(property StatusText) == "received "* ]]; }
wait_until "the status" tells_status
step "what the service may not do"
grep --quiet '^CapBnd:[[:space:]]*0*$' "/proc/$(property MainPID)/status" || fail "capabilities"
grep --quiet '^Seccomp:[[:space:]]*2$' "/proc/$(property MainPID)/status" || fail "no filter"
grep --quiet '^Max core file size  *0  *0 ' "/proc/$(property MainPID)/limits" || fail "a memory image"
expect "an exposure of at most 1.5" systemd-analyze security --no-pager --threshold=15 tallyd.service
expect "that no number of crashes ends the service" test "$(property StartLimitIntervalUSec)" = 0
step "and what it has to"
nice_of() { # THREAD
    local stat
    stat=$(cat "/proc/$(property MainPID)"/task/*/stat | grep --fixed-strings "($1)" | head -n 1)
    cut -d ' ' -f 17 <<<"${stat#*) }"
}
expect "that listeners go first" test "$(nice_of aggregate)" -gt "$(nice_of listen-0)"

step "upgrade, with a configuration that was changed"
cat >>/etc/tallyd/tallyd.yaml <<EOF
interval: 1s
agent: { tags: { secret: "\${credential:canary}" } }
forwarders: { file: { path: /var/log/tallyd/points, format: json } }
EOF
printf canary-of-the-credential >/etc/tallyd/canary
chmod 0600 /etc/tallyd/canary
override tallyd.service <<EOF
[Service]
LoadCredential=canary:/etc/tallyd/canary
EOF
before=$(property MainPID)
dpkg --force-confold --install /packages/two/*.deb
expect "the change" grep --quiet '^interval: 1s$' /etc/tallyd/tallyd.yaml
expect "the new configuration beside it" grep --quiet 'of version two' /etc/tallyd/tallyd.yaml.dpkg-dist
expect "another process" restarted_since "$before"
send 2
wait_until "points with the credential" \
    grep --quiet --no-messages canary-of-the-credential /var/log/tallyd/points

step "a reload"
before=$(property MainPID)
sed -i 's/^interval: 1s$/interval: 2s/' /etc/tallyd/tallyd.yaml
tallyd check --diff
systemctl reload tallyd.service
expect "that it follows" status_has '"interval_s":2.0'
expect "the same process" test "$(property MainPID)" = "$before"
expect "that it runs" systemctl is-active --quiet tallyd.service
echo 'no_such_key: 1' >>/etc/tallyd/tallyd.yaml
if systemctl reload tallyd.service; then fail "a wrong configuration was not refused"; fi
expect "why, in the journal" journalctl --quiet --unit tallyd.service --grep 'unknown key .no_such_key'
expect "that it goes on" status_has '"interval_s":2.0'
expect "the same process still" test "$(property MainPID)" = "$before"
sed -i -e '/^no_such_key/d' -e 's/^interval: 2s$/interval: 1s/' /etc/tallyd/tallyd.yaml
tallyd reload

step "a socket that outlives the daemon"
systemctl stop tallyd.service
systemctl enable --quiet --now tallyd.socket
systemctl start tallyd.service
expect "the buffer that systemd gives" status_has '"receive_buffer":8388608'
: >/var/log/tallyd/points
sent=3000
send "$sent" &
sending=$!
for _ in 1 2 3; do systemctl restart tallyd.service; done
wait "$sending"
systemctl stop tallyd.service 2>/dev/null
systemctl start tallyd.service
counted() {
    sed -n 's/.*"name":"sent".*"count":\([0-9]*\).*/\1/p' /var/log/tallyd/points |
        awk '{ sum += $1 } END { print sum + 0 }'
}
all_counted() { (($(counted) == sent)); }
wait_until "all of what was sent over three restarts ($(counted) of $sent)" all_counted
echo "of $sent datagrams over three restarts, $(counted) arrived"

step "a daemon that hangs"
override tallyd.service <<EOF
[Service]
LoadCredential=canary:/etc/tallyd/canary
WatchdogSec=2
EOF
systemctl restart tallyd.service
before=$(property MainPID)
kill -STOP "$before"
wait_until "a start by the watchdog" restarted_since "$before"
expect "that it was the watchdog" journalctl --quiet --unit tallyd.service --grep 'watchdog'

step "remove"
dpkg --remove tallyd
expect "that nothing runs" test "$(systemctl is-active tallyd.service tallyd.socket | sort -u)" = inactive
expect "that the program is gone" test ! -e /usr/bin/tallyd
expect "the configuration still" test -e /etc/tallyd/tallyd.yaml
expect "the spools still" test -d /var/lib/tallyd

step "install again, then purge"
dpkg --install /packages/two/*.deb
expect "that it runs again" systemctl is-active --quiet tallyd.service
expect "the change still" grep --quiet '^interval: 1s$' /etc/tallyd/tallyd.yaml
rm -r /etc/tallyd/canary /etc/systemd/system/tallyd.service.d
dpkg --purge tallyd
for path in /etc/tallyd /var/lib/tallyd /var/log/tallyd /run/tallyd /usr/share/doc/tallyd /usr/share/tallyd; do
    expect "that $path is gone" test ! -e "$path"
done
if id tallyd 2>/dev/null; then fail "the user is still there"; fi
left=$(find /etc /usr /var/lib/systemd -name '*tallyd*' | sort)
expect "that nothing is left: $left" test -z "$left"
echo "deb: passed"
