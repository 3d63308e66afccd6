#!/usr/bin/env python3
"""Prints the licences of all code that is linked into the program, crate by crate.

Reads the output of `cargo metadata` from standard input.
"""

import json
import sys

from linked import bundled_licences, folder_of, linked

PREFIXES = ("license", "licence", "copying", "notice", "copyright")


def texts(package):
    folder = folder_of(package)
    files = [path for path in sorted(folder.iterdir())
             if path.is_file() and path.name.lower().startswith(PREFIXES)]
    files += bundled_licences(package)
    return [(path.relative_to(folder), path.read_text(errors="replace")) for path in files]


def main():
    seen = {}
    for package in linked(json.load(sys.stdin)):
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
