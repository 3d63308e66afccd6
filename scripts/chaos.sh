#!/usr/bin/env bash
# Runs the chaos test for long, with other seeds one after the other, and prints a summary.
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

usage() {
    cat <<EOF
usage: scripts/chaos.sh [--seconds N] [--seed S] [--round N] [--faults KINDS]

Injects random faults for N seconds in total (default: 600), in rounds of
--round seconds (default: 60), and accounts for every sample after each round.
The first round has seed S (default: 1), the next S+1 and so on. KINDS are kinds
of faults, separated by commas; with - before a kind, all others.

A round with a finding prints its seed, its latest faults and a folder with the
log, the timeline and all files. The next round follows nevertheless.
EOF
}

number() { # OPTION VALUE
    if [[ ! ${2:-} =~ ^[0-9]+$ ]]; then
        echo "chaos: $1 needs a number" >&2
        exit 2
    fi
    echo "$2"
}

seconds=600
seed=1
round=60
while (($# > 0)); do
    case $1 in
    --seconds) seconds=$(number "$1" "${2:-}") ;;
    --seed) seed=$(number "$1" "${2:-}") ;;
    --round) round=$(number "$1" "${2:-}") ;;
    --faults) export TALLYD_CHAOS_FAULTS=${2:-} ;;
    -h | --help) usage && exit ;;
    *) usage >&2 && exit 2 ;;
    esac
    shift 2
done

cargo build --workspace --bins --locked --quiet
cargo test --workspace --locked --quiet --test chaos --no-run
logs=$root/target/chaos
mkdir -p "$logs"

one_round() { # SEED SECONDS
    TALLYD_CHAOS_SEED=$1 TALLYD_CHAOS_SECONDS=$2 RUST_BACKTRACE=0 \
        cargo test --workspace --locked --quiet --test chaos -- --nocapture random_faults \
        >"$logs/$1.log" 2>&1
}

# Adds up the numbers of all rounds, such as `"kill": 7` and `73 kills`.
summary() {
    cat "$logs"/summary.*.log | awk '
        /^faults:/ {
            gsub(/[{}":,]/, " ")
            for (i = 2; i < NF; i += 2) faults[$i] += $(i + 1)
        }
        /samples/ { sub(/:$/, "", $1); samples[$1] += $2 }
        / replies of / { for (i = 1; i <= NF; i++) if ($i == "steps") steps += $(i - 1) }
        END {
            printf "steps sent: %d\n", steps
            for (name in samples) printf "samples at %s: %d\n", name, samples[name]
            for (kind in faults) printf "faults: %s %d\n", kind, faults[kind]
        }' | sort
}

rm -f "$logs"/summary.*.log
failed=()
for ((spent = 0; spent < seconds; spent += round)); do
    length=$((seconds - spent < round ? seconds - spent : round))
    if one_round "$seed" "$length"; then
        echo "seed $seed: every sample is accounted for"
    else
        failed+=("$seed")
        echo "seed $seed: FINDINGS, $logs/$seed.log"
        sed -n '/^findings:/,/^note:/p' "$logs/$seed.log" | head -n 12
    fi
    cp "$logs/$seed.log" "$logs/summary.$seed.log"
    seed=$((seed + 1))
done
summary
if ((${#failed[@]} > 0)); then
    echo "chaos: findings with seeds ${failed[*]}"
    exit 1
fi
echo "chaos: no finding in $(duration "$seconds") of faults"
