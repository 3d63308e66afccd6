#!/usr/bin/env bash
# Installs the client libraries for tests/clients.rs into DIR, with exactly the versions
# and contents in the lock files next to this script. Installed ones are not fetched
# again.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)

usage() {
    cat <<EOF
usage: tests/clients/install.sh DIR

Prints where the clients are, a line each:
  PYTHON=DIR/python/bin/python   a Python that has them
  NODE_PATH=DIR/node/node_modules   what makes node find them
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
    rm -rf "$dir/python"
    python3 -m venv "$dir/python"
    "$dir/python/bin/python" -m pip install --quiet --disable-pip-version-check \
        --require-hashes --no-deps --only-binary :all: --requirement "$here/python/requirements.txt" >&2
    cp "$here/python/requirements.txt" "$dir/python/installed.txt"
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

case ${1:-} in
-h | --help) usage && exit ;;
'') usage >&2 && exit 2 ;;
esac

mkdir -p "$1"
dir=$(cd "$1" && pwd -P)
install_python
install_node
echo "PYTHON=$dir/python/bin/python"
echo "NODE_PATH=$dir/node/node_modules"
