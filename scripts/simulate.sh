#!/usr/bin/env bash
# Simulates the delivery with faults and crashes, see tests/simulation. Without
# --from, each run has other seeds.
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

usage() {
    cat <<EOF
usage: scripts/simulate.sh [--from SEED] [--seeds N] [--windows N] [--trace]
                           [--keep-going]

Runs simulations until N seeds are done and N windows are closed (default:
1,000,000 windows). A failure prints its seed and the last events;
  scripts/simulate.sh --from SEED --seeds 1 --trace
repeats it exactly, and prints all events.
EOF
}

from=$(($(date +%s) * 1000))
arguments=()
has_amount=false
while (($# > 0)); do
    case $1 in
    -h | --help) usage && exit ;;
    --from)
        from=${2:-}
        shift
        ;;
    --seeds | --windows)
        has_amount=true
        arguments+=("$1" "${2:-}")
        shift
        ;;
    --trace | --keep-going) arguments+=("$1") ;;
    *) usage >&2 && exit 2 ;;
    esac
    shift
done
if ! $has_amount; then arguments+=(--windows 1000000); fi

cargo run --locked --profile simulation --package simulation -- --from "$from" "${arguments[@]}"
