"""What of a module's file is meant by those who import it when they run: the statements that define the names
that they take, and those that these need; not the rest of the file.

Read from syntax trees alone, so that it makes no difference whether the module is loaded yet.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Sequence, Set
from typing import NamedTuple

from .names import parts_of

__all__ = ["Needed", "Slice", "imports_of", "slice_of"]

_IMPORTS = (ast.Import, ast.ImportFrom)
_DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


class Needed(NamedTuple):
    """A module that is imported, and the names taken from it; None for all of them."""

    module: str
    names: frozenset[str] | None


class Slice(NamedTuple):
    """``acts`` run whenever the module is imported; ``named`` are the definitions that are needed, by name in
    the order of the alphabet; ``imports`` what both of them import."""

    acts: tuple[ast.stmt, ...]
    named: tuple[ast.stmt, ...]
    imports: tuple[Needed, ...]


def slice_of(tree: ast.Module, names: frozenset[str] | None, package: str, acts_run: bool) -> Slice:
    """The part of a module that defines ``names`` (None: all). ``acts_run`` says that its other statements
    ran long ago, whoever imports it now."""
    defined: dict[str, list[ast.stmt]] = {}
    acts: list[ast.stmt] = []
    for statement in tree.body:
        bound = _bound_by(statement)
        if bound is None or (not acts_run and _does_more(statement)):
            acts.append(statement)
        for name in bound or ():
            defined.setdefault(name, []).append(statement)
    if acts_run:
        acts = []
    wanted = set(defined) if names is None else {name for name in names if name in defined}
    if names is not None and "__getattr__" in defined and not names <= set(defined):
        wanted.add("__getattr__")
    waiting = [*wanted, *_mentioned(acts, defined)]
    while waiting:
        name = waiting.pop()
        wanted.add(name)
        waiting.extend(_mentioned(defined[name], defined) - wanted)
    named: dict[int, ast.stmt] = {}
    for name in sorted(wanted):
        named.update((id(statement), statement) for statement in defined[name])
    for statement in acts:
        named.pop(id(statement), None)
    statements = [*acts, *named.values()]
    code = [statement for statement in statements if not isinstance(statement, _IMPORTS)]
    return Slice(
        tuple(statement for statement in acts if not isinstance(statement, _IMPORTS)),
        tuple(statement for statement in named.values() if not isinstance(statement, _IMPORTS)),
        tuple(imports_of(statements, package, code, wanted)),
    )


def imports_of(
    nodes: Sequence[ast.AST],
    package: str,
    users: Sequence[ast.AST] | None = None,
    wanted: Set[str] | None = None,
) -> list[Needed]:
    """What the import statements in ``nodes`` load, and what ``users`` (by default the same) take from it; of
    the names that they bind, only those ``wanted``."""
    users = nodes if users is None else users
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
                if wanted is not None and (alias.asname or alias.name).partition(".")[0] not in wanted:
                    need(alias.name, ())  # the import runs it
                elif alias.asname is None and "." in alias.name:
                    need(alias.name, None)  # `import a.b` binds `a`: what is taken from it may be anything
                else:
                    need(alias.name, _taken(users, alias.asname or alias.name))
        elif isinstance(node, ast.ImportFrom):
            base = _absolute(node, package)
            for alias in node.names:
                if alias.name == "*":
                    need(base, None)
                elif wanted is not None and (alias.asname or alias.name) not in wanted:
                    need(base, ())
                else:
                    need(f"{base}.{alias.name}", _taken(users, alias.asname or alias.name))
                    need(base, [alias.name])
    return [
        Needed(module, None if names is None else frozenset(names))
        for module, names in sorted(found.items())
        if module
    ]


def _absolute(node: ast.ImportFrom, package: str) -> str:
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


def _bound_by(statement: ast.stmt) -> list[str] | None:
    """The names that a statement does nothing but define; None when it does more."""
    if isinstance(statement, _DEFINITIONS):
        return [statement.name]
    if isinstance(statement, _IMPORTS):
        if any(alias.name == "*" for alias in statement.names):
            return None
        return [(alias.asname or alias.name).partition(".")[0] for alias in statement.names]
    if isinstance(statement, ast.Assign) and all(isinstance(one, ast.Name) for one in statement.targets):
        return [one.id for one in statement.targets if isinstance(one, ast.Name)]
    if isinstance(statement, ast.AnnAssign | ast.AugAssign) and isinstance(statement.target, ast.Name):
        return [statement.target.id]
    if isinstance(statement, ast.Pass) or (
        isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
    ):
        return []
    return None


def _does_more(statement: ast.stmt) -> bool:
    """Whether a definition may do something besides: register what it defines, say."""
    if isinstance(statement, _IMPORTS):
        return False
    if isinstance(statement, ast.ClassDef):
        return bool(statement.decorator_list or statement.bases or statement.keywords)
    if isinstance(statement, _DEFINITIONS):
        return bool(statement.decorator_list)
    return any(isinstance(part, ast.Call | ast.Await | ast.NamedExpr) for part in parts_of(statement))


def _mentioned(statements: Iterable[ast.AST], defined: dict[str, list[ast.stmt]]) -> set[str]:
    return {
        part.id
        for statement in statements
        for part in parts_of(statement)
        if isinstance(part, ast.Name) and part.id in defined
    }
