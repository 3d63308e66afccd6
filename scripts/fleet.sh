#!/usr/bin/env bash
# Builds and tests the fleet job: its unit tests and a MiniCluster with Maven. Takes about three minutes, and fails
# after ten. fleet/check.sh tests it with a real broker, a Flink cluster and three tallyd under load.
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

if ! command -v mvn >/dev/null || ! command -v java >/dev/null; then
    echo "SKIPPED: the fleet job needs Java and Maven; scripts/setup.sh installs them"
    # In CI, a check that does not run has failed.
    [[ -z ${CI:-} ]]
    exit
fi
timeout 600 mvn -B --no-transfer-progress -f fleet/pom.xml verify
