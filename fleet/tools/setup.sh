# shellcheck shell=bash
# Prepares what the demo and the check need, below fleet/target; they source this file. Sets `python`.

fleet=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
root=$(cd "$fleet/.." && pwd -P)
jar=$fleet/target/tallyd-fleet.jar
venv=$fleet/target/venv
# shellcheck disable=SC2034  # used by the scripts that source this
python=$venv/bin/python

say() { echo "fleet: $*" >&2; }

build_jar() {
    if [[ -e $jar && -z $(find "$fleet/src/main" "$fleet/pom.xml" -newer "$jar" -print -quit) ]]; then return; fi
    command -v mvn >/dev/null || { say "Maven (mvn) is missing; scripts/setup.sh installs it" && exit 1; }
    say "building the job"
    nice -n 5 mvn -q -B -f "$fleet/pom.xml" package -DskipTests >&2
}

make_venv() {
    cmp -s "$fleet/tools/requirements.txt" "$venv/.requirements" && return
    say "installing Python packages into $venv"
    rm -rf "$venv"
    python3 -m venv "$venv"
    "$venv/bin/pip" -q install -r "$fleet/tools/requirements.txt" >&2
    cp "$fleet/tools/requirements.txt" "$venv/.requirements"
}

# There is no Debian package of Flink; the one for Python contains the distribution, unlike Maven's modules.
fetch_flink() {
    if [[ -n ${FLINK_HOME:-} ]]; then return; fi
    export FLINK_HOME=$fleet/target/flink/pyflink
    if [[ -e $fleet/target/flink/.complete ]]; then return; fi
    say "fetching Flink (312 MB) into $fleet/target/flink"
    rm -rf "$fleet/target/flink"
    "$venv/bin/pip" -q install --no-deps --target "$fleet/target/flink" apache-flink-libraries==2.2.0 >&2
    touch "$fleet/target/flink/.complete"
}

find_tallyd() {
    local path
    for path in "${TALLYD:-}" "${CARGO_TARGET_DIR:-$root/target}"/{release,debug}/tallyd "$(command -v tallyd || true)"; do
        if [[ -x $path ]]; then
            export TALLYD=$path
            return
        fi
    done
    say "building tallyd; the first build takes minutes"
    cargo build --release --manifest-path "$root/Cargo.toml" >&2
    export TALLYD=${CARGO_TARGET_DIR:-$root/target}/release/tallyd
}

prepare() {
    build_jar
    make_venv
    fetch_flink
    find_tallyd
    "$root/tests/servers/kafka.sh" install
}
