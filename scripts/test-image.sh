#!/usr/bin/env bash
# Starts the container image from its layers and uses it: scripts/test-image.sh IMAGE.
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

work=$root/target/test-image

usage() {
    cat <<EOF
usage: scripts/test-image.sh IMAGE

Tests an image of scripts/image.sh:
  - skopeo reads it;
  - runc starts it from its layers, as its user, without capabilities, with a read-only root
    file system; its health check succeeds, it accepts a metric, and leaves state in its volume;
  - its program for arm64 starts, if qemu-aarch64 is installed.
These containers need root; without it the script uses sudo.
EOF
}

case ${1:-} in
-h | --help) usage && exit ;;
'') usage >&2 && exit 2 ;;
esac
image=$(realpath "$1")
if ((EUID != 0)); then exec sudo env "PATH=$PATH" "HOME=$HOME" "$0" "$image"; fi

name=tallyd-image-test
container=(runc --root "$work/run")

fail() {
    echo "FAILED: $*"
    cat "$work/log" 2>/dev/null || true
    exit 1
}

unpack() { # ARCH -> $work/ARCH and $work/ARCH.json
    mkdir -p "$work/$1"
    scripts/oci.py unpack --image "$image" --platform "linux/$1" --into "$work/$1" >"$work/$1.json" || return
    echo "linux/$1: $(du -sh --apparent-size "$work/$1" | cut -f 1) unpacked"
}

# A container as an engine makes it of the image's configuration, with the strictest options.
write_bundle() { # ARCH
    mkdir -p "$work/volume"
    chown 65532:65532 "$work/volume"
    echo "127.0.0.1 localhost" >"$work/hosts"
    python3 - "$work" "$1" >"$work/config.json" <<'EOF'
import json, sys

work, architecture = sys.argv[1:]
image = json.load(open(f"{work}/{architecture}.json"))["config"]
user, group = map(int, image["User"].split(":"))
tmpfs = ["nosuid", "nodev", "noexec"]
json.dump({
    "ociVersion": "1.0.2",
    "process": {
        "user": {"uid": user, "gid": group},
        "args": image["Entrypoint"] + image["Cmd"],
        "env": image["Env"],
        "cwd": image["WorkingDir"],
        "capabilities": {kind: [] for kind in ("bounding", "effective", "inheritable", "permitted", "ambient")},
        "noNewPrivileges": True,
    },
    "root": {"path": f"{work}/{architecture}", "readonly": True},
    "hostname": "container",
    "mounts": [
        {"destination": "/proc", "type": "proc", "source": "proc"},
        {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755"]},
        {"destination": "/run/tallyd", "type": "tmpfs", "source": "tmpfs",
         "options": tmpfs + [f"uid={user}", f"gid={group}"]},
        {"destination": "/etc/hosts", "type": "bind", "source": f"{work}/hosts", "options": ["bind", "ro"]},
    ] + [{"destination": volume, "type": "bind", "source": f"{work}/volume", "options": ["bind", "rw"]}
         for volume in image["Volumes"]],
    "linux": {"namespaces": [{"type": kind} for kind in ("pid", "ipc", "uts", "mount", "network")]},
}, sys.stdout, indent=1)
EOF
}

inside() { "${container[@]}" exec "$name" /usr/bin/tallyd "$@"; }

wait_until() { # WHAT COMMAND...
    local what=$1 tries
    shift
    for ((tries = 0; tries < 300; tries++)); do
        if "$@" >/dev/null 2>&1; then return; fi
        kill -0 "$pid" 2>/dev/null || fail "the container ended before: $what"
        sleep 0.1
    done
    fail "timeout: $what"
}

health_check() {
    local command
    mapfile -t command < <(python3 -c '
import json, sys
print(*json.load(open(sys.argv[1]))["config"]["Healthcheck"]["Test"][1:], sep="\n")' "$work/$1.json")
    "${container[@]}" exec "$name" "${command[@]}"
}

start() {
    "${container[@]}" run --bundle "$work" "$name" >"$work/log" 2>&1 &
    pid=$!
}

stop() {
    "${container[@]}" kill "$name" TERM
    wait "$pid" || fail "the container ended with status $?"
}

test_container() { # ARCH
    local process
    write_bundle "$1"
    start
    wait_until "the health check succeeds" health_check "$1"
    inside send user.logins counter --to udp://localhost:5090 --verify || fail "no metric is accepted"
    process=$("${container[@]}" state "$name" | sed -n 's/.*"pid" *: *\([0-9]*\).*/\1/p')
    grep -q "^Uid:.65532.65532" "/proc/$process/status" || fail "it does not run as its user"
    grep -q "^CapEff:.0000000000000000" "/proc/$process/status" || fail "it has capabilities"
    if touch "/proc/$process/root/etc/x" 2>"$work/touch"; then fail "the root file system can be written"; fi
    grep -q "Read-only file system" "$work/touch" || fail "$(cat "$work/touch")"
    stop
    [[ -n $(find "$work/volume" -type f -user 65532) ]] || fail "there is no state in the volume"
    grep -q "user.logins" "$work/log" || fail "the metric is not in the output"
    echo "linux/$1: started with a read-only root, healthy, accepted a metric, stopped"
}

trap '"${container[@]}" delete --force "$name" >/dev/null 2>&1 || true' EXIT
rm -rf "$work"
mkdir -p "$work"
echo "$(basename "$image"): $(du -h --apparent-size "$image" | cut -f 1)"
architecture=$(host_architecture)
skopeo inspect --override-arch "$architecture" "oci-archive:$image" >"$work/inspected.json"
grep -q '"org.opencontainers.image.revision"' "$work/inspected.json" || fail "skopeo finds no labels"
unpack "$architecture"
(($(grep -c 'BEGIN CERTIFICATE' "$work/$architecture/etc/ssl/certs/ca-certificates.crt") > 100)) ||
    fail "there are no CA certificates"
test_container "$architecture"

if [[ $architecture != arm64 ]] && have qemu-aarch64 && unpack arm64 2>/dev/null; then
    qemu-aarch64 -L "$work/arm64" "$work/arm64/usr/bin/tallyd" --version
fi
rm -rf "$work"
echo "test-image.sh: PASSED"
