#!/usr/bin/env bash
# Builds and tests the fleet job: its unit tests and a MiniCluster with Maven, then fleet/check.sh without faults: a real
# broker, a Flink cluster and three tallyd under load. Takes about five minutes, and downloads what it needs.
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

if ! command -v mvn >/dev/null || ! command -v java >/dev/null; then
    echo "SKIPPED: the fleet job needs Java and Maven; scripts/setup.sh installs them"
    # In CI, a check that does not run has failed.
    [[ -z ${CI:-} ]]
    exit
fi
# The limits are for a machine that does other things as well.
timeout 600 mvn -B --no-transfer-progress -f fleet/pom.xml verify
timeout 600 fleet/check.sh --windows 2
