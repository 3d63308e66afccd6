#!/usr/bin/env bash
# Builds and tests the fleet job: its unit tests and a MiniCluster with Maven, then a real broker, a Flink cluster and
# three tallyd under load. Takes about five minutes, and fails after ten.
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

if ! command -v mvn >/dev/null || ! command -v java >/dev/null; then
    echo "SKIPPED: the fleet job needs Java and Maven; scripts/setup.sh installs them"
    # In CI, a check that does not run has failed.
    [[ -z ${CI:-} ]]
    exit
fi
timeout 400 mvn -B --no-transfer-progress -f fleet/pom.xml verify
# A debug build is enough, and the tests have made one.
cargo build --bin tallyd --all-features --locked
TALLYD=${CARGO_TARGET_DIR:-target}/debug/tallyd timeout 400 fleet/check.sh --windows 6
