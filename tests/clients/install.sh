#!/usr/bin/env bash
# Installs the client libraries for tests/clients.rs, tests/sketches.rs and tests/fleet.rs into DIR, with
# exactly the versions and contents in the lock files next to this script. Installed ones
# are not fetched again.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
examples=$here/../../examples

usage() {
    cat <<EOF
usage: tests/clients/install.sh DIR

Prints where the clients are, a line each:
  PYTHON=DIR/python/bin/python   a Python that has them
  NODE_PATH=DIR/node/node_modules   what makes node find them
  SKETCHES=DIR/sketches          libraries that read sketches: python/bin/python has those
                                 for Python, libs those for Java, streams also Kafka Streams
EOF
}

say() { echo "clients: $*" >&2; }

# The stamps are copies of the lock files, written last.
python_is_there() {
    cmp -s "$here/python/requirements.txt" "$dir/python/installed.txt" &&
        # A virtual environment stops working without the Python that created it.
        "$dir/python/bin/python" -c 'import build, datadog.dogstatsd, mypy, statsd' 2>/dev/null
}

install_python() {
    if python_is_there; then return; fi
    say "installing the Python clients"
    make_environment "$dir/python" "$here/python/requirements.txt"
}

make_environment() { # DIR REQUIREMENTS
    rm -rf "$1"
    python3 -m venv "$1"
    "$1/bin/python" -m pip install --quiet --disable-pip-version-check \
        --require-hashes --no-deps --only-binary :all: --requirement "$2" >&2
    cp "$2" "$1/installed.txt"
}

node_is_there() { cmp -s "$here/node/package-lock.json" "$dir/node/installed.json"; }

install_node() {
    if node_is_there; then return; fi
    say "installing the client for Node.js"
    rm -rf "$dir/node"
    mkdir -p "$dir/node"
    cp "$here/node/package.json" "$here/node/package-lock.json" "$dir/node"
    # hot-shots' optional dependency is for Unix datagrams, and needs a compiler.
    (cd "$dir/node" && npm ci --omit=optional --ignore-scripts --no-audit --no-fund --loglevel=error >&2)
    cp "$here/node/package-lock.json" "$dir/node/installed.json"
}

sketches_are_there() {
    cmp -s "$here/sketches/requirements.txt" "$dir/sketches/python/installed.txt" &&
        "$dir/sketches/python/bin/python" -c 'import confluent_kafka, datasketches, ddsketch' 2>/dev/null &&
        cmp -s "$examples/sketches/pom.xml" "$dir/sketches/libs/installed-pom.xml" &&
        cmp -s "$examples/fleet/pom.xml" "$dir/sketches/streams/installed-pom.xml"
}

install_sketches() {
    if sketches_are_there; then return; fi
    say "installing the libraries that read sketches"
    rm -rf "$dir/sketches"
    mkdir -p "$dir/sketches"
    make_environment "$dir/sketches/python" "$here/sketches/requirements.txt"
    fetch_jars "$examples/sketches/pom.xml" "$dir/sketches/libs"
    fetch_jars "$examples/fleet/pom.xml" "$dir/sketches/streams"
}

fetch_jars() { # POM DIR
    # Maven remembers a failed download: -U makes the second try a real one.
    copy_jars "$1" "$2" || { say "trying once more" && copy_jars "$1" "$2" -U; }
    cp "$1" "$2/installed-pom.xml"
}

copy_jars() { # POM DIR [OPTION...]
    mvn -q -B -f "$1" "${@:3}" dependency:copy-dependencies -DoutputDirectory="$2" </dev/null >&2
}

case ${1:-} in
-h | --help) usage && exit ;;
'') usage >&2 && exit 2 ;;
esac

mkdir -p "$1"
dir=$(cd "$1" && pwd -P)
install_python
install_node
install_sketches
echo "PYTHON=$dir/python/bin/python"
echo "NODE_PATH=$dir/node/node_modules"
echo "SKETCHES=$dir/sketches"
