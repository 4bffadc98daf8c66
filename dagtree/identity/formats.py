"""Format texts: ``"{s.rate}".format(s=state)`` names an attribute in a text, which may lie anywhere."""

from __future__ import annotations

import ast
import types
from collections.abc import Callable, Mapping
from typing import Any

from .names import FORMATTING, chain_of, fields_in, parts_of
from .ownership import is_a

__all__ = ["taken_by_formats"]

_OF_A_CLASS = frozenset({"str", "Formatter"})


def taken_by_formats(
    tree: ast.AST, around: Mapping[str, Any], own: Callable[[str], object]
) -> frozenset[str] | None:
    """The attributes that format texts name which a syntax tree doesn't hold itself; None where nobody can
    tell what a text is.

    ``around`` are the globals and the closure's variables that it mentions; ``own(name)`` is what the recipe
    or the state has under a name.
    """
    parts = parts_of(tree)
    called = {id(part.func): part for part in parts if isinstance(part, ast.Call)}
    bound: dict[str, list[ast.expr | None]] = {}
    for part in parts:
        if isinstance(part, ast.Assign):
            for target in part.targets:
                if isinstance(target, ast.Name):
                    bound.setdefault(target.id, []).append(part.value)
        elif isinstance(part, ast.arg):
            bound.setdefault(part.arg, []).append(None)
    stored = [part.id for part in parts if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store)]
    for name in stored:
        if stored.count(name) > len(bound.setdefault(name, [])):
            bound[name].append(None)
    texts: list[str] = []

    def is_known(node: ast.expr | None, depth: int = 0) -> bool:
        if node is None or depth > 5:
            return False
        if isinstance(node, ast.Constant):
            return True  # its fields were read with all texts of the code
        if isinstance(node, ast.BinOp):
            return is_known(node.left, depth + 1) and is_known(node.right, depth + 1)
        chain = chain_of(node)
        if chain is None:
            return False
        if chain[0] in bound:
            if len(chain) == 1:
                return all(is_known(value, depth + 1) for value in bound[chain[0]])
            found = own(chain[1]) if len(chain) == 2 else None
            if type(found) is str:
                texts.append(found)
            return type(found) is str
        if chain[0] not in around:
            return False
        found = around[chain[0]]
        for name in chain[1:]:
            if not is_a(found, types.ModuleType):
                return False
            found = types.ModuleType.__getattribute__(found, "__dict__").get(name)
        if type(found) is str:
            texts.append(found)
        return type(found) is str or is_a(found, types.ModuleType)

    for part in parts:
        if isinstance(part, ast.Attribute) and part.attr in FORMATTING:
            text: ast.expr | None = part.value
            chain = chain_of(part.value)
            if (chain is not None and chain[-1] in _OF_A_CLASS) or part.attr == "vformat":
                call = called.get(id(part))
                text = call.args[0] if call is not None and call.args else None
            if not is_known(text):
                return None
    return frozenset(name for text in texts for name in fields_in(text))
