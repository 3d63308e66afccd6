#!/usr/bin/env bash
# Checks all dependencies against deny.toml: licences, sources, and banned crates.
# Installs cargo-deny below target/ if it is missing.
#
# It does not check security advisories: their database would be cloned from GitHub
# in every run, and a new entry would fail a commit that has passed before.
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

deny=$(cargo_tool cargo-deny 0.20.2)

"$deny" --version
"$deny" --locked --all-features check licenses bans sources
