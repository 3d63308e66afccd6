# shellcheck shell=bash
# What the scripts in here share; they source it. Needs bash 5.1 or later.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
cd "$root" || exit

# rustup's directory is often in the PATH of login shells only.
cargo_home=${CARGO_HOME:-${HOME:-}/.cargo}
if [[ -d $cargo_home/bin ]]; then PATH=$PATH:$cargo_home/bin; fi

have() { command -v "$1" >/dev/null; }

# A browser that runs without a screen: Debian's, or another one of its family. Ubuntu's package is a
# snap, which does not see our files.
browser() {
    local name
    for name in chromium google-chrome google-chrome-stable; do
        if have "$name"; then
            command -v "$name"
            return
        fi
    done
}

# 75 -> "1 min 15 s"
duration() { # SECONDS
    if (($1 < 60)); then echo "$1 s"; else echo "$(($1 / 60)) min $(($1 % 60)) s"; fi
}

# Prints where cargo's tool NAME is. One that the PATH has is taken as it is; else it is installed
# below target/, unless it is there.
cargo_tool() { # NAME VERSION INSTALL_OPTION... -> path
    local name=$1 version=$2 tools=$root/target/tools tool
    shift 2
    if have "$name"; then
        command -v "$name"
        return
    fi
    tool=$tools/bin/$name
    if [[ $("$tool" --version 2>/dev/null) != *"$version" ]]; then
        echo "installing $name $version into $tools (about a minute)" >&2
        # Optimizing it would make this take 2.5 times as long, and gain nothing.
        cargo install "$name" --version "$version" --locked --debug --quiet "$@" \
            --root "$tools" --target-dir "$tools/build" >&2
        rm -rf "$tools/build"
    fi
    echo "$tool"
}

# What makes packages. Without its features, cargo-deb packs with the system's xz.
cargo_deb() { cargo_tool cargo-deb 3.8.0 --no-default-features; }
cargo_generate_rpm() { cargo_tool cargo-generate-rpm 0.21.1; }
