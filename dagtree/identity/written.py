"""The global names that functions rebind, or whose containers they fill: caches, registries."""

from __future__ import annotations

import ast

from .compiled import FunctionNode
from .names import FILLING, parts_within

__all__ = ["Keys", "both", "bound_by", "filled_by", "names_written"]

_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
_NAMED = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.ExceptHandler, ast.MatchAs, ast.MatchStar)


Keys = frozenset[object] | None
"""The keys under which code writes into a container, where they are all written there; None where they
aren't."""


def names_written(tree: ast.AST) -> dict[str, Keys]:
    """Those names, of all functions and lambdas in a syntax tree, and the keys under which they are filled. A
    name that a function, or one around it, has as an argument or a variable of its own is no global."""
    names: dict[str, Keys] = {}
    for function in _functions_in(parts_within((tree,), _FUNCTIONS)):
        _written_by(function, frozenset(), names)
    return names


def both(one: Keys, other: Keys) -> Keys:
    return None if one is None or other is None else one | other


def filled_by(part: ast.AST) -> tuple[ast.expr, Keys] | None:
    """The container that a part of a syntax tree, without what is in it, fills, and the keys it writes."""
    if isinstance(part, ast.Subscript):
        return None if type(part.ctx) is ast.Load else (part.value, _literal(part.slice))
    if isinstance(part, ast.Call) and isinstance(part.func, ast.Attribute) and part.func.attr in FILLING:
        if part.func.attr == "update" and not part.args and all(one.arg for one in part.keywords):
            return part.func.value, frozenset(one.arg for one in part.keywords)
        is_keyed = part.func.attr in ("setdefault", "pop") and part.args
        return part.func.value, _literal(part.args[0]) if is_keyed else None
    return None


def _literal(node: ast.expr) -> Keys:
    return frozenset([node.value]) if isinstance(node, ast.Constant) else None


def _functions_in(parts: list[ast.AST]) -> list[FunctionNode]:
    """The functions among the parts, and those in their decorators and defaults, which are added to them."""
    found: list[FunctionNode] = []
    for part in parts:
        if isinstance(part, _FUNCTIONS):
            found.append(part)
            parts += parts_within(_before(part), _FUNCTIONS)
    return found


def _written_by(function: FunctionNode, around: frozenset[str], names: dict[str, Keys]) -> None:
    body = (function.body,) if isinstance(function, ast.Lambda) else function.body
    own = parts_within(body, _FUNCTIONS)
    inner = _functions_in(own)
    rebound: set[str] = set()
    given = function.args
    own_arguments = [*given.posonlyargs, *given.args, given.vararg, *given.kwonlyargs, given.kwarg]
    bound = {one.arg for one in own_arguments if one is not None}
    fills: list[tuple[str, Keys]] = []
    for part in own:
        if isinstance(part, ast.Name):
            if type(part.ctx) is ast.Store:
                bound.add(part.id)
        elif isinstance(part, (ast.Subscript, ast.Call)):
            filled = filled_by(part)
            if filled is not None and isinstance(filled[0], ast.Name):
                fills.append((filled[0].id, filled[1]))
        elif isinstance(part, ast.Global):
            rebound.update(part.names)
        else:
            bound.update(bound_by(part))
    known = (around | bound) - rebound
    names.update(dict.fromkeys(rebound))
    for name, keys in fills:
        if name not in known:
            names[name] = both(keys, names.get(name, frozenset()))
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
