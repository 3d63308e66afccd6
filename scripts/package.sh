#!/usr/bin/env bash
# Builds the packages: scripts/package.sh [--arch ARCH] [--no-build] [deb] [rpm].
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

staging=target/package

usage() {
    cat <<EOF
usage: scripts/package.sh [--arch amd64|arm64] [--no-build] [deb] [rpm]

Builds a .deb, an .rpm or, without an argument, both, in $staging, from a release
build with all forwarders, and puts the debug symbols next to them. Installs the
tools that these need (scripts/setup.sh --deb, --rpm). The packages run on systems whose C
library is at least as new as that of this host.

  --arch      the processor, by default that of this host. With another one, the program is
              compiled with a cross compiler, and its manual pages are made in an emulator
              (scripts/setup.sh --arm64)
  --no-build  packages the existing build
EOF
}

kinds=()
architecture=$(host_architecture)
build=true
while (($# > 0)); do
    case $1 in
    deb | rpm) kinds+=("$1") ;;
    --arch) architecture=$2 && shift ;;
    --no-build) build=false ;;
    -h | --help) usage && exit ;;
    *) usage >&2 && exit 2 ;;
    esac
    shift
done
if ((${#kinds[@]} == 0)); then kinds=(deb rpm); fi
triple=$(triple_of "$architecture")
built=$(build_folder "$architecture")

# --- contents ----------------------------------------------------------------------

# The program contains the list of its crates, so that scanners such as cargo-audit need only the program.
compile() {
    local auditable
    auditable=$(cargo_auditable)
    use_compilers "$architecture"
    env -u RUSTFLAGS -u CARGO_ENCODED_RUSTFLAGS -u CARGO_BUILD_RUSTFLAGS \
        "$auditable" auditable build --release --locked --package tallyd --package manual --bins \
        "${target_option[@]}"
}

# Strips the program. gdb finds the symbols in tallyd.debug in the same folder.
separate_symbols() {
    local objcopy
    objcopy=$(tool_for "$architecture" objcopy)
    "$objcopy" --only-keep-debug --compress-debug-sections "$built/tallyd" "$staging/tallyd.debug"
    "$objcopy" --strip-all --add-gnu-debuglink="$staging/tallyd.debug" "$built/tallyd" \
        "$staging/tallyd"
}

crates() { cargo metadata --locked --format-version 1 --filter-platform "$triple"; }

stage() {
    local page section
    rm -rf "$staging"
    mkdir -p "$staging"/man{1,5}
    separate_symbols
    # shellcheck disable=SC2046 # words
    $(runner_for "$architecture") "$built/tallyd-manual" "$staging"
    for page in "$staging"/*.[15]; do
        section=${page##*.}
        gzip -9n "$page"
        mv "$page.gz" "$staging/man$section/"
    done
    cp etc/tallyd.yaml "$staging/tallyd.yaml"
    scripts/outward-links.py --copy "$staging/docs"
    # The package has the pages of docs/ beside it.
    sed "s|](docs/|](|g" CHANGELOG.md >"$staging/CHANGELOG.md"
    gzip -9nk "$staging/CHANGELOG.md"
    crates | scripts/third-party.py | gzip -9n >"$staging/third-party.gz"
    crates | scripts/sbom.py "$triple" "$(commit_time)" >"$staging/tallyd.cdx.json"
}

# --- packing -----------------------------------------------------------------------

# Gives the files in the packages the time of the commit, for reproducible packages. The build does not
# use it: a changed time would rebuild the C libraries.
at_commit() { # COMMAND...
    env "SOURCE_DATE_EPOCH=$(commit_time)" "$@"
}

pack_deb() {
    local variant=()
    if ((${#target_option[@]} > 0)); then
        check_libc_version
        variant=(--variant cross)
    fi
    at_commit "$(cargo_deb)" deb --no-build --no-strip --compress-system --output "$staging/" \
        "${target_option[@]}" "${variant[@]}"
}

# Compares the version of the C library that the program needs with that in Cargo.toml.
check_libc_version() {
    local needed declared
    needed=$("$(tool_for "$architecture" objdump)" -T "$staging/tallyd" |
        sed -n 's/.*(\?GLIBC_\([0-9.]*\)).*/\1/p' | sort -V | tail -n 1)
    declared=$(sed -n 's/^depends = "libc6 (>= \(.*\)), adduser"/\1/p' Cargo.toml)
    if [[ $(printf '%s\n' "$needed" "$declared" | sort -V | tail -n 1) != "$declared" ]]; then
        echo "the program needs glibc $needed: set it in Cargo.toml instead of $declared, or build on an older system" >&2
        return 1
    fi
}

pack_rpm() {
    at_commit "$(cargo_generate_rpm)" generate-rpm --auto-req "$root/scripts/rpm-requires.sh" --output "$staging/" \
        "${target_option[@]}"
}

# --- main --------------------------------------------------------------------------

target_option=()
requirements=("${kinds[@]/#/--}")
if [[ $architecture != "$(host_architecture)" ]]; then
    target_option=(--target "$triple")
    requirements+=("--$architecture")
fi
scripts/setup.sh "${requirements[@]}"
if $build; then compile; fi
stage
for kind in "${kinds[@]}"; do "pack_$kind"; done

echo
echo "required libraries: $(objdump -p "$staging/tallyd" |
    sed -n 's/^ *NEEDED *//p' | paste -sd ' ')"
find "$staging" -maxdepth 1 \( -name '*.deb' -o -name '*.rpm' -o -name 'tallyd*' \) \
    -size +100k -exec ls -lh {} + | awk '{ print $5 "\t" $9 }'
