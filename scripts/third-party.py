#!/usr/bin/env python3
"""Prints the licences of all code that is linked into the program, crate by crate.

Reads the output of `cargo metadata` from standard input.
"""

import json
import pathlib
import sys

PREFIXES = ("license", "licence", "copying", "notice", "copyright")
# Libraries in other languages that crates contain, with separate licences.
BUNDLED = {
    "rdkafka-sys": ["librdkafka/LICENSES.txt"],
    "openssl-src": ["openssl/LICENSE.txt"],
    "zstd-sys": ["zstd/LICENSE"],
    "libz-sys": ["src/zlib/LICENSE"],
}


def linked(metadata):
    """Returns the packages that are linked into the root package."""
    nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
    found, waiting = set(), [metadata["resolve"]["root"]]
    while waiting:
        package = waiting.pop()
        if package in found:
            continue
        found.add(package)
        for dependency in nodes[package]["deps"]:
            kinds = {kind["kind"] for kind in dependency["dep_kinds"]}
            # Including build dependencies: openssl-src is one, and the library that it builds is linked.
            if kinds & {None, "build"}:
                waiting.append(dependency["pkg"])
    return [package for package in metadata["packages"] if package["id"] in found]


def texts(package):
    folder = pathlib.Path(package["manifest_path"]).parent
    files = [path for path in sorted(folder.iterdir())
             if path.is_file() and path.name.lower().startswith(PREFIXES)]
    for bundled in BUNDLED.get(package["name"], []):
        path = folder / bundled
        if not path.is_file():
            sys.exit(f"{package['name']}: {bundled} not found: see {sys.argv[0]}")
        files.append(path)
    return [(path.relative_to(folder), path.read_text(errors="replace")) for path in files]


def main():
    packages = linked(json.load(sys.stdin))
    seen = {}
    for package in sorted(packages, key=lambda package: package["name"]):
        if package["source"] is None:
            continue
        print("=" * 80)
        print(f"{package['name']} {package['version']}: {package['license']}")
        if package.get("repository"):
            print(package["repository"])
        for name, text in texts(package):
            where = f"{package['name']} {package['version']}, {name}"
            print("-" * 80)
            # Many crates have the same text.
            if text in seen:
                print(f"{name}: as in {seen[text]}")
            else:
                seen[text] = where
                print(f"{name}:\n\n{text.rstrip()}")


main()
