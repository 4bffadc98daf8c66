"""The global names that functions rebind, or whose containers they fill: caches, registries."""

from __future__ import annotations

import ast

from .compiled import FunctionNode
from .names import FILLING, parts_within

__all__ = ["bound_by", "names_written"]

_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
_NAMED = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.ExceptHandler, ast.MatchAs, ast.MatchStar)


def names_written(tree: ast.AST) -> frozenset[str]:
    """Those names, of all functions and lambdas in a syntax tree. A name that a function, or one around it,
    has as an argument or a variable of its own is no global."""
    names: set[str] = set()
    for function in _functions_in(parts_within((tree,), _FUNCTIONS)):
        _written_by(function, frozenset(), names)
    return frozenset(names)


def _functions_in(parts: list[ast.AST]) -> list[FunctionNode]:
    """The functions among the parts, and those in their decorators and defaults, which are added to them."""
    found: list[FunctionNode] = []
    for part in parts:
        if isinstance(part, _FUNCTIONS):
            found.append(part)
            parts += parts_within(_before(part), _FUNCTIONS)
    return found


def _written_by(function: FunctionNode, around: frozenset[str], names: set[str]) -> None:
    body = (function.body,) if isinstance(function, ast.Lambda) else function.body
    own = parts_within(body, _FUNCTIONS)
    inner = _functions_in(own)
    rebound: set[str] = set()
    given = function.args
    own_arguments = [*given.posonlyargs, *given.args, given.vararg, *given.kwonlyargs, given.kwarg]
    bound = {one.arg for one in own_arguments if one is not None}
    filled: set[str] = set()
    for part in own:
        if isinstance(part, ast.Name):
            if type(part.ctx) is ast.Store:
                bound.add(part.id)
        elif isinstance(part, ast.Subscript):
            if type(part.ctx) is not ast.Load and isinstance(part.value, ast.Name):
                filled.add(part.value.id)
        elif isinstance(part, ast.Call):
            called = part.func
            if isinstance(called, ast.Attribute) and called.attr in FILLING:
                filled.update((called.value.id,) if isinstance(called.value, ast.Name) else ())
        elif isinstance(part, ast.Global):
            rebound.update(part.names)
        else:
            bound.update(bound_by(part))
    known = (around | bound) - rebound
    names |= rebound | (filled - known)
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
