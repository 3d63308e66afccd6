#!/usr/bin/env bash
# Counts the instructions of the hot paths under callgrind and compares them with the
# committed figures. Unlike times, instruction counts are reproducible.
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

committed=benches/instructions.txt
document=docs/performance.md
# Two runs differ by less than 0.1 %.
tolerance=5

usage() {
    cat <<EOF
usage: scripts/bench-instructions.sh [--accept | BEGINNING...]

Prints the instructions per message, series or point and the figures in
$committed. Fails if one is more than $tolerance % worse or has no figure
there. Needs valgrind.

  BEGINNING  run only benchmarks whose names begin with this: decode, record/json
  --accept   write the new figures to $committed and $document
EOF
}

accept=false
beginnings=()
for argument in "$@"; do
    case $argument in
    -h | --help) usage && exit ;;
    --accept) accept=true ;;
    -*) usage >&2 && exit 2 ;;
    *) beginnings+=("$argument") ;;
    esac
done
if $accept && ((${#beginnings[@]} > 0)); then usage >&2 && exit 2; fi

if ! have valgrind; then
    echo "valgrind is missing; scripts/setup.sh --lint installs it" >&2
    exit 1
fi

# --- counting --------------------------------------------------------------------

# Builds with the release profile, without flags from the environment. The benchmarks
# are a separate package, so that librdkafka is not built.
build() {
    env -u RUSTFLAGS -u CARGO_ENCODED_RUSTFLAGS -u CARGO_BUILD_RUSTFLAGS \
        cargo build --release --locked --package benches --bin instructions
}

# Prints the tools and the CPU features on which the counts depend. The C library and
# memchr select code by CPU features.
tools() {
    local avx2=without
    if grep --quiet --word-regexp avx2 /proc/cpuinfo; then avx2=with; fi
    echo "$(rustc --version), $(uname -m) $avx2 AVX2," \
        "$(getconf GNU_LIBC_VERSION), $(valgrind --version)"
}

names() {
    local name beginning
    "$program" | while IFS= read -r name; do
        for beginning in "${beginnings[@]-}"; do
            if [[ $name == "$beginning"* ]]; then echo "$name"; fi
        done
    done
}

# Writes "NAME INSTRUCTIONS" to a file in $run. Each benchmark runs in a separate
# process, so that a new one does not change the counts of the others.
count() { # NAME
    local profile units
    profile=$run/$(tr / - <<<"$1").callgrind
    units=$(valgrind --tool=callgrind --quiet --callgrind-out-file="$profile" \
        --toggle-collect='*counted_region*' "$program" "$1")
    awk -v name="$1" -v units="$units" '
        $1 == "summary:" { total = $2 }
        END {
            if (!total || !units) exit 1
            printf "%s %.1f\n", name, total / units
        }' "$profile" >"${profile%.callgrind}.count" || {
        echo "$1: no instructions were counted" >&2
        return 1
    }
}

count_all() { # NAME... -> lines of count, in this order
    local name running=0
    for name in "$@"; do
        if ((running == $(nproc))); then
            wait -n
            running=$((running - 1))
        fi
        count "$name" &
        running=$((running + 1))
    done
    for (( ; running > 0; running--)); do wait -n; done
    for name in "$@"; do cat "$run/$(tr / - <<<"$name").count"; done
}

# --- comparing -------------------------------------------------------------------

# Reads two files of lines "NAME INSTRUCTIONS" and prints a table. Status 1: a figure is
# worse, or in one file only. Status 3: none is worse, and at least one is better.
compare() { # OLD NEW
    awk -v tolerance="$tolerance" -v all="$((${#beginnings[@]} == 0))" '
        function row(name, old, new, change) {
            printf "| %-28s | %9s | %9s | %-14s |\n", name, old, new, change
        }
        BEGIN {
            row("benchmark", "committed", "now", "change")
            row("---", "---", "---", "---")
        }
        $1 == "#" { next }
        FILENAME == ARGV[1] { old[$1] = $2; next }
        !($1 in old) {
            row($1, "", $2, "new")
            unlisted++
            next
        }
        {
            percent = 100 * ($2 - old[$1]) / old[$1]
            verdict = percent > tolerance ? " WORSE" : percent < -tolerance ? " better" : ""
            worse += verdict == " WORSE"
            better += verdict == " better"
            row($1, old[$1], $2, sprintf("%+.1f %%%s", percent, verdict))
            delete old[$1]
        }
        END {
            if (all) for (name in old) {
                row(name, old[name], "", "gone")
                unlisted++
            }
            print ""
            if (worse) print worse, "more than", tolerance, "% worse than committed."
            if (better) print better, "more than", tolerance, "% better than committed."
            if (unlisted) print unlisted, "new or gone."
            exit worse || unlisted ? 1 : better ? 3 : 0
        }' "$1" "$2"
}

# Figures are compared, and a worse one fails, even if the tools differ: a compiler that
# makes the daemon slower must be noticed too, and a check that passes after every
# update of a tool would soon check nothing.
note_other_tools() {
    local noted
    noted=$(sed -n 's/^# counted with: //p' "$committed")
    if [[ $noted == "$(tools)" ]]; then return; fi
    cat <<EOF

ATTENTION: the committed figures were counted with other tools, which may explain a
change. To find out, count the previous commit with these tools.
  committed: $noted
  now:       $(tools)
EOF
}

# --- accepting -------------------------------------------------------------------

write_committed() { # NEW
    cat >"$committed" <<EOF
# Instructions per message, series or point. scripts/bench-instructions.sh compares
# with these figures, and --accept writes them.
# counted with: $(tools)
$(cat "$1")
EOF
}

# Replaces the lines of the table whose heading is "| benchmark | instructions |".
write_table() { # NEW
    awk -v tools="$(tools)" '
        FILENAME == ARGV[1] {
            table = table sprintf("| `%s` | %.0f |\n", $1, $2)
            next
        }
        /^Counted with / { print "Counted with " tools ":"; next }
        /^\| benchmark \| instructions \|$/ {
            print
            print "| --- | --- |"
            printf "%s", table
            in_table = 1
            next
        }
        in_table && /^\|/ { next }
        { in_table = 0; print }' "$1" "$document" >"$run/document"
    cat "$run/document" >"$document"
}

# --- main ------------------------------------------------------------------------

build
target=${CARGO_TARGET_DIR:-$root/target}
program=$target/release/instructions
run=$(mktemp -d "$target/instructions.XXXXXX")
trap 'rm -rf "$run"' EXIT

mapfile -t names < <(names)
if ((${#names[@]} == 0)); then
    echo "no benchmark begins with: ${beginnings[*]}" >&2
    exit 2
fi
count_all "${names[@]}" >"$run/new"

if $accept; then
    compare "$committed" "$run/new" || true
    write_committed "$run/new"
    write_table "$run/new"
    echo "Wrote the figures to $committed and $document."
    exit
fi
status=0
compare "$committed" "$run/new" || status=$?
note_other_tools
case $status in
0) echo "No change." ;;
1) echo "If the change is intended, run scripts/bench-instructions.sh --accept and commit the figures." ;;
3)
    echo "To keep the improvement, run scripts/bench-instructions.sh --accept and commit the figures."
    status=0
    ;;
esac
exit "$status"
