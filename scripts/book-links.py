#!/usr/bin/env python3
"""A preprocessor for mdbook: redirects links out of docs/ to the repository.

Such a link is a relative path, like ../etc/tallyd.yaml, to a file that the book does not contain.
"""

import json
import posixpath
import re
import sys

REPOSITORY = "https://github.com/tallyd/tallyd/blob/main/"
LINK = re.compile(r"\]\((\.\./[^)\s]*)\)")


def outward(page, text):
    """Returns the text of a page with links out of docs/ replaced by URLs of the repository."""

    def replace(link):
        target = posixpath.normpath(posixpath.join("docs", posixpath.dirname(page), link[1]))
        inside = target.startswith("docs/")
        return link[0] if inside else f"]({REPOSITORY}{target})"

    return LINK.sub(replace, text)


def walk(node):
    """Changes all chapters below a node. Independent of the structure in between, which depends on the
    version of mdbook."""
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
