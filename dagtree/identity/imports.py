"""What import statements load, and which names are taken from it. Read from syntax trees, and from bytecode
where there is no source."""

from __future__ import annotations

import ast
import dis
from collections.abc import Iterable, Sequence
from types import CodeType
from typing import NamedTuple

from .names import parts_of

__all__ = ["Needed", "absolute", "imports_in", "imports_of"]


class Needed(NamedTuple):
    """A module that is imported, and the names taken from it; None for all of them."""

    module: str
    names: frozenset[str] | None


def imports_of(nodes: Sequence[ast.AST], package: str) -> list[Needed]:
    """What the import statements in ``nodes`` load, and what is taken from it there."""
    found: dict[str, set[str] | None] = {}

    def need(module: str, names: Iterable[str] | None) -> None:
        known = found.setdefault(module, set())
        if names is None or known is None:
            found[module] = None
        else:
            known.update(names)

    for node in (part for top in nodes for part in parts_of(top)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.asname is None and "." in alias.name:
                    need(alias.name, None)  # `import a.b` binds `a`: what is taken from it may be anything
                else:
                    need(alias.name, _taken(nodes, alias.asname or alias.name))
        elif isinstance(node, ast.ImportFrom):
            base = absolute(node, package)
            for alias in node.names:
                if alias.name == "*":
                    need(base, None)
                else:
                    need(f"{base}.{alias.name}", _taken(nodes, alias.asname or alias.name))
                    need(base, [alias.name])
    return [
        Needed(module, None if names is None else frozenset(names))
        for module, names in sorted(found.items())
        if module
    ]


def imports_in(code: CodeType, package: str) -> list[Needed]:
    """What the import statements of a function load whose source isn't there: anything may be taken from
    it."""
    found: list[Needed] = []
    told = [*dis.get_instructions(code)]
    for place, one in enumerate(told):
        if one.opname == "IMPORT_NAME":
            # Before it lie how many packages up, and the names that are taken.
            before = [step.argval for step in told[:place] if step.opname.startswith("LOAD_")][-2:]
            level = before[0] if before and type(before[0]) is int else 0
            names = [name for name in before[-1] or () if name != "*"] if type(before[-1]) is tuple else []
            said = ast.ImportFrom(module=one.argval, names=[ast.alias(name) for name in names], level=level)
            base = absolute(said, package)
            found += [Needed(f"{base}.{name}", None) for name in names]
            found.append(Needed(base, None))
    for inner in code.co_consts:
        if isinstance(inner, CodeType):
            found += imports_in(inner, package)
    return found


def absolute(node: ast.ImportFrom, package: str) -> str:
    """The module that names are taken from, in a module of the package."""
    base = node.module or ""
    if node.level:
        parts = package.split(".")
        parts = parts[: len(parts) - node.level + 1]
        base = ".".join([*parts, base] if base else parts)
    return base


def _taken(users: Sequence[ast.AST], name: str) -> frozenset[str] | None:
    """The attributes taken from a name; None where it is used in another way."""
    attributes: set[str] = set()
    bases: set[int] = set()
    bare: list[int] = []
    for node in (part for top in users for part in parts_of(top)):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == name:
            attributes.add(node.attr)
            bases.add(id(node.value))
        elif isinstance(node, ast.Name) and node.id == name:
            bare.append(id(node))
    return frozenset(attributes) if all(one in bases for one in bare) else None
