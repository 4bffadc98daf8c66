"""What the body of a module or a class says its names are, as far as it can be told without running it."""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from .written import bound_by

__all__ = ["Alias", "Body", "Said", "Value", "is_bound_in", "outside_functions"]

_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
_NUMBERS = (int, float, complex)
_LONGEST = 10_000
_OPERATORS: Mapping[type, Callable[..., Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: operator.pow,
    ast.USub: operator.neg,
    ast.UAdd: operator.pos,
    ast.Not: operator.not_,
}
_EMPTY: Mapping[str, Callable[[], Any]] = {"dict": dict, "list": list, "set": set, "tuple": tuple}
_CONTAINERS = (list, dict, set)


class _Unknown(Exception):
    """Only running tells."""


@dataclass(frozen=True)
class Value:
    """A name's value, made of nothing but Python's own."""

    value: Any


@dataclass(frozen=True)
class Alias:
    """A name that an import binds: to the module ``name``, or to what another one has under that name."""

    node: ast.Import | ast.ImportFrom
    name: str


Said = Value | Alias | ast.stmt | None


class Body:
    """The names of a body: what each is bound to in the end, a Value, the node of a function or class, an
    Alias, or None where only running tells.

    ``outside`` is what names around it are, and ``unsure`` are those that other code of the file may bind, or
    whose content it may change. ``is_whole`` says that no other names are bound.
    """

    def __init__(
        self,
        statements: Iterable[ast.stmt],
        outside: Mapping[str, Said] | None = None,
        unsure: frozenset[str] = frozenset(),
    ) -> None:
        self.names: dict[str, Said] = {}
        self.is_whole = True
        self._outside = outside or {}
        self._unsure = unsure
        mentioned: set[str] = set()
        for statement in statements:
            self._say(statement)
            for part in outside_functions([statement]):
                if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Load):
                    mentioned.add(part.id)
                elif isinstance(part, ast.NamedExpr):
                    self.names[part.target.id] = None
                elif isinstance(part, ast.ImportFrom) and any(one.name == "*" for one in part.names):
                    self.is_whole = False
        for name, said in self.names.items():
            # Whoever gets a container may have filled it.
            is_given = isinstance(said, Value) and isinstance(said.value, _CONTAINERS) and name in mentioned
            if is_given or name in unsure or not self.is_whole:
                self.names[name] = None

    def value_of(self, node: ast.expr) -> Any:
        """The value of an expression; raises LookupError where only running tells."""
        try:
            return self._value(node)
        except (_Unknown, ArithmeticError, TypeError, ValueError, RecursionError):
            raise LookupError from None

    def _say(self, statement: ast.stmt) -> None:
        if isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            self.names[statement.name] = statement
        elif isinstance(statement, ast.ImportFrom):
            for alias in statement.names:
                self.names[alias.asname or alias.name] = Alias(statement, alias.name)
        elif isinstance(statement, ast.Import):
            for alias in statement.names:
                first = alias.name.partition(".")[0]
                self.names[alias.asname or first] = Alias(statement, alias.name if alias.asname else first)
        elif isinstance(statement, ast.Assign) or (isinstance(statement, ast.AnnAssign) and statement.value):
            targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
            for target in targets:
                self._assign(target, statement.value)  # type: ignore[arg-type]  # there is one
        elif not isinstance(statement, (ast.Expr, ast.Pass, ast.AnnAssign)):
            self.names.update(dict.fromkeys(_bound_in(statement)))

    def _assign(self, target: ast.expr, value: ast.expr) -> None:
        if isinstance(target, ast.Name):
            try:
                self.names[target.id] = Value(self.value_of(value))
            except LookupError:
                self.names[target.id] = None
        elif (
            isinstance(target, (ast.Tuple, ast.List))
            and isinstance(value, (ast.Tuple, ast.List))
            and len(target.elts) == len(value.elts)
            and all(isinstance(one, ast.Name) for one in target.elts)
            and not any(isinstance(one, ast.Starred) for one in value.elts)
        ):
            for inner, item in zip(target.elts, value.elts, strict=True):
                self._assign(inner, item)
        else:
            self.names.update(dict.fromkeys(_bound_in(target)))

    def _value(self, node: ast.expr | None) -> Any:
        if isinstance(node, ast.Constant):
            return node.value
        if isinstance(node, ast.Name):
            said = self.names.get(node.id, self._outside.get(node.id))
            if node.id in self._unsure or not isinstance(said, Value) or isinstance(said.value, _CONTAINERS):
                raise _Unknown
            return said.value
        if isinstance(node, ast.Tuple):
            return tuple(map(self._value, node.elts))
        if isinstance(node, ast.List):
            return list(map(self._value, node.elts))
        if isinstance(node, ast.Set):
            return set(map(self._value, node.elts))
        if isinstance(node, ast.Dict):
            keys = map(self._value, node.keys)  # of a `**` there is none
            return dict(zip(keys, map(self._value, node.values), strict=True))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and not node.args:
            make = _EMPTY.get(node.func.id)
            if make is not None and node.func.id not in self.names and node.func.id not in self._outside:
                items = {str(each.arg): self._value(each.value) for each in node.keywords if each.arg}
                if len(items) == len(node.keywords) and (make is dict or not items):
                    return dict(items) if make is dict else make()
        if isinstance(node, ast.UnaryOp) and type(node.op) in _OPERATORS:
            operand = self._value(node.operand)
            if isinstance(operand, _NUMBERS):
                return _OPERATORS[type(node.op)](operand)
        if isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS:
            return _computed(node.op, self._value(node.left), self._value(node.right))
        raise _Unknown


def _computed(kind: ast.operator, left: Any, right: Any) -> Any:
    """What stays small, of numbers and texts."""
    if isinstance(left, _NUMBERS) and isinstance(right, _NUMBERS):
        if not isinstance(kind, ast.Pow) or (abs(left) <= _LONGEST and abs(right) <= 100):
            return _OPERATORS[type(kind)](left, right)
    elif isinstance(kind, ast.Add) and type(left) is type(right) and type(left) in (str, bytes, tuple, list):
        return left + right
    elif isinstance(kind, ast.Mult) and type(right) is int and type(left) in (str, tuple, list):
        if len(left) * abs(right) > _LONGEST:
            raise _Unknown
        return left * right
    raise _Unknown


def outside_functions(nodes: Iterable[ast.AST]) -> Iterable[ast.AST]:
    """All parts but what is in the bodies of functions."""
    waiting = list(nodes)
    while waiting:
        part = waiting.pop()
        yield part
        if isinstance(part, _FUNCTIONS):
            waiting.extend(getattr(part, "decorator_list", ()))
            waiting.extend(part.args.defaults)
            waiting.extend(one for one in part.args.kw_defaults if one is not None)
        else:
            waiting.extend(ast.iter_child_nodes(part))


def is_bound_in(node: ast.AST, name: str) -> bool:
    """Whether a statement outside of functions gives something the name: ``a, b = 1, 2``, ``with x as a``."""
    if isinstance(node, (*_FUNCTIONS, ast.ClassDef)):
        return False
    parts = list(outside_functions([node]))
    made = [one for one in parts if isinstance(one, ast.Name) and isinstance(one.ctx, ast.Store)]
    # What a comprehension goes through is its own.
    own = [part.target for part in parts if isinstance(part, ast.comprehension)]
    inner = {id(part) for part in outside_functions(own)}
    return any(one.id == name and id(one) not in inner for one in made)


def _bound_in(node: ast.AST) -> Iterable[str]:
    for part in outside_functions([node]):
        yield from bound_by(part)
        if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Del):
            yield part.id
