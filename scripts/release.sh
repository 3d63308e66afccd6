#!/usr/bin/env bash
# Builds everything that a release has: scripts/release.sh [OPTION...] [STEP...].
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

work=$root/target/release-build
dist=$root/target/dist
steps=(packages image tarball chart python fleet repositories checksums)

usage() {
    cat <<EOF
usage: scripts/release.sh [--here] [--arch ARCH]... [STEP...]
       scripts/release.sh --twice
       scripts/release.sh sign KEY

Builds the last commit into $dist, by default with all steps and for amd64 and arm64:
  packages      .deb, .rpm and debug symbols; the steps image and tarball need it
  image         the container image, for both processors in one file
  tarball       the program with its manual and units
  chart         the Helm chart and the manifests for Kubernetes
  python        wheels and source packages of the clients
  fleet         the jar of the Flink job
  repositories  an apt and a yum repository of the packages
  checksums     SHA256SUMS

It builds a clone of the last commit, in a folder that has the same name on every host
(unshare: as root, or where users may create namespaces). So the files depend only on the commit
and on the versions of the compilers and of Debian's packages.

  --here   builds this folder instead, with uncommitted changes: for work on a step
  --arch   only for this processor
  --twice  builds everything twice, from clones in different folders, and compares the files
  sign     signs the repositories and the checksums with a key of gpg
EOF
}

fail() {
    echo "release.sh: $*" >&2
    exit 1
}

here=false
twice=false
architectures=()
chosen=()
while (($# > 0)); do
    case $1 in
    --here) here=true ;;
    --twice) twice=true ;;
    --arch) architectures+=("$2") && shift ;;
    sign) chosen+=(sign) && key=${2:?the ID of a key of gpg} && shift ;;
    -h | --help) usage && exit ;;
    *)
        [[ " ${steps[*]} " == *" $1 "* ]] || { usage >&2 && exit 2; }
        chosen+=("$1")
        ;;
    esac
    shift
done
if ((${#chosen[@]} == 0)); then chosen=("${steps[@]}"); fi
if ((${#architectures[@]} == 0)); then architectures=(amd64 arm64); fi

# --- the steps ---------------------------------------------------------------------
#
# step_NAME builds in the current folder and writes into $dist.

# A tar file that depends only on the files in a folder and the commit.
pack() { # FOLDER NAME OUTPUT, where NAME is that of the folder in the file
    tar --create --directory "$1" --sort=name --format=gnu --owner=0 --group=0 --numeric-owner \
        --mode=u=rwX,go=rX --mtime="@$SOURCE_DATE_EPOCH" --transform "s,^\.,$2,S" . |
        gzip -9n >"$3"
}

stage_of() { echo "$work/stage/$1"; } # ARCH -> the staging folder of its packages

step_packages() {
    local architecture
    for architecture in "${architectures[@]}"; do
        scripts/package.sh --arch "$architecture"
        rm -rf "$(stage_of "$architecture")"
        mkdir -p "$(stage_of "$architecture")"
        cp --archive target/package/. "$(stage_of "$architecture")"
        mv "$(stage_of "$architecture")"/*.{deb,rpm} "$dist/"
        cp "$(stage_of "$architecture")/tallyd.cdx.json" "$dist/tallyd-$version-linux-$architecture.cdx.json"
        mkdir -p "$work/symbols"
        mv "$(stage_of "$architecture")/tallyd.debug" "$work/symbols/"
        pack "$work/symbols" "tallyd-$version-linux-$architecture" \
            "$dist/tallyd-$version-linux-$architecture-debug.tar.gz"
        rm -r "$work/symbols"
    done
}

need_stage() { # ARCH
    [[ -e $(stage_of "$1")/tallyd ]] || fail "there is no build for $1: first run the step packages"
}

step_image() {
    local architecture folders=()
    for architecture in "${architectures[@]}"; do
        need_stage "$architecture"
        folders+=("$architecture=$(stage_of "$architecture")")
    done
    scripts/setup.sh --image
    scripts/image.sh --output "$dist/tallyd-$version-image.tar" "${folders[@]}"
}

step_tarball() {
    local architecture stage folder=$work/tarball
    for architecture in "${architectures[@]}"; do
        need_stage "$architecture"
        stage=$(stage_of "$architecture")
        rm -rf "$folder"
        mkdir -p "$folder"/{bin,etc,lib/systemd/system,share/man,share/completions,share/doc}
        cp "$stage/tallyd" "$folder/bin/"
        cp "$stage/tallyd.yaml" "$folder/etc/"
        cp systemd/tallyd.{service,socket} "$folder/lib/systemd/system/"
        cp --recursive "$stage"/man1 "$stage"/man5 "$folder/share/man/"
        cp "$stage"/{tallyd.bash,_tallyd,tallyd.fish} "$folder/share/completions/"
        cp --recursive docs/. "$folder/share/doc/"
        mkdir -p "$folder"/share/{prometheus,grafana}
        cp etc/prometheus-*.yaml "$folder/share/prometheus/"
        cp examples/grafana/*.json "$folder/share/grafana/"
        cp "$stage"/{third-party.gz,tallyd.cdx.json} LICENSE CHANGELOG.md "$folder/share/doc/"
        pack "$folder" "tallyd-$version-linux-$architecture" \
            "$dist/tallyd-$version-linux-$architecture.tar.gz"
    done
    rm -r "$folder"
}

step_chart() {
    local folder=$work/chart
    rm -rf "$folder"
    mkdir -p "$folder"
    cp --recursive deploy/chart/. LICENSE "$folder/"
    pack "$folder" tallyd "$dist/tallyd-chart-$version.tgz"
    cp --recursive deploy/kubernetes/. "$dist/kubernetes/"
    rm -r "$folder"
}

step_python() {
    local venv=$work/python client
    if [[ ! -x $venv/bin/pyproject-build ]]; then
        python3 -m venv "$venv"
        "$venv/bin/pip" -q install build==1.6.1
    fi
    for client in clients/python clients/pystatsd; do
        "$venv/bin/pyproject-build" --outdir "$dist/python" "$client" >"$work/python.log" 2>&1 ||
            { cat "$work/python.log" && fail "$client was not built"; }
    done
}

step_fleet() {
    # As root of a user namespace, Java would take root's own folder for that of the user.
    MAVEN_OPTS="${MAVEN_OPTS:-} -Duser.home=$HOME" \
        mvn -q -B --no-transfer-progress -f fleet/pom.xml package -DskipTests \
        "-Dproject.build.outputTimestamp=$(date --utc --date "@$SOURCE_DATE_EPOCH" +%Y-%m-%dT%H:%M:%SZ)"
    cp fleet/target/tallyd-fleet.jar "$dist/tallyd-fleet-$version.jar"
}

step_repositories() { scripts/repositories.sh "$dist"; }

step_checksums() {
    (cd "$dist" && find . -type f ! -name 'SHA256SUMS*' ! -name '*.asc' ! -name InRelease ! -name Release.gpg \
        -printf '%P\0' | LC_ALL=C sort -z | xargs -0 sha256sum >SHA256SUMS)
}

step_sign() {
    (cd "$dist" && sha256sum --check --quiet SHA256SUMS)
    scripts/repositories.sh "$dist" "$key"
    gpg --batch --yes --local-user "$key" --armor --detach-sign "$dist/SHA256SUMS"
}

run_steps() {
    local step began
    version=$(version)
    SOURCE_DATE_EPOCH=$(commit_time)
    export SOURCE_DATE_EPOCH
    mkdir -p "$dist/python" "$dist/kubernetes" "$work"
    for step in "${chosen[@]}"; do
        began=$SECONDS
        echo "==> $step"
        "step_$step"
        echo "==> $step: $(duration $((SECONDS - began)))"
    done
    echo
    (cd "$dist" && find . -maxdepth 2 -type f -size +1k ! -path './apt/*' ! -path './yum/*' -printf '%s\t%P\n') | sort -k 2
}

# --- a clean clone ------------------------------------------------------------------

# The folders under which the build sees the clone and cargo's downloads: the paths are in the program's
# panic messages, in the settings of OpenSSL and in the debug symbols. Every system has these folders.
readonly source_folder=/usr/src cargo_folder=/usr/local/src

# Never with their content: the mounts exist only in the namespace of the build.
remove_mounts() { rmdir "$mounts"/{clone,cargo,tools} "$mounts"; }

# Builds $commit in a clone at FOLDER, and moves the result to OUTPUT.
build_clone() { # FOLDER OUTPUT
    local namespace=(unshare --mount) option=()
    if ((EUID != 0)); then namespace+=(--map-root-user); fi
    rm -rf "$1"
    mkdir -p "$(dirname "$1")" "$cargo_home" target/tools
    git clone --quiet --no-hardlinks "$root" "$1"
    git -C "$1" -c advice.detachedHead=false checkout --quiet "$commit"
    mkdir -p "$1/target/tools"
    for architecture in "${architectures[@]}"; do option+=(--arch "$architecture"); done
    mounts=$(mktemp -d)
    trap remove_mounts EXIT
    mkdir "$mounts"/{clone,cargo,tools}
    # shellcheck disable=SC2016 # the inner shell expands this
    "${namespace[@]}" bash -euc '
        clone=$1 cargo=$2 tools=$3 mounts=$4 source_folder=$5 cargo_folder=$6
        shift 6
        # First aside: the folders may hide each other, for example a repository below /usr/local/src.
        for folder in clone cargo tools; do mount --bind "${!folder}" "$mounts/$folder"; done
        mount --bind "$mounts/clone" "$source_folder"
        mount --bind "$mounts/cargo" "$cargo_folder"
        mount --bind "$mounts/tools" "$source_folder/target/tools"
        cd "$source_folder"
        export CARGO_HOME=$cargo_folder
        unset CARGO_TARGET_DIR TALLYD_TOOLS
        exec scripts/release.sh --here "$@"' \
        release "$1" "$cargo_home" "$root/target/tools" "$mounts" "$source_folder" "$cargo_folder" \
        "${option[@]}" "${chosen[@]}"
    trap - EXIT
    remove_mounts
    rm -rf "$2"
    mv "$1/target/dist" "$2"
}

check_is_committed() {
    local changes
    changes=$(git status --porcelain)
    [[ -z $changes ]] || fail "these changes are not committed (or use --here):"$'\n'"$changes"
}

# The versions of all parts.
check_versions() {
    local file found
    while read -r file found; do
        [[ $found == "$(version)" ]] || fail "$file has version $found instead of $(version)"
    done <<EOF
deploy/chart/Chart.yaml $(sed -n 's/^version: //p' deploy/chart/Chart.yaml)
deploy/chart/Chart.yaml $(sed -n 's/^appVersion: "\(.*\)"/\1/p' deploy/chart/Chart.yaml)
clients/python/pyproject.toml $(sed -n 's/^version = "\(.*\)"/\1/p' clients/python/pyproject.toml)
fleet/pom.xml $(sed -n 's,^  <version>\(.*\)</version>,\1,p' fleet/pom.xml)
debian/changelog $(sed -n '1s/.*(\(.*\)-[0-9]*).*/\1/p' debian/changelog)
EOF
}

# --- main --------------------------------------------------------------------------

began=$SECONDS
if [[ ${chosen[0]} == sign ]] || $here; then
    run_steps
    exit
fi
check_is_committed
check_versions
# Found once: someone may commit during the first of two builds.
commit=$(git rev-parse HEAD)
scripts/setup.sh --release
build_clone "$work/one" "$dist"
rm -rf "$work/one"
if $twice; then
    build_clone "$work/another/folder" "$work/second"
    diff "$dist/SHA256SUMS" "$work/second/SHA256SUMS" || fail "the two builds differ; the second one is in $work/second"
    echo "the two builds are equal: $(wc -l <"$dist/SHA256SUMS") files"
    rm -rf "$work/another" "$work/second"
fi
echo "release.sh: $dist is complete after $(duration $((SECONDS - began)))"
