#!/usr/bin/env bash
# Tests how the threads of the engine hand data over, with the model checker loom: it
# repeats each test in every order of the threads' steps that can make a difference.
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

# They take some seconds.
time_limit=5m

usage() {
    cat <<EOF
usage: scripts/loom.sh [TEST]

  TEST  run only the tests with this in their name

LOOM_LOG=trace LOOM_LOCATION=1 shows the steps that lead to a failure.
EOF
}

case ${1:-} in
-h | --help) usage && exit ;;
-*) usage >&2 && exit 2 ;;
esac

# Not in RUSTFLAGS: the flag has a meaning for other crates, too. Without optimisation, a reload needs more stack
# than the model checker gives a thread.
build() {
    cargo rustc --package engine --lib --profile test --locked \
        --message-format json-render-diagnostics -- --cfg loom -C opt-level=1
}

program=$(build | sed -n 's/.*"executable":"\([^"]*\)".*/\1/p')
cd crates/engine
output=$(timeout "$time_limit" "$program" "${1:-interleavings}" 2>&1) || {
    echo "$output"
    exit 1
}
echo "$output"
if ! grep --quiet '^test result: ok. [1-9]' <<<"$output"; then
    echo "no test has this in its name" >&2
    exit 1
fi
