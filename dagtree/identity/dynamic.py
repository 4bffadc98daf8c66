"""Lookups that are made when code runs, by names that it computes: what of them can be followed, and where
they are when nothing can."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from operator import is_not
from typing import Any

from .names import aliases_within, bound_in, parts_of, used_name, words_in

__all__ = ["Lookups", "aliases_in", "lookups_in", "may_look_up"]

_BY_NAME = {"getattr": 1, "getattr_static": 1, "attrgetter": 0, "methodcaller": 0}
_TABLES = frozenset(
    {"globals", "vars", "locals", "__dict__", "modules", "__subclasses__", "__getattribute__"}
)
_IMPORTING = frozenset(
    {"import_module", "__import__", "run_path", "run_module", "exec_module", "find_spec", "resolve_name"}
)
_RUNNING = frozenset({"eval", "exec", "compile"})
_FROM_FILES = frozenset({"spec_from_file_location", "CDLL", "PyDLL", "LoadLibrary"})
_FUNCTIONS = frozenset(
    {*_BY_NAME, *_IMPORTING, *_RUNNING, *_FROM_FILES, "getmembers", "globals", "vars", "locals"}
)
_HOMES = {
    "builtins": (
        "getattr",
        "setattr",
        "hasattr",
        "delattr",
        "eval",
        "exec",
        "compile",
        "globals",
        "vars",
        "locals",
        "__import__",
    ),
    "operator": ("attrgetter", "methodcaller"),
    "importlib": ("import_module", "__import__"),
    "importlib.util": ("find_spec", "spec_from_file_location"),
    "runpy": ("run_path", "run_module"),
    "inspect": (
        "getattr_static",
        "getmembers",
        "get_annotations",
        "getdoc",
        "getfullargspec",
        "signature",
    ),
    "typing": ("get_type_hints",),
    "pkgutil": ("resolve_name",),
    "ctypes": ("CDLL", "PyDLL"),
}
_NONE: Mapping[str, str] = {}
_WORDS = _FUNCTIONS | _TABLES | {"builtins", "__builtins__"}


@dataclass
class Lookups:
    """``chains`` and ``imports`` are what literal strings name, so that it can be followed; ``unseen`` are
    places (line, what is there) where nobody can tell."""

    chains: set[tuple[str, ...]] = field(default_factory=set)
    imports: set[str] = field(default_factory=set)
    unseen: list[tuple[int, str]] = field(default_factory=list)


def may_look_up(words: Iterable[str]) -> bool:
    """Whether code that uses these words, and no other names for them, may look something up by name."""
    return not _WORDS.isdisjoint(words)


def lookups_in(tree: ast.AST, aliases: Mapping[str, str] = _NONE) -> Lookups:
    """The lookups by name in a syntax tree. ``aliases``: names around it that mean a function with another
    name, from ``aliases_in``.

    A function that looks things up is followed where it is called with literal names. Used in any other way
    it is a place where nobody can tell.
    """
    found = Lookups()
    if not aliases and not may_look_up(words_in(tree)):
        return found
    indexed: set[int] = set()
    parts = parts_of(tree)
    meant = aliases_within(tree, _FUNCTIONS, aliases)
    for node in parts:
        if isinstance(node, ast.Subscript):
            _subscript(node, found, indexed, meant)
    for node in parts:
        if isinstance(node, ast.Call):
            indexed.add(id(node.func))
            _call(node, found, indexed, meant)
    bound = bound_in(tree) - set(meant)
    indexed |= _renamed(parts, meant)
    for node in parts:
        if not isinstance(node, (ast.Name, ast.Attribute)) or not isinstance(node.ctx, ast.Load):
            continue
        named = used_name(node, meant)
        if named in ("__dict__", "__subclasses__", "__getattribute__"):
            if id(node) not in indexed or named != "__dict__":
                found.unseen.append((_line(node), f"`{named}`"))
        elif (
            named in _FUNCTIONS
            and id(node) not in indexed
            and not (isinstance(node, ast.Name) and node.id in bound)
        ):
            found.unseen.append((_line(node), f"`{named}` as a value"))
    found.unseen.sort()
    return found


def aliases_in(names: Mapping[str, object]) -> dict[str, str]:
    """Those of the names, with what they mean to a function, that mean one which looks things up and has
    another name of its own, and that name: ``{"ga": "getattr"}``. Nothing is executed."""
    known = _known_by_id()
    found = [name for name, value in names.items() if id(value) in known]
    return {name: known[id(names[name])][0] for name in sorted(found) if known[id(names[name])][0] != name}


_known: tuple[list[object], dict[int, tuple[str, object]]] = ([], {})


def _known_by_id() -> dict[int, tuple[str, object]]:
    """The functions that look things up by their ids, with their names; made anew when another module that
    has some is loaded. They are held, so that no other object gets such an id."""
    global _known
    homes: list[Any] = [sys.modules.get(home) for home in _HOMES]
    if len(_known[0]) != len(homes) or any(map(is_not, _known[0], homes)):
        found: dict[int, tuple[str, object]] = {}
        for home, module in zip(_HOMES, homes, strict=True):
            held: Mapping[str, Any] = {} if module is None else vars(module)
            if home == "builtins":
                found[id(module)] = home, module
            found.update((id(held[name]), (name, held[name])) for name in _HOMES[home] if name in held)
        _known = homes, found
    return _known[1]


def _renamed(parts: tuple[ast.AST, ...], meant: Mapping[str, str]) -> set[int]:
    """What is only given another name, whose uses are looked at."""
    found: set[int] = set()
    for node in parts:
        if isinstance(node, ast.NamedExpr) and node.target.id in meant:
            found.add(id(node.value))
        elif isinstance(node, ast.Assign) and len(node.targets) == 1:
            target = node.targets[0]
            if isinstance(target, ast.Name) and meant.get(target.id) == used_name(node.value, meant):
                found.add(id(node.value))
    return found


def _subscript(node: ast.Subscript, found: Lookups, indexed: set[int], meant: Mapping[str, str]) -> None:
    """``globals()["augment"]``, ``sys.modules[name]``."""
    value = node.value
    named = used_name(value.func if isinstance(value, ast.Call) else value, meant)
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


def _call(node: ast.Call, found: Lookups, indexed: set[int], meant: Mapping[str, str]) -> None:
    named = used_name(node.func, meant)
    literal = _literal(node.args[0]) if node.args else None
    if named in _BY_NAME:
        place = _BY_NAME[named]
        sought = node.args[place : place + 1] if named != "attrgetter" else node.args
        if not sought or any(_literal(one) is None for one in sought):
            found.unseen.append((_line(node), f"`{named}` with a computed name"))
    elif named in _IMPORTING:
        if literal is None or named in ("run_path", "exec_module"):
            found.unseen.append((_line(node), f"`{named}` with a computed name"))
        elif literal.startswith(".") and (name := _below(node, literal)):
            found.imports.add(name)
        elif literal.startswith("."):
            found.unseen.append((_line(node), f"`{named}` with a relative name"))
        elif named == "resolve_name":
            steps = literal.partition(":")[0].split(".")
            found.imports.update(".".join(steps[:end]) for end in range(1, len(steps) + 1))
        else:
            found.imports.add(literal)
    elif named in _RUNNING:
        inner = None if literal is None else _parsed(literal)
        if inner is None:
            found.unseen.append((_line(node), f"`{named}` of a computed text"))
        else:
            found.chains.update((part.id,) for part in ast.walk(inner) if isinstance(part, ast.Name))
    elif named in _FROM_FILES:
        found.unseen.append((_line(node), f"`{named}` of a file"))
    elif named == "getmembers":
        found.unseen.append((_line(node), "`getmembers()`"))
    elif named in ("globals", "vars", "locals") and id(node) not in indexed and not _is_item(node, named):
        found.unseen.append((_line(node), f"`{named}()`"))


def _below(node: ast.Call, relative: str) -> str:
    """The module that a relative name means, where the package is written there too; nothing otherwise."""
    given = [*node.args[1:2], *(one.value for one in node.keywords if one.arg == "package")]
    package = _literal(given[0]) if given else None
    if not package:
        return ""
    name = relative.lstrip(".")
    parts = package.split(".")
    kept = parts[: len(parts) - (len(relative) - len(name)) + 1]
    return ".".join([*kept, name]) if kept and name else ""


def _is_item(node: ast.Call, named: str) -> bool:
    """``vars(self)``: the attributes of one object, whose values were set in code that counts."""
    return named == "vars" and len(node.args) == 1 and isinstance(node.args[0], ast.Name)


def _literal(node: ast.AST) -> str | None:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None


def _parsed(text: str) -> ast.AST | None:
    try:
        return ast.parse(text)
    except (SyntaxError, ValueError, RecursionError):
        return None


def _line(node: ast.AST) -> int:
    return getattr(node, "lineno", 0)
