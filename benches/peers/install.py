#!/usr/bin/env python3
"""Installs the peers below target/, with the ordinary clients of their package registries.

    benches/peers/install.py [PEER...]

Needs Go for Telegraf, gostatsd and statsd_exporter (a few minutes and a few hundred megabytes for modules),
and Node.js with npm for statsd. Programs that are already installed are kept.
"""

import os
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
FOLDER = ROOT / "target/peers"

# name: (package, version, build tags). Telegraf is built with the plugins that the comparison uses: its
# complete build takes ten times as long.
GO_PROGRAMS = {
    "telegraf": ("github.com/influxdata/telegraf/cmd/telegraf", "v1.37.2", "custom inputs.statsd outputs.file serializers.influx"),
    "gostatsd": ("github.com/atlassian/gostatsd/cmd/gostatsd", "e5cc67e", ""),
    "statsd_exporter": ("github.com/prometheus/statsd_exporter", "v0.31.0", ""),
}
# The script of the tests also installs statsd, and contains its version.
STATSD_SCRIPT = ROOT / "tests/servers/statsd.sh"
STATSD = ROOT / "target/servers/statsd/node_modules/statsd/stats.js"


def program(name):
    """Returns the path of an installed peer."""
    if name == "statsd":
        return STATSD
    version = GO_PROGRAMS[name][1]
    return FOLDER / f"{name}-{version}" / name


def install(name):
    """Makes sure that a peer is installed. Returns whether it is."""
    path = program(name)
    if path.exists():
        return True
    print(f"installing {name}", file=sys.stderr, flush=True)
    try:
        if name == "statsd":
            subprocess.run([STATSD_SCRIPT, "install"], check=True)
        else:
            package, version, tags = GO_PROGRAMS[name]
            command = ["go", "install", "-tags", tags, f"{package}@{version}"]
            subprocess.run(command, check=True, cwd=ROOT, env={**os.environ, "GOBIN": str(path.parent)})
    except (OSError, subprocess.CalledProcessError) as error:
        print(f"{name} cannot be installed: {error}", file=sys.stderr, flush=True)
    return path.exists()


def main():
    names = sys.argv[1:] or ["statsd", *GO_PROGRAMS]
    unknown = set(names) - {"statsd", *GO_PROGRAMS}
    if unknown:
        sys.exit(f"unknown: {', '.join(sorted(unknown))}\n{__doc__}")
    missing = [name for name in names if not install(name)]
    if missing:
        sys.exit(f"not installed: {', '.join(missing)}")


if __name__ == "__main__":
    main()
