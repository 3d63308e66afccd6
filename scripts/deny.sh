#!/usr/bin/env bash
# Checks the licences and sources of all dependencies, and for unwanted ones,
# against deny.toml. Installs cargo-deny below target/ unless it is there.
#
# It does not look for security advisories: their database must be cloned from
# GitHub at every run, and a new entry would fail a commit that passed before.
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

deny=$(cargo_tool cargo-deny 0.20.2)

"$deny" --version
"$deny" --locked --all-features check licenses bans sources
