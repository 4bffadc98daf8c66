"""A tree and its code as Python text, to be read: who opens it in ten years has this much without dagtree."""

from __future__ import annotations

import keyword
import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..errors import DamagedError
from .deeds import Deed
from .text import visible

if TYPE_CHECKING:
    from .node import Node

__all__ = ["code_listing", "tree_listing"]


def code_listing(node: Node) -> str:
    """The source of all functions and classes that the node's key covers, as it was kept."""
    try:
        sources = node.sources
    except DamagedError as error:
        return _comment(f"What was kept of the code can't be read: {error}")
    parts = [_comment(f"The code of {node.recipe or node.name}, as its key covers it.")]
    for entry in sources:
        if not isinstance(entry, Mapping):
            continue
        name, text = str(entry.get("name", "")), entry.get("text")
        where = f"{entry.get('module', '')}, line {entry.get('line', '?')}" if entry.get("line") else ""
        if entry.get("kind") in ("function", "class") and isinstance(text, str) and text:
            parts.append(_comment(f"{name} ({where})" if where else name) + text.rstrip() + "\n")
        else:
            parts.append(_comment(f"{entry.get('kind', 'value')} {name}: {text or entry.get('digest', '')}"))
    return "\n\n".join(parts)


def tree_listing(deeds: Sequence[Deed], title: str) -> str:
    """How the tree would be defined: one line a node, in an order in which parents come first."""
    names: dict[str, str] = {}
    lines = []
    for deed in deeds:
        for made in deed.made:
            names[made.key] = f"node_{made.key[:8]}"
        end = deed.node
        given = ", ".join(_argument(name, value) for name, value in end.properties.items())
        if end.kind == "root":
            call = f"experiment.spawn_new_tree({given})"
        else:
            parents = ", ".join(names.get(key, f"node_{key[:8]}") for key in deed.used)
            call = f"{_identifier(deed.name)}({given})({parents})"
        moments = [made for made in deed.made if made.moment is not None]
        if end.moment is None:
            lines.append(f"{names[end.key]} = {call}")
            call = names[end.key]
        lines += [f"{names[made.key]} = {call}.at({made.moment})" for made in moments]
    head = _comment(
        f"The tree of {title}, as its script would define it with dagtree. The classes are beside this file, "
        "one file for each recipe and age of its code; values that Python can't write down are texts."
    )
    return "\n".join([head, *lines]) + "\n"


def _argument(name: str, value: Any) -> str:
    written = repr(value) if _is_literal(value) else repr(visible(repr(value)))
    return (
        f"{name}={written}"
        if name.isidentifier() and not keyword.iskeyword(name)
        else f"**{{{name!r}: {written}}}"
    )


def _is_literal(value: Any) -> bool:
    if value is None or isinstance(value, bool | int | str | bytes):
        return True
    if isinstance(value, float):
        return value == value and abs(value) != float("inf")
    if type(value) in (list, tuple, set):
        return all(map(_is_literal, value)) and bool(value or type(value) is not set)
    return type(value) is dict and all(map(_is_literal, [*value, *value.values()]))


def _identifier(name: str) -> str:
    kept = "".join(one if one.isalnum() or one == "_" else "_" for one in name)
    return kept if kept.isidentifier() and not keyword.iskeyword(kept) else f"recipe_{kept}"


def _comment(text: str) -> str:
    lines = [part for line in text.splitlines() or [""] for part in textwrap.wrap(visible(line), 100) or [""]]
    return "".join(f"# {line}\n" for line in lines)
