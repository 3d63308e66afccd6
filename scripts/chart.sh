#!/usr/bin/env bash
# Renders the Helm chart and checks the result: scripts/chart.sh [--write].
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

work=target/chart
tools=${TALLYD_TOOLS:-$root/target/tools}

usage() {
    cat <<EOF
usage: scripts/chart.sh [--write]

Renders deploy/chart with its default values and with those in deploy/chart/ci, and checks
  - the chart with helm lint,
  - each object against the schemas of Kubernetes and of the Prometheus Operator,
  - that tallyd accepts each configuration, if there is a build of it,
  - that wrong values are refused,
  - that deploy/kubernetes has what the chart renders; with --write it writes these files.
Needs no cluster. Fetches Helm, with Go, and the schemas, with pip and npm.
EOF
}

write=false
case ${1:-} in
'') ;;
--write) write=true ;;
-h | --help) usage && exit ;;
*) usage >&2 && exit 2 ;;
esac

# --- tools -------------------------------------------------------------------------

readonly helm_version=v3.22.0

helm() {
    "$tools/bin/helm" "$@"
}

install_helm() {
    [[ $("$tools/bin/helm" version --short 2>/dev/null) == "$helm_version"* ]] && return
    echo "installing Helm $helm_version into $tools (minutes)"
    # The version, which the linker sets in Helm's own builds.
    GOTOOLCHAIN=auto GOBIN=$tools/bin go install -ldflags "-s -w -X helm.sh/helm/v3/internal/version.version=$helm_version" \
        "helm.sh/helm/v3/cmd/helm@$helm_version"
}

install_schemas() {
    local wanted="kubernetes-validate==1.37.0 PyYAML==6.0.3 @kubernetes-models/prometheus-operator@6.0.0"
    [[ $(cat "$tools/schemas/.installed" 2>/dev/null) == "$wanted" ]] && return
    echo "installing the schemas into $tools"
    rm -rf "$tools/schemas"
    python3 -m venv "$tools/schemas"
    # shellcheck disable=SC2086 # words
    "$tools/schemas/bin/pip" -q install ${wanted% *}
    npm --prefix "$tools/schemas" install --no-audit --no-fund --silent "${wanted##* }"
    echo "$wanted" >"$tools/schemas/.installed"
}

# --- rendering ---------------------------------------------------------------------

render() { # OPTION... -> the objects
    helm template tallyd deploy/chart --namespace tallyd --kube-version 1.34.0 "$@"
}

# The objects with a namespace of their own, for kubectl apply.
manifest() { # OPTION...
    cat <<EOF
# Written by scripts/chart.sh --write, from deploy/chart. Apply it with: kubectl apply -f FILE
---
apiVersion: v1
kind: Namespace
metadata:
  name: tallyd
  labels:
    # Folders and ports of the node need it.
    pod-security.kubernetes.io/enforce: privileged
EOF
    render "$@"
}

check_manifests() {
    local name
    manifest >"$work/tallyd.yaml"
    manifest --values deploy/chart/ci/prometheus.yaml >"$work/tallyd-with-prometheus.yaml"
    for name in tallyd tallyd-with-prometheus; do
        if $write; then
            cp "$work/$name.yaml" deploy/kubernetes/
        elif ! diff -u "deploy/kubernetes/$name.yaml" "$work/$name.yaml"; then
            echo "deploy/kubernetes/$name.yaml is not what the chart renders: run scripts/chart.sh --write"
            return 1
        fi
    done
}

check_refusals() {
    local values
    for values in ports.json=70000 image.digest=sha256:1 no_such_value=1 serviceMonitor.enabled=true socket.hostPath=run; do
        if render --set "$values" >"$work/refused.yaml" 2>&1; then
            echo "the chart accepts $values"
            return 1
        fi
    done
}

# --- main --------------------------------------------------------------------------

mkdir -p "$work" "$tools/bin"
install_helm
install_schemas
check_manifests
check_refusals
for values in deploy/chart/ci/*.yaml; do
    helm lint --quiet --strict deploy/chart --values "$values"
    render --values "$values" >"$work/$(basename "$values")"
done
program=${TALLYD_TEST_PROGRAM:-${CARGO_TARGET_DIR:-target}/debug/tallyd}
if [[ ! -x $program ]]; then program=$(build_folder "$(host_architecture)")/tallyd; fi
if [[ ! -x $program ]]; then program=; fi
"$tools/schemas/bin/python" scripts/chart-check.py --schemas "$tools/schemas" \
    ${program:+--program "$program"} "$work"/{tallyd,tallyd-with-prometheus,prometheus,minimal,everything}.yaml
