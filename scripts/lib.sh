# shellcheck shell=bash
# Functions for the scripts in this folder, which source it. Needs bash 5.1 or later.

# Scripts read the output of other programs, and write dates that apt reads.
export LC_ALL=C

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
    local name=$1 version=$2 tools=${TALLYD_TOOLS:-$root/target/tools} tool
    shift 2
    if have "$name"; then
        command -v "$name"
        return
    fi
    tool=$tools/bin/$name
    # What cargo has installed there: some tools do not print their own version.
    if [[ ! -x $tool ]] || ! grep -qF "\"$name $version " "$tools/.crates.toml" 2>/dev/null; then
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

# The version of tallyd, such as 0.2.0.
version() { sed -n '/^\[workspace.package\]/,/^\[/s/^version = "\(.*\)"/\1/p' Cargo.toml; }

repository() { sed -n '/^\[workspace.package\]/,/^\[/s/^repository = "\(.*\)"/\1/p' Cargo.toml; }

# The time of the commit in seconds, for artifacts that depend only on the commit.
commit_time() { git log -1 --format=%ct 2>/dev/null || date +%s; }

# Lists the crates of the program in the program.
cargo_auditable() { cargo_tool cargo-auditable 0.7.7; }

# --- processors --------------------------------------------------------------------

# This host's architecture, by Debian's name.
host_architecture() {
    case $(uname -m) in
    x86_64) echo amd64 ;;
    aarch64) echo arm64 ;;
    *) uname -m ;;
    esac
}

triple_of() { # ARCH
    case $1 in
    amd64) echo x86_64-unknown-linux-gnu ;;
    arm64) echo aarch64-unknown-linux-gnu ;;
    *) echo "$1 is not supported: use amd64 or arm64" >&2 && return 1 ;;
    esac
}

# The prefix of GNU tools and the name of the folder with the libraries of a cross compiler.
gnu_of() { # ARCH
    case $1 in
    amd64) echo x86_64-linux-gnu ;;
    arm64) echo aarch64-linux-gnu ;;
    esac
}

# A tool of binutils for an architecture.
tool_for() { # ARCH TOOL
    if [[ $1 == "$(host_architecture)" ]]; then echo "$2"; else echo "$(gnu_of "$1")-$2"; fi
}

# The folder of cargo's release build for an architecture.
build_folder() { # ARCH
    local target=${CARGO_TARGET_DIR:-target}
    if [[ $1 == "$(host_architecture)" ]]; then
        echo "$target/release"
    else
        echo "$target/$(triple_of "$1")/release"
    fi
}

# Sets the compilers and the linker for another architecture than this host's.
use_compilers() { # ARCH
    local host gnu variable
    if [[ $1 == "$(host_architecture)" ]]; then return; fi
    host=$(triple_of "$(host_architecture)") gnu=$(gnu_of "$1")
    variable=$(triple_of "$1")
    variable=${variable//-/_}
    export "CARGO_TARGET_${variable^^}_LINKER=$gnu-gcc"
    # The configure script of librdkafka knows only the variables without a target, which other crates also
    # use for the host.
    export "CC_${host//-/_}=gcc" "CXX_${host//-/_}=g++" "AR_${host//-/_}=ar"
    export "CC=$gnu-gcc" "CXX=$gnu-g++" "AR=$gnu-ar"
}

# The command that runs a program of an architecture: nothing for this host's.
runner_for() { # ARCH
    if [[ $1 == "$(host_architecture)" ]]; then return; fi
    case $1 in
    arm64) echo "qemu-aarch64 -L /usr/aarch64-linux-gnu" ;;
    amd64) echo "qemu-x86_64 -L /usr/x86_64-linux-gnu" ;;
    esac
}
