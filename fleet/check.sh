#!/usr/bin/env bash
# Compares the results of the fleet job with the samples that were sent: fleet/check.sh [--faults [NAME,…]]
# [--upgrade-from JAR] [--windows N]
#
# --faults kills a TaskManager, a tallyd, a broker and the JobManager, and starts the job from a savepoint and a
# checkpoint; --upgrade-from starts the job with another jar, and replaces it by the built one from a savepoint. Uses
# a real broker (three with --faults), a Flink cluster and three tallyd. Counters must be exact, percentiles within
# 1 %, sets within 2 %. Needs 4 GB of memory, 6 GB with --faults.
set -euo pipefail
# shellcheck source=fleet/tools/setup.sh
source "$(dirname "${BASH_SOURCE[0]}")/tools/setup.sh"

prepare
exec "$python" "$fleet/tools/check.py" "$jar" "$@"
