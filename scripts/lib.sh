# shellcheck shell=bash
# What the scripts in here share; they source it. Needs bash 5.1 or later.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
cd "$root" || exit

# rustup's directory is often in the PATH of login shells only.
cargo_home=${CARGO_HOME:-${HOME:-}/.cargo}
if [[ -d $cargo_home/bin ]]; then PATH=$PATH:$cargo_home/bin; fi

have() { command -v "$1" >/dev/null; }

# 75 -> "1 min 15 s"
duration() { # SECONDS
    if (($1 < 60)); then echo "$1 s"; else echo "$(($1 / 60)) min $(($1 % 60)) s"; fi
}
