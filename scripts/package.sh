#!/usr/bin/env bash
# Builds the packages: scripts/package.sh [deb] [rpm].
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

staging=target/package

usage() {
    cat <<EOF
usage: scripts/package.sh [deb] [rpm]

Builds a .deb, an .rpm or, without an argument, both, in $staging, from a release
build with all forwarders, and puts the debug symbols next to them. Installs the
tools that these need (scripts/setup.sh --deb, --rpm). The packages run on systems whose C
library is at least as new as that of this host.
EOF
}

kinds=()
for argument in "$@"; do
    case $argument in
    deb | rpm) kinds+=("$argument") ;;
    -h | --help) usage && exit ;;
    *) usage >&2 && exit 2 ;;
    esac
done
if ((${#kinds[@]} == 0)); then kinds=(deb rpm); fi

# --- contents ----------------------------------------------------------------------

build() {
    env -u RUSTFLAGS -u CARGO_ENCODED_RUSTFLAGS -u CARGO_BUILD_RUSTFLAGS \
        cargo build --release --locked --package tallyd --package manual --bins
}

# Strips the program. gdb finds the symbols in tallyd.debug in the same folder.
separate_symbols() {
    objcopy --only-keep-debug --compress-debug-sections target/release/tallyd \
        "$staging/tallyd.debug"
    objcopy --strip-all --add-gnu-debuglink="$staging/tallyd.debug" target/release/tallyd \
        "$staging/tallyd"
}

third_party() {
    cargo metadata --locked --format-version 1 \
        --filter-platform "$(rustc -vV | sed -n 's/^host: //p')" | scripts/third-party.py
}

stage() {
    local page section
    rm -rf "$staging"
    mkdir -p "$staging"/man{1,5}
    separate_symbols
    target/release/tallyd-manual "$staging"
    for page in "$staging"/*.[15]; do
        section=${page##*.}
        gzip -9n "$page"
        mv "$page.gz" "$staging/man$section/"
    done
    cp etc/tallyd.yaml "$staging/tallyd.yaml"
    gzip -9nc CHANGELOG.md >"$staging/CHANGELOG.md.gz"
    third_party | gzip -9n >"$staging/third-party.gz"
}

# --- packing -----------------------------------------------------------------------

# Gives the files in the packages the time of the commit, for reproducible packages. The build does not
# use it: a changed time would rebuild the C libraries.
at_commit() { # COMMAND...
    env "SOURCE_DATE_EPOCH=$(git log -1 --format=%ct 2>/dev/null || date +%s)" "$@"
}

pack_deb() { at_commit "$(cargo_deb)" deb --no-build --no-strip --compress-system --output "$staging/"; }

pack_rpm() { at_commit "$(cargo_generate_rpm)" generate-rpm --auto-req builtin --output "$staging/"; }

# --- main --------------------------------------------------------------------------

scripts/setup.sh "${kinds[@]/#/--}"
build
stage
for kind in "${kinds[@]}"; do "pack_$kind"; done

echo
echo "required libraries: $(objdump -p "$staging/tallyd" |
    sed -n 's/^ *NEEDED *//p' | paste -sd ' ')"
find "$staging" -maxdepth 1 \( -name '*.deb' -o -name '*.rpm' -o -name 'tallyd*' \) \
    -size +100k -exec ls -lh {} + | awk '{ print $5 "\t" $9 }'
