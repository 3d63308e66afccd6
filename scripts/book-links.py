#!/usr/bin/env python3
"""A preprocessor of mdbook: makes links that lead out of docs/ lead to the repository.

In the repository such a link is a path, ../etc/tallyd.yaml; the book has no such file.
"""

import json
import posixpath
import re
import sys

REPOSITORY = "https://github.com/tallyd/tallyd/blob/main/"
LINK = re.compile(r"\]\((\.\./[^)\s]*)\)")


def outward(page, text):
    """The text of a page with links that the book can follow."""

    def replace(link):
        target = posixpath.normpath(posixpath.join("docs", posixpath.dirname(page), link[1]))
        inside = target.startswith("docs/")
        return link[0] if inside else f"]({REPOSITORY}{target})"

    return LINK.sub(replace, text)


def walk(node):
    """Changes every chapter below a node, whatever the version of mdbook calls what is between."""
    if isinstance(node, list):
        for item in node:
            walk(item)
    elif isinstance(node, dict):
        if node.get("path") and "content" in node:
            node["content"] = outward(node["path"], node["content"])
        for item in node.values():
            walk(item)


if len(sys.argv) > 1 and sys.argv[1] == "supports":
    sys.exit(0)
_context, book = json.load(sys.stdin)
walk(book)
json.dump(book, sys.stdout)
