#!/usr/bin/env bash
# Checks the licences and sources of all dependencies, and for unwanted ones,
# against deny.toml. Installs cargo-deny below target/ unless it is there.
#
# It does not look for security advisories: their database must be cloned from
# GitHub at every run, and a new entry would fail a commit that passed before.
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

version=0.20.2
tools=$root/target/tools

if have cargo-deny; then
    deny=cargo-deny
else
    deny=$tools/bin/cargo-deny
    if [[ $("$deny" --version 2>/dev/null) != "cargo-deny $version" ]]; then
        echo "installing cargo-deny $version into $tools (about a minute)"
        # Optimizing it would make this take 2.5 times as long, and gain nothing.
        cargo install cargo-deny --version "$version" --locked --debug --quiet \
            --root "$tools" --target-dir "$tools/build"
        rm -rf "$tools/build"
    fi
fi

"$deny" --version
"$deny" --locked --all-features check licenses bans sources
