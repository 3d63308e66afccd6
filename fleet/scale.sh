#!/usr/bin/env bash
# Measures how the fleet job scales with the number of hosts: fleet/scale.sh form|throughput|latency [OPTION…]
#
#   form        compares generated records with those of a real tallyd
#   throughput  how fast the job reads windows that wait in the topic, its state and its checkpoints
#   latency     from the end of a window to its results, while hosts write at their usual rate
#
# `fleet/scale.sh throughput --help` lists the options. Uses a real broker and a Flink cluster; 10,000 hosts need 8 GB
# of memory and 15 GB of disk, and take minutes. docs/fleet.md has the results.
set -euo pipefail
# shellcheck source=fleet/tools/setup.sh
source "$(dirname "${BASH_SOURCE[0]}")/tools/setup.sh"

prepare
mvn -q -B -f "$fleet/pom.xml" test-compile >&2
export GENERATOR=$fleet/target/test-classes:$jar
exec "$python" "$fleet/tools/scale.py" "$jar" "$@"
