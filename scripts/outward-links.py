#!/usr/bin/env python3
"""Redirects links out of docs/ to the repository, for the book and for the packages.

Such a link is a relative path, like ../etc/tallyd.yaml, to a file that neither the book nor the packages
have in that place.

usage: outward-links.py                  as a preprocessor of mdbook
       outward-links.py --copy FOLDER    copies the pages and pictures of docs/ to FOLDER
"""

import json
import pathlib
import posixpath
import re
import shutil
import sys

REPOSITORY = "https://github.com/tallyd/tallyd/blob/main/"
LINK = re.compile(r"\]\((\.\./[^)\s]*)\)")
DOCS = pathlib.Path(__file__).parent.parent / "docs"


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


def copy(folder):
    """Copies the pages, with changed links, and the pictures."""
    for source in DOCS.rglob("*"):
        page = source.relative_to(DOCS)
        target = folder / page
        if source.suffix == ".md":
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(outward(page.as_posix(), source.read_text("utf-8")), "utf-8")
        elif source.suffix == ".png":
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)


def preprocess():
    """Changes the book on standard input."""
    _context, book = json.load(sys.stdin)
    walk(book)
    json.dump(book, sys.stdout)


if sys.argv[1:2] == ["supports"]:
    sys.exit(0)
if sys.argv[1:2] == ["--copy"]:
    copy(pathlib.Path(sys.argv[2]))
else:
    preprocess()
