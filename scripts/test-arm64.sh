#!/usr/bin/env bash
# Runs the black-box tests with a program for arm64, in an emulator: scripts/test-arm64.sh.
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

work=$root/target/test-arm64
excluded=tests/arm64.txt

usage() {
    cat <<EOF
usage: scripts/test-arm64.sh [--program FILE] [ARGUMENT...]

Builds the program for arm64 (scripts/package.sh --arch arm64 does the same), and runs the
black-box tests that need no server with it: the tests run on this host, the program in
qemu-aarch64. $excluded lists the tests that cannot pass in the emulator, with the
reason. ARGUMENTs are passed to cargo test, such as --test reload.

  --program  tests this program for arm64 instead
EOF
}

program=
case ${1:-} in
-h | --help) usage && exit ;;
--program) program=$(realpath "$2") && shift 2 ;;
esac

# In a subshell: the tests themselves, and the libraries that they link, are for this host.
compile() (
    use_compilers arm64
    env -u RUSTFLAGS cargo build --release --locked --package tallyd \
        --target "$(triple_of arm64)"
)

# The command that the tests start. Its process has the name of the program, as it would have on arm64:
# the kernel takes it from the name of the emulator.
write_wrapper() {
    local runner
    read -ra runner <<<"$(runner_for arm64)"
    mkdir -p "$work/bin"
    ln -sf "$(command -v "${runner[0]}")" "$work/bin/tallyd"
    cat >"$work/tallyd" <<EOF
#!/bin/sh
exec $work/bin/tallyd ${runner[*]:1} $program "\$@"
EOF
    chmod +x "$work/tallyd"
}

scripts/setup.sh --arm64
if [[ -z $program ]]; then
    compile
    program=$(realpath "$(build_folder arm64)/tallyd")
fi
write_wrapper
"$work/tallyd" --version
TALLYD_TEST_PROGRAM=$work/tallyd
export TALLYD_TEST_PROGRAM

skips=()
while read -r name _; do
    if [[ -n $name && $name != '#'* ]]; then skips+=(--skip "$name"); fi
done <"$excluded"

arguments=("$@")
if ((${#arguments[@]} == 0)); then arguments=(--tests); fi
cargo test --package black-box-tests --all-features --locked --no-fail-fast "${arguments[@]}" -- \
    --test-threads "$(nproc)" --exact "${skips[@]}" 2>&1 | tee "$work/log" || result=$?
awk '/^test result:/ { passed += $4; failed += $6 }
     END { printf "test-arm64.sh: passed: %d, failed: %d, ", passed, failed }' "$work/log"
echo "excluded: $((${#skips[@]} / 2))"
exit "${result:-0}"
