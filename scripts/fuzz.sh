#!/usr/bin/env bash
# Fuzzes the code that reads untrusted bytes or writes them to outputs. Needs neither a
# nightly toolchain nor cargo-fuzz: the crate libfuzzer-sys contains libFuzzer, and its
# coverage instrumentation is a stable option of rustc.
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

all=()
for file in fuzz/fuzz_targets/*.rs; do all+=("$(basename "$file" .rs)"); done

usage() {
    cat <<EOF
usage: scripts/fuzz.sh [--seconds N] [--jobs N] [TARGET...]
       scripts/fuzz.sh --minimize [TARGET...]

Builds the fuzz targets and runs each (default: all) for N seconds (default:
60), one per core at a time (--jobs). Fails on a finding, keeps the input and
prints how to run it again.

--minimize replaces the committed corpus by the fewest inputs, from it and from
all local runs, that together reach the same code. Earlier findings stay in
fuzz/regressions.

Targets: ${all[*]}
EOF
}

number() { # OPTION VALUE
    if [[ ! ${2:-} =~ ^[1-9][0-9]*$ ]]; then
        echo "fuzz: $1 needs a number greater than 0" >&2
        exit 2
    fi
    echo "$2"
}

seconds=60
jobs=$(nproc)
minimize=false
targets=()
while (($# > 0)); do
    case $1 in
    --seconds)
        seconds=$(number "$1" "${2:-}")
        shift
        ;;
    --jobs)
        jobs=$(number "$1" "${2:-}")
        shift
        ;;
    --minimize) minimize=true ;;
    -h | --help) usage && exit ;;
    *)
        if [[ ! -f fuzz/fuzz_targets/$1.rs ]]; then usage >&2 && exit 2; fi
        targets+=("$1")
        ;;
    esac
    shift
done
if ((${#targets[@]} == 0)); then targets=("${all[@]}"); fi

# --- building ------------------------------------------------------------------

build=$root/target/fuzz
host=$(rustc -vV | sed -n 's/^host: //p')

# The flags of cargo-fuzz with `--sanitizer none`. AddressSanitizer would need an
# unstable option and halve the speed, to find errors that safe code cannot have. The
# targets reach no `unsafe` block of the project but those of two instructions: a
# prefetch, and a load of 16 bytes from an array of 16 bytes.
coverage=(
    -Cpasses=sancov-module
    -Cllvm-args=-sanitizer-coverage-level=4
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters
    -Cllvm-args=-sanitizer-coverage-pc-table
    -Cllvm-args=-sanitizer-coverage-trace-compares
    --cfg fuzzing
)

build_targets() {
    # With --target, the flags do not apply to procedural macros and build scripts.
    RUSTFLAGS=${coverage[*]} cargo build --manifest-path fuzz/Cargo.toml --locked --release \
        --target "$host" --target-dir "$build"
}

binary() { echo "$build/$host/release/$1"; } # TARGET

# --- running -------------------------------------------------------------------

# Longer inputs cost speed and reach no further code. An input that takes seconds or a
# gigabyte is a finding.
limits=(-max_len=4096 -timeout=10 -rss_limit_mb=1024)

fuzz() { # TARGET
    local target=$1 found=$build/corpus/$1 options=("${limits[@]}")
    mkdir -p "$found" "fuzz/artifacts/$target" "fuzz/regressions/$target"
    if [[ -f fuzz/dictionaries/$target.dict ]]; then
        options+=("-dict=fuzz/dictionaries/$target.dict")
    fi
    # libFuzzer writes new inputs to the first folder, which is not the committed one.
    # With `exec`, a signal to this process ends the fuzzer.
    exec "$(binary "$target")" "${options[@]}" -max_total_time="$seconds" \
        -artifact_prefix="fuzz/artifacts/$target/" \
        "$found" "fuzz/corpus/$target" "fuzz/regressions/$target" &>"$build/$target.log"
}

report() { # TARGET EXIT_STATUS
    local target=$1 log=$build/$1.log finding
    if (($2 == 0)); then
        printf '%-10s ok      %s\n' "$target" "$(grep -a 'DONE  *cov' "$log" | tail -n 1)"
        return
    fi
    printf '%-10s FAILED  %s\n' "$target" "$log"
    grep -a -m 1 -A 8 -e 'panicked at' -e '^==.*ERROR' "$log" | sed 's/^/    /' || tail "$log"
    finding=$(sed -n 's/.*Test unit written to \(.*\)/\1/p' "$log" | tail -n 1)
    if [[ -z $finding ]]; then return; fi
    cat <<EOF
    run again:  $(binary "$target") $finding
    minimize:   $(binary "$target") -minimize_crash=1 -runs=100000 $finding
    keep it after the fix:  mv $finding fuzz/regressions/$target/
EOF
}

run_all() {
    local -A running=() # pid -> target
    local -a failed=()
    local target pid status
    for target in "${targets[@]}" ''; do
        # The empty target at the end waits for all fuzzers that still run.
        while ((${#running[@]} >= (${#target} > 0 ? jobs : 1))); do
            status=0
            wait -n -p pid "${!running[@]}" || status=$?
            report "${running[$pid]}" "$status"
            if ((status != 0)); then failed+=("${running[$pid]}"); fi
            unset "running[$pid]"
        done
        if [[ -n $target ]]; then
            fuzz "$target" &
            running[$!]=$target
        fi
    done
    if ((${#failed[@]} > 0)); then
        echo "fuzz: FAILED: ${failed[*]}"
        return 1
    fi
    echo "fuzz: no finding in ${#targets[@]} targets, $(duration "$seconds") each"
}

minimize_all() {
    local target corpus new
    for target in "${targets[@]}"; do
        corpus=fuzz/corpus/$target new=$build/minimized/$target
        rm -rf "$new"
        mkdir -p "$new" "$corpus" "$build/corpus/$target"
        # Without counters of how often code is reached, which would keep thousands of inputs.
        "$(binary "$target")" -set_cover_merge=1 -use_counters=0 "${limits[@]}" \
            -artifact_prefix="$build/" "$new" "$corpus" "$build/corpus/$target" \
            &>"$build/$target.log"
        rm -rf "$corpus"
        mv "$new" "$corpus"
        echo "$target: $(find "$corpus" -type f | wc -l) inputs, $(du -sb "$corpus" | cut -f1) bytes"
    done
}

# No fuzzer may outlive this script, even if Ctrl-C ends it.
trap 'jobs -p | xargs -r kill 2>/dev/null || true' EXIT
build_targets
if $minimize; then minimize_all; else run_all; fi
