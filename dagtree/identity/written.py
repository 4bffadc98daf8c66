"""The global names that functions rebind, or whose containers they fill: caches, registries."""

from __future__ import annotations

import ast

from .compiled import FunctionNode
from .names import FILLING, parts_of

__all__ = ["bound_by", "names_written"]

_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
_NAMED = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.ExceptHandler, ast.MatchAs, ast.MatchStar)


def names_written(tree: ast.AST) -> frozenset[str]:
    """Those names, of all functions and lambdas in a syntax tree. A name that a function, or one around it,
    has as an argument or a variable of its own is no global."""
    names: set[str] = set()
    waiting = [tree]
    while waiting:
        part = waiting.pop()
        if isinstance(part, _FUNCTIONS):
            _written_by(part, frozenset(), names)
            waiting.extend(_before(part))
        else:
            waiting.extend(ast.iter_child_nodes(part))
    return frozenset(names)


def _written_by(function: FunctionNode, around: frozenset[str], names: set[str]) -> None:
    own: list[ast.AST] = []
    inner: list[FunctionNode] = []
    waiting: list[ast.AST] = [function.body] if isinstance(function, ast.Lambda) else [*function.body]
    while waiting:
        part = waiting.pop()
        own.append(part)
        if isinstance(part, _FUNCTIONS):
            inner.append(part)
            waiting.extend(_before(part))
        else:
            waiting.extend(ast.iter_child_nodes(part))
    rebound = {name for part in own if isinstance(part, ast.Global) for name in part.names}
    names |= rebound
    arguments = {part.arg for part in parts_of(function.args) if isinstance(part, ast.arg)}
    known = (around | arguments | {name for part in own for name in bound_by(part)}) - rebound
    for part in own:
        if isinstance(part, ast.Subscript) and not isinstance(part.ctx, ast.Load):
            filled = part.value
        elif (
            isinstance(part, ast.Call) and isinstance(part.func, ast.Attribute) and part.func.attr in FILLING
        ):
            filled = part.func.value
        else:
            continue
        if isinstance(filled, ast.Name) and filled.id not in known:
            names.add(filled.id)
    for further in inner:
        _written_by(further, known, names)


def bound_by(part: ast.AST) -> list[str]:
    """The names that a part of a syntax tree, without what is in it, binds."""
    if isinstance(part, ast.Name):
        return [part.id] if isinstance(part.ctx, ast.Store) else []
    if isinstance(part, (ast.Import, ast.ImportFrom)):
        return [(alias.asname or alias.name).partition(".")[0] for alias in part.names]
    if isinstance(part, ast.MatchMapping):
        return [part.rest] if part.rest else []
    if isinstance(part, _NAMED):
        return [part.name] if part.name else []
    return []


def _before(function: FunctionNode) -> list[ast.AST]:
    """What runs where a function is defined: decorators and defaults."""
    found: list[ast.AST] = [*getattr(function, "decorator_list", ()), *function.args.defaults]
    return found + [one for one in function.args.kw_defaults if one is not None]
