#!/usr/bin/env bash
# Measures with cargo-mutants how many small errors in the code the unit tests of its
# package notice.
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

usage() {
    cat <<EOF
usage: scripts/mutants.sh [OPTION...] FILE...
       scripts/mutants.sh [OPTION...] --package P

Makes mutants of the files of one package: a mutant is the code with one small error.
Runs the package's unit tests with each of them. Prints the score, which is the share of
the mutants that a test notices, and lists the mutants that no test notices. Fails if
there are any.

  FILE            such as crates/engine/src/protocol/split.rs
  --package P     makes mutants of all files of the package
  --sample N      tries only N mutants, chosen at random
  --seed SEED     chooses the same sample again; the default is 1
  --shard K/N     tries only part K of N parts of the mutants; K begins at 0
  --features LIST builds the package with these features only, separated by commas,
                  which takes less time: --features console,file for the spool

Each mutant takes a build and a run of the tests, about 20 s. One that makes the tests
last too long counts as noticed, but is listed: check that it loops endlessly. One that
does not compile does not count.
.cargo/mutants.toml excludes those that change nothing that a test could notice.
EOF
}

wrong_usage() { # MESSAGE
    echo "mutants: $1" >&2
    exit 2
}

# Prints the name of the package that a file belongs to.
package_of() { # FILE -> name
    local folder
    folder=$(dirname "$1")
    until [[ -f $folder/Cargo.toml ]]; do folder=$(dirname "$folder"); done
    sed -n '/^name = "\(.*\)"$/ { s//\1/p; q }' "$folder/Cargo.toml"
}

# Prints N of the lines from standard input, the same ones for the same seed.
choose() { # N SEED
    awk -v seed="$2" 'BEGIN { srand(seed) } { print rand() "\t" $0 }' |
        sort --general-numeric-sort | sed -n "1,$1 s/[^\t]*\t//p"
}

package=
sample=
seed=1
options=()
while (($# > 0)); do
    case $1 in
    --package | --sample | --seed | --shard | --features) value=${2:-} ;;&
    --package)
        [[ -n $value ]] || wrong_usage "--package needs a name"
        package=$value
        shift
        ;;
    --sample)
        [[ $value =~ ^[1-9][0-9]*$ ]] || wrong_usage "--sample needs a number, as in 30"
        sample=$value
        shift
        ;;
    --seed)
        [[ $value =~ ^[0-9]+$ ]] || wrong_usage "--seed needs a number"
        seed=$value
        shift
        ;;
    --shard)
        [[ $value =~ ^[0-9]+/[1-9][0-9]*$ ]] || wrong_usage "--shard needs K/N, as in 0/4"
        options+=(--shard "$value")
        shift
        ;;
    --features)
        options+=(--no-default-features --features "$value")
        shift
        ;;
    -h | --help) usage && exit ;;
    -*) usage >&2 && exit 2 ;;
    *)
        [[ -f $1 ]] || wrong_usage "no file $1 in $root"
        options+=(--file "$1")
        package=${package:-$(package_of "$1")}
        ;;
    esac
    shift
done
[[ -n $package ]] || wrong_usage "a file or --package is missing; see --help"

# Shrinking the counterexample of a property only takes time, and a file that remembers it
# would be part of the next mutant.
export PROPTEST_MAX_SHRINK_ITERS=0 PROPTEST_DISABLE_FAILURE_PERSISTENCE=true
export CARGO_PROFILE_DEV_DEBUG=0

results=$root/target/mutants
# Kept, so that the dependencies are built only once.
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$results/build}
mkdir -p "$results"
tool=$(cargo_tool cargo-mutants 27.1.0)
mutants=("$tool" mutants --package "$package" "${options[@]}")

if [[ -n $sample ]]; then
    while IFS= read -r pattern; do
        mutants+=(--re "^$pattern\$")
    done < <("${mutants[@]}" --list | choose "$sample" "$seed" |
        sed 's/[][\.*+?(){}|^$]/\\&/g')
fi

# The tool reports with status 2 that mutants were missed, and with 3 that tests took too long. The
# timeout is fixed and not a multiple of the time without mutants: otherwise each mutant that loops
# endlessly would take minutes if the machine was busy at the start.
status=0
"${mutants[@]}" --test-package "$package" --jobs 1 --timeout 60 --output "$results" \
    --cargo-arg=--lib || status=$?
if ((status != 0 && status != 2 && status != 3)); then exit "$status"; fi

outcome() { cat "$results/mutants.out/$1.txt"; } # caught|missed|timeout
count() { outcome "$1" | wc -l; }

endless=$(count timeout)
noticed=$(($(count caught) + endless))
all=$((noticed + $(count missed)))
if ((all == 0)); then
    echo "mutants: there are no mutants to try" >&2
    exit 1
fi
outcome timeout | sed 's/^/endless?  /'
outcome missed | sed 's/^/SURVIVED  /'
permille=$((noticed * 1000 / all))
echo "mutants: $noticed of $all noticed ($endless of them by a timeout):" \
    "$((permille / 10)).$((permille % 10)) %"
((noticed == all))
