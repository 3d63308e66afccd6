#!/usr/bin/env bash
# Measures with cargo-mutants how many small errors in the code the unit tests of its
# package notice.
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

usage() {
    cat <<EOF
usage: scripts/mutants.sh [--package P] [--shard K/N] [FILE...]

Makes mutants of the package (default: engine), which are its code with one small
error each, and runs its unit tests with each. Prints the score, the share of the
mutants that a test notices, and those that none does. Fails if there are any.

  FILE         makes only mutants of this file: crates/engine/src/protocol/split.rs
  --shard K/N  tries only part K of N parts of the mutants; K begins at 0

Each mutant takes a build and a run of the tests. One that makes the tests last too
long counts as noticed, but is listed: check that it loops endlessly.
.cargo/mutants.toml excludes those that change nothing that a test could notice.
EOF
}

wrong_usage() { # MESSAGE
    echo "mutants: $1" >&2
    exit 2
}

package=engine
options=()
while (($# > 0)); do
    case $1 in
    --package)
        package=${2:-}
        shift
        ;;
    --shard)
        [[ ${2:-} =~ ^[0-9]+/[1-9][0-9]*$ ]] || wrong_usage "--shard needs K/N, as in 0/4"
        options+=(--shard "$2")
        shift
        ;;
    -h | --help) usage && exit ;;
    -*) usage >&2 && exit 2 ;;
    *)
        [[ -f $1 ]] || wrong_usage "no file $1 in $root"
        options+=(--file "$1")
        ;;
    esac
    shift
done
[[ -n $package ]] || wrong_usage "--package needs a name"

# Shrinking the counterexample of a property only takes time, and a file that remembers it
# would be part of the next mutant.
export PROPTEST_MAX_SHRINK_ITERS=0 PROPTEST_DISABLE_FAILURE_PERSISTENCE=true
export CARGO_PROFILE_DEV_DEBUG=0

results=$root/target/mutants
# Kept, so that the dependencies are built only once.
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$results/build}
mkdir -p "$results"
tool=$(cargo_tool cargo-mutants 27.1.0)

# Reports itself with status 2 that mutants were missed, and with 3 that tests took too long.
status=0
"$tool" mutants --package "$package" --test-package "$package" --jobs 1 \
    --timeout-multiplier 3 --minimum-test-timeout 60 --output "$results" \
    "${options[@]}" -- --lib || status=$?
if ((status != 0 && status != 2 && status != 3)); then exit "$status"; fi

outcome() { cat "$results/mutants.out/$1.txt"; } # caught|missed|timeout
count() { outcome "$1" | wc -l; }

endless=$(count timeout)
noticed=$(($(count caught) + endless))
all=$((noticed + $(count missed)))
if ((all == 0)); then
    echo "mutants: there is none to try" >&2
    exit 1
fi
outcome timeout | sed 's/^/endless?  /'
outcome missed | sed 's/^/SURVIVED  /'
permille=$((noticed * 1000 / all))
echo "mutants: $noticed of $all noticed ($endless of them by a timeout):" \
    "$((permille / 10)).$((permille % 10)) %"
((noticed == all))
