"""The tree as a page of its own: one HTML file that draws, folds, searches, colours and compares.

It fetches nothing and runs only its own script: the policy in its head names the script and the style by
their digests. What nodes say is in it as JSON, and shown as text.
"""

from __future__ import annotations

import base64
import functools
import hashlib
from collections.abc import Sequence
from html import escape
from importlib.resources import files

from .embedded import Limits, as_json, embedded
from .facts import NodeFacts
from .outline import to_text
from .picture import Picture
from .text import shorten

__all__ = ["IN_NOTEBOOKS", "framed", "to_html"]

_LINES = 400
_LARGEST_FRAME = 2_000_000

# A notebook keeps what it shows, so that it shows less; and nobody waits for a thousand logs to be read.
IN_NOTEBOOKS = Limits(logs=200_000, log=4_000, reads=40, code=200_000, points=30_000, tensors=8_000)


@functools.cache
def _own(name: str) -> str:
    return files("dagtree.analysis").joinpath(name).read_text("utf-8")


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def to_html(nodes: Sequence[NodeFacts], title: str = "", note: str = "", limits: Limits | None = None) -> str:
    """The page as text. ``note`` is a line beside the counts;"""
    hot, cold = embedded(nodes, limits or Limits())
    hot |= {"title": shorten(title, 120), "note": note}
    script = f'"use strict";\n(() => {{\n{_own("page.js")}\n{_own("panel.js")}\n}})();\n'
    style = _own("page.css")
    policy = (
        f"default-src 'none'; script-src {_hash(script)}; style-src {_hash(style)}; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )
    name = escape(shorten(title, 120) or "dagtree")
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="referrer" content="no-referrer">\n<link rel="icon" href="data:,">\n'
        f"<title>{name}</title>\n<style>{style}</style>\n</head>\n<body>\n"
        f'<div id="static"><p>{name}</p><pre>{escape(_outline(nodes, title))}</pre></div>\n'
        f'<script type="application/json" id="drawn">{as_json(hot)}</script>\n'
        f'<script type="application/json" id="beside">{as_json(cold)}</script>\n'
        f"<script>{script}</script>\n</body>\n</html>\n"
    )


def _outline(nodes: Sequence[NodeFacts], title: str) -> str:
    """What is seen where scripts don't run."""
    text = to_text(Picture.of(nodes[:_LINES], title))
    more = len(nodes) - _LINES
    return text + (f"\n… and {more:,} more nodes" if more > 0 else "")


def framed(page: str, height: int = 620) -> str:
    """The page in a frame that reaches nothing outside of it; empty when it would swell the notebook."""
    content = escape(page, quote=True)
    if len(content) > _LARGEST_FRAME:
        return ""
    return (
        f'<iframe class="page" sandbox="allow-scripts" title="the tree, to fold, search and compare" '
        f'srcdoc="{content}" width="100%" height="{height}"></iframe>'
    )
