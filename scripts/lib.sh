# shellcheck shell=bash
# Functions for the scripts in this folder, which source it. Needs bash 5.1 or later.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
cd "$root" || exit

# Often only login shells have rustup's directory in their PATH.
cargo_home=${CARGO_HOME:-${HOME:-}/.cargo}
if [[ -d $cargo_home/bin ]]; then PATH=$PATH:$cargo_home/bin; fi

have() { command -v "$1" >/dev/null; }

# Prints the path of a browser that can run headless: Debian's Chromium or Google Chrome. Ubuntu's
# package of Chromium is a snap, which cannot read the repository.
browser() {
    local name
    for name in chromium google-chrome google-chrome-stable; do
        if have "$name"; then
            command -v "$name"
            return
        fi
    done
}

# Prints seconds as text: 75 as "1 min 15 s".
duration() { # SECONDS
    if (($1 < 60)); then echo "$1 s"; else echo "$(($1 / 60)) min $(($1 % 60)) s"; fi
}

# Prints the path of the cargo tool NAME: the one in the PATH, else one below target/, which is
# installed first if it is missing.
cargo_tool() { # NAME VERSION INSTALL_OPTION... -> path
    local name=$1 version=$2 tools=$root/target/tools tool
    shift 2
    if have "$name"; then
        command -v "$name"
        return
    fi
    tool=$tools/bin/$name
    # The way cargo calls it: cargo-mutants knows no other.
    if [[ $("$tool" "${name#cargo-}" --version 2>/dev/null) != *"$version" ]]; then
        echo "installing $name $version into $tools (about a minute)" >&2
        # Without optimization, because with it the build takes 2.5 times as long.
        cargo install "$name" --version "$version" --locked --debug --quiet "$@" \
            --root "$tools" --target-dir "$tools/build" >&2
        rm -rf "$tools/build"
    fi
    echo "$tool"
}

# The tools that build packages. Without its default features, cargo-deb uses the system's xz.
cargo_deb() { cargo_tool cargo-deb 3.8.0 --no-default-features; }
cargo_generate_rpm() { cargo_tool cargo-generate-rpm 0.21.1; }
