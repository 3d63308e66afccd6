"""What is linked into the program, from the output of `cargo metadata`."""

import pathlib
import re
import sys

# Libraries in other languages that crates contain, with their licences, and the file and pattern or, without a
# file, the pattern of the crate's own version that gives the library's.
BUNDLED = {
    "rdkafka-sys": ("librdkafka", ["librdkafka/LICENSES.txt"], None, r"\+(.+)$"),
    "openssl-src": ("openssl", ["openssl/LICENSE.txt"], None, r"\+(.+)$"),
    "zstd-sys": ("zstd", ["zstd/LICENSE"], None, r"\+zstd\.(.+)$"),
    "libz-sys": ("zlib", ["src/zlib/LICENSE"], "src/zlib/zlib.h", r'ZLIB_VERSION "([^"]+)"'),
}


def linked(metadata, with_build=True):
    """Returns the packages that are linked into the root package, sorted by name.

    With build dependencies: openssl-src is one, and the library that it builds is linked.
    """
    kinds_of_interest = {None, "build"} if with_build else {None}
    nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
    found, waiting = set(), [metadata["resolve"]["root"]]
    while waiting:
        package = waiting.pop()
        if package in found:
            continue
        found.add(package)
        for dependency in nodes[package]["deps"]:
            if {kind["kind"] for kind in dependency["dep_kinds"]} & kinds_of_interest:
                waiting.append(dependency["pkg"])
    packages = [package for package in metadata["packages"] if package["id"] in found]
    return sorted(packages, key=lambda package: (package["name"], package["version"]))


def folder_of(package):
    return pathlib.Path(package["manifest_path"]).parent


def bundled_licences(package):
    """Returns the licence files of the library that the package contains."""
    _, licences, _, _ = BUNDLED.get(package["name"], (None, [], None, None))
    files = [folder_of(package) / licence for licence in licences]
    for path in files:
        if not path.is_file():
            sys.exit(f"{package['name']}: {path} not found: see scripts/linked.py")
    return files


def bundled_version(package):
    """Returns the name and the version of the library that the package contains, or None."""
    if package["name"] not in BUNDLED:
        return None
    name, _, file, pattern = BUNDLED[package["name"]]
    text = (folder_of(package) / file).read_text() if file else package["version"]
    found = re.search(pattern, text)
    if not found:
        sys.exit(f"{package['name']}: no version of {name}: see scripts/linked.py")
    return name, found[1]
