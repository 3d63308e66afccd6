#!/usr/bin/env bash
# Shows the fleet job at work: fleet/demo.sh [SECONDS]
#
# Starts a broker, a Flink cluster (a JobManager and two TaskManagers) and three tallyd under load, and prints
# the 99th percentile of the fleet next to that of each host. Needs 4 GB of memory. Ctrl-C stops everything.
set -euo pipefail
# shellcheck source=fleet/tools/setup.sh
source "$(dirname "${BASH_SOURCE[0]}")/tools/setup.sh"

prepare
exec "$python" "$fleet/tools/demo.py" "$jar" "${1:-120}"
