#!/usr/bin/env python3
"""Prints an SBOM of the program, in the JSON format of CycloneDX 1.5: sbom.py TARGET EPOCH.

Reads the output of `cargo metadata` for that target from standard input, and Cargo.lock for the checksums. It lists
the crates, those that only the build uses as excluded, and the C libraries that crates contain. The output depends only
on these inputs.
"""

import json
import pathlib
import re
import sys
import time
import uuid

from linked import bundled_version, linked

# The project, to identify its documents.
NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, "https://github.com/tallyd/tallyd")
# The licences of the C libraries, and their names in advisories.
LIBRARIES = {
    "librdkafka": ("BSD-2-Clause", "cpe:2.3:a:confluent:librdkafka:{}:*:*:*:*:*:*:*"),
    "openssl": ("Apache-2.0", "cpe:2.3:a:openssl:openssl:{}:*:*:*:*:*:*:*"),
    "zstd": ("BSD-3-Clause", "cpe:2.3:a:facebook:zstandard:{}:*:*:*:*:*:*:*"),
    "zlib": ("Zlib", "cpe:2.3:a:zlib:zlib:{}:*:*:*:*:*:*:*"),
}


def checksums():
    lock = pathlib.Path("Cargo.lock").read_text()
    entries = re.findall(r'name = "([^"]+)"\nversion = "([^"]+)"\n(?:source = .*\n)?checksum = "([^"]+)"', lock)
    return {(name, version): checksum for name, version, checksum in entries}


def is_own(package):
    return package["source"] is None


def reference(package):
    # A purl of a crate of this project would name a crate of another one, with the same name on crates.io.
    kind = "tallyd:" if is_own(package) else "pkg:cargo/"
    return f"{kind}{package['name']}@{package['version']}"


def component(package, known, is_linked):
    found = {
        "type": "library",
        "bom-ref": reference(package),
        "name": package["name"],
        "version": package["version"],
        "scope": "required" if is_linked else "excluded",
    }
    if not is_own(package):
        found["purl"] = reference(package)
    if package["license"]:
        # Old manifests separate alternatives with a slash.
        found["licenses"] = [{"expression": re.sub(r"\s*/\s*", " OR ", package["license"])}]
    checksum = known.get((package["name"], package["version"]))
    if checksum:
        found["hashes"] = [{"alg": "SHA-256", "content": checksum}]
    if package["repository"]:
        found["externalReferences"] = [{"type": "vcs", "url": package["repository"]}]
    return found


def library(name, version):
    licence, cpe = LIBRARIES[name]
    return {
        "type": "library",
        "bom-ref": f"pkg:generic/{name}@{version}",
        "name": name,
        "version": version,
        "purl": f"pkg:generic/{name}@{version}",
        "cpe": cpe.format(version),
        "scope": "required",
        "licenses": [{"expression": licence}],
    }


def main():
    target, epoch = sys.argv[1:]
    metadata = json.load(sys.stdin)
    packages = linked(metadata)
    known = checksums()
    required = {package["id"] for package in linked(metadata, with_build=False)}
    root = next(package for package in packages if package["id"] == metadata["resolve"]["root"])
    nodes = {node["id"]: node["dependencies"] for node in metadata["resolve"]["nodes"]}
    references = {package["id"]: reference(package) for package in packages}

    components, dependencies = [], []
    for package in packages:
        uses = sorted({references[used] for used in nodes[package["id"]] if used in references})
        contained = bundled_version(package)
        if contained:
            components.append(library(*contained))
            uses.append(components[-1]["bom-ref"])
            dependencies.append({"ref": components[-1]["bom-ref"]})
        if package is not root:
            components.append(component(package, known, package["id"] in required))
        dependencies.append({"ref": references[package["id"]], "dependsOn": uses})

    whole = {**component(root, known, True), "type": "application"}
    whole["properties"] = [{"name": "target", "value": target}]
    content = json.dumps([whole, components, dependencies], sort_keys=True)
    bom = {
        "$schema": "http://cyclonedx.org/schema/bom-1.5.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "serialNumber": f"urn:uuid:{uuid.uuid5(NAMESPACE, content)}",
        "version": 1,
        "metadata": {
            "timestamp": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(int(epoch))),
            "tools": {"components": [{"type": "application", "name": "scripts/sbom.py"}]},
            "component": whole,
        },
        "components": sorted(components, key=lambda part: part["bom-ref"]),
        "dependencies": sorted(dependencies, key=lambda part: part["ref"]),
    }
    json.dump(bom, sys.stdout, indent=1)
    print()


main()
