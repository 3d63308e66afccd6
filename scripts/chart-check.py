#!/usr/bin/env python3
"""Checks rendered manifests: against schemas, for the permissions of containers, and tallyd's configuration.

scripts/chart.sh calls this with the Python that has the schemas of Kubernetes.
"""

import argparse
import json
import pathlib
import subprocess
import sys
import tempfile

import kubernetes_validate
import yaml

# The oldest and the newest version of Kubernetes that the manifests are for.
VERSIONS = ("1.26", "1.37")
MONITORING = "monitoring.coreos.com/v1"
VALIDATE_MONITOR = """
import { readFileSync } from "node:fs";
import { ServiceMonitor } from "@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1";
new ServiceMonitor(JSON.parse(readFileSync(0, "utf8"))).validate();
"""


def check_schema(thing, arguments):
    if thing["apiVersion"] == MONITORING:
        checked = subprocess.run(
            ["node", "--input-type=module", "--eval", VALIDATE_MONITOR], input=json.dumps(thing), text=True,
            capture_output=True, cwd=arguments.schemas, check=False)
        if checked.returncode:
            raise ValueError(checked.stderr)
        return
    for version in VERSIONS:
        kubernetes_validate.validate(thing, version, strict=True)


def check_permissions(pod):
    """Every container of tallyd is without privileges; only the one that prepares folders is root."""
    for container in pod["containers"] + pod.get("initContainers", []):
        context = {**pod["securityContext"], **container["securityContext"]}
        is_root = container["name"] == "prepare-folders"
        wanted = {
            "runAsNonRoot": not is_root,
            "runAsUser": 0 if is_root else 65532,
            "readOnlyRootFilesystem": True,
            "allowPrivilegeEscalation": False,
            "seccompProfile": {"type": "RuntimeDefault"},
            "capabilities": {"drop": ["ALL"], "add": ["CHOWN"]} if is_root else {"drop": ["ALL"]},
        }
        for key, value in wanted.items():
            if context.get(key) != value:
                raise ValueError(f"{container['name']}: {key} is {context.get(key)} instead of {value}")
        mounted = {mount["name"] for mount in container["volumeMounts"]}
        if not mounted <= {volume["name"] for volume in pod["volumes"]}:
            raise ValueError(f"{container['name']} mounts {mounted}, and some of these are no volumes")
    if pod["automountServiceAccountToken"]:
        raise ValueError("the pod has a token for the API")


def check_ports(pod, config):
    """The pod opens exactly the ports on which the daemon listens."""
    container = pod["containers"][0]
    opened = {port["containerPort"] for port in container.get("ports", []) if port["protocol"] == "UDP"}
    listened = {int(listener["address"].rsplit(":", 1)[1])
                for listener in config["listeners"] if "address" in listener}
    if opened != listened:
        raise ValueError(f"the pod has the UDP ports {opened}, the daemon listens on {listened}")


def check_config(text, program):
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "tallyd.yaml"
        path.write_text(text)
        environment = {"NODE_NAME": "node-1", "INFLUXDB_PASSWORD": "example"}
        checked = subprocess.run([program, "check", "--config", path], env=environment, text=True,
                                 capture_output=True, check=False)
        if checked.returncode:
            raise ValueError(checked.stdout + checked.stderr)


def check(path, arguments):
    things = [thing for thing in yaml.safe_load_all(path.read_text()) if thing]
    config = None
    for thing in things:
        if thing["kind"] == "ConfigMap":
            config = thing["data"]["tallyd.yaml"]
    for thing in things:
        try:
            check_schema(thing, arguments)
            if thing["kind"] == "DaemonSet":
                pod = thing["spec"]["template"]["spec"]
                check_permissions(pod)
                check_ports(pod, yaml.safe_load(config))
            if thing["kind"] == "ConfigMap" and arguments.program:
                check_config(config, arguments.program)
        except Exception as error:  # of any library
            sys.exit(f"{path}: {thing['kind']}: {error}")
    kinds = ", ".join(thing["kind"] for thing in things)
    print(f"{path.name}: {kinds}: valid for Kubernetes {' and '.join(VERSIONS)}")
    if {"ConfigMap", "DaemonSet", "ServiceAccount"} - {thing["kind"] for thing in things}:
        sys.exit(f"{path}: an object is missing")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--schemas", required=True, help="the folder with the packages of Node.js")
    parser.add_argument("--program", help="a tallyd, which checks the configurations")
    parser.add_argument("files", type=pathlib.Path, nargs="+")
    arguments = parser.parse_args()
    for path in arguments.files:
        check(path, arguments)
    if not arguments.program:
        print("SKIPPED: tallyd check of the configurations: there is no build")


main()
