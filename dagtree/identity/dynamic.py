"""Lookups that are made when code runs, by names that it computes: what of them can be followed, and where
they are when nothing can."""

from __future__ import annotations

import ast
from dataclasses import dataclass, field

from .names import parts_of

__all__ = ["Lookups", "lookups_in"]

_BY_NAME = {"getattr": 1, "attrgetter": 0, "methodcaller": 0}
_TABLES = frozenset(
    {"globals", "vars", "locals", "__dict__", "modules", "__subclasses__", "__getattribute__"}
)
_IMPORTING = frozenset({"import_module", "__import__", "run_path", "run_module", "exec_module", "find_spec"})
_RUNNING = frozenset({"eval", "exec", "compile"})


@dataclass
class Lookups:
    """``chains`` and ``imports`` are what literal strings name, so that it can be followed; ``unseen`` are
    places (line, what is there) where nobody can tell."""

    chains: set[tuple[str, ...]] = field(default_factory=set)
    imports: set[str] = field(default_factory=set)
    unseen: list[tuple[int, str]] = field(default_factory=list)


def lookups_in(tree: ast.AST) -> Lookups:
    """The lookups by name in a syntax tree."""
    found = Lookups()
    indexed: set[int] = set()
    parts = parts_of(tree)
    for node in parts:
        if isinstance(node, ast.Subscript):
            _subscript(node, found, indexed)
    for node in parts:
        if isinstance(node, ast.Call):
            _call(node, found, indexed)
    for node in parts:
        named = _name_of(node)
        if named in ("__dict__", "__subclasses__", "__getattribute__") and id(node) not in indexed:
            found.unseen.append((_line(node), f"`{named}`"))
    found.unseen.sort()
    return found


def _subscript(node: ast.Subscript, found: Lookups, indexed: set[int]) -> None:
    """``globals()["augment"]``, ``sys.modules[name]``."""
    value = node.value
    named = _name_of(value.func) if isinstance(value, ast.Call) else _name_of(value)
    if named not in _TABLES:
        return
    indexed.update((id(value), id(value.func) if isinstance(value, ast.Call) else 0))
    literal = _literal(node.slice)
    if literal is None:
        found.unseen.append((_line(node), f"`{named}` with a computed name"))
    elif named == "globals":
        found.chains.add((literal,))
    elif named == "modules":
        found.imports.add(literal)


def _call(node: ast.Call, found: Lookups, indexed: set[int]) -> None:
    named = _name_of(node.func)
    if named in _BY_NAME:
        place = _BY_NAME[named]
        sought = node.args[place : place + 1] if named != "attrgetter" else node.args
        if not sought or any(_literal(one) is None for one in sought):
            found.unseen.append((_line(node), f"`{named}` with a computed name"))
    elif named in _IMPORTING:
        literal = _literal(node.args[0]) if node.args else None
        if literal is None or named in ("run_path", "exec_module"):
            found.unseen.append((_line(node), f"`{named}` with a computed name"))
        elif not literal.startswith("."):
            found.imports.add(literal)
        else:
            found.unseen.append((_line(node), f"`{named}` with a relative name"))
    elif named in _RUNNING and isinstance(node.func, ast.Name):
        literal = _literal(node.args[0]) if node.args else None
        inner = None if literal is None else _parsed(literal)
        if inner is None:
            found.unseen.append((_line(node), f"`{named}` of a computed text"))
        else:
            found.chains.update((part.id,) for part in ast.walk(inner) if isinstance(part, ast.Name))
    elif named in ("globals", "vars", "locals") and id(node) not in indexed and not _is_item(node):
        found.unseen.append((_line(node), f"`{named}()`"))


def _is_item(node: ast.Call) -> bool:
    """``vars(self)``: the attributes of one object, whose values were set in code that counts."""
    return _name_of(node.func) == "vars" and len(node.args) == 1 and isinstance(node.args[0], ast.Name)


def _name_of(node: ast.AST) -> str:
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""


def _literal(node: ast.AST) -> str | None:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None


def _parsed(text: str) -> ast.AST | None:
    try:
        return ast.parse(text)
    except (SyntaxError, ValueError, RecursionError):
        return None


def _line(node: ast.AST) -> int:
    return getattr(node, "lineno", 0)
