"""What the syntax tree of a function says, for every class that reaches it: found once, and kept without the
tree. And what a statement outside of functions says, by which a constant is made."""

from __future__ import annotations

import ast
import copy
import types
from collections.abc import Mapping
from functools import cached_property, lru_cache
from typing import Any

from .imports import Needed, imports_of
from .names import chain_of, parts_of, supers_in, words_in
from .ownership import is_a, names_in
from .statics import chains_in
from .syntax import Definition, tree_bytes
from .written import Keys, names_written

__all__ = ["Meaning", "Statement", "meaning_of", "shows", "statement_of"]

_MAX_KEPT = 10_000
_NUMBER = (ast.Constant, ast.BinOp, ast.operator)
_IMPORTS = frozenset({ast.Import, ast.ImportFrom})


class Meaning:
    """``content``: the tree in bytes; ``words``: the names that it uses, takes after a dot or imports;
    ``decorators``: the dotted names in them; ``first``: the line on which it begins, with them; ``shows``:
    whether an f-string takes the ``repr`` of what has a name."""

    def __init__(self, definition: Definition) -> None:
        tree = definition.tree()
        decorators = getattr(tree, "decorator_list", ())
        self.content = tree_bytes(tree)
        self.words = words_in(tree)
        self.decorators = {chain for one in decorators for chain in chains_in(one)}
        self.first = min(part.lineno for part in (tree, *decorators))
        called = [(place, one) for place, one in enumerate(decorators) if isinstance(one, ast.Call)]
        self._called = [(place, chain) for place, one in called if (chain := chain_of(one.func)) is not None]
        self._sizeless: dict[tuple[int, ...], bytes] = {}
        kinds = set(map(type, parts_of(tree)))
        self.shows = ast.FormattedValue in kinds and shows(tree)
        self._has_imports = not _IMPORTS.isdisjoint(kinds)
        self._definition = definition

    def content_in(self, names: Mapping[str, Any]) -> bytes:
        """``content`` without the sizes of caches, where the globals ``names`` say that they are Python's."""
        caches = tuple(place for place, chain in self._called if _at(names, chain) is lru_cache)
        if not caches:
            return self.content
        found = self._sizeless.get(caches)
        if found is None:
            tree: Any = copy.copy(self._definition.tree())
            decorators = enumerate(tree.decorator_list)
            tree.decorator_list = [
                _without_size(one) if place in caches else one for place, one in decorators
            ]
            found = self._sizeless[caches] = tree_bytes(tree)
        return found

    @cached_property
    def written(self) -> dict[str, Keys]:
        """The globals that it may fill or rebind, and under which keys."""
        return names_written(self._definition.tree())

    @cached_property
    def supers(self) -> frozenset[str] | None:
        """What is taken from ``super()``; None where that may be anything."""
        return supers_in(self._definition.tree())

    def imports(self, package: str) -> list[Needed]:
        """What it imports when it runs, in a module of the package."""
        return imports_of([self._definition.tree()], package) if self._has_imports else []


def shows(tree: ast.AST) -> bool:
    """Whether an f-string in a syntax tree takes the ``repr`` of what has a name: ``{state!r}``. What is
    taken from a state (``{state.rate!r}``) is hardly one itself."""
    return any(
        type(part) is ast.FormattedValue and part.conversion in (97, 114) and type(part.value) is ast.Name
        for part in parts_of(tree)
    )


def _at(names: Mapping[str, Any], chain: tuple[str, ...]) -> object:
    """What a dotted name leads to, through modules."""
    found: Any = names.get(chain[0])
    for part in chain[1:]:
        found = names_in(found).get(part) if is_a(found, types.ModuleType) else None
    return found


def _without_size(cache: ast.Call) -> ast.expr:
    """A call of ``lru_cache`` that gives a decorator, without the size, where that is written as a number."""
    given = dict(zip(("maxsize", "typed"), cache.args, strict=False))
    given |= {one.arg or "**": one.value for one in cache.keywords}
    size = given.pop("maxsize", None)
    is_number = size is None or all(isinstance(part, _NUMBER) for part in ast.walk(size))
    if not is_number or not given.keys() <= {"typed"}:
        return cache
    typed = [ast.keyword(arg=name, value=value) for name, value in given.items()]
    return ast.Call(func=cache.func, args=[], keywords=typed) if typed else cache.func


_kept: dict[int, tuple[Definition, Meaning]] = {}


def meaning_of(definition: Definition) -> Meaning:
    kept = _kept.get(id(definition))
    if kept is None or kept[0] is not definition:
        if len(_kept) >= _MAX_KEPT:
            _kept.clear()
        kept = _kept[id(definition)] = definition, Meaning(definition)
    return kept[1]


class Statement:
    """What a statement says that makes a constant, or the value that it assigns."""

    def __init__(self, node: ast.AST) -> None:
        self._node = node

    @cached_property
    def content(self) -> bytes:
        return tree_bytes(self._node)

    @cached_property
    def text(self) -> str:
        return ast.unparse(self._node)

    @cached_property
    def chains(self) -> set[tuple[str, ...]]:
        return chains_in(self._node)


_statements: dict[int, tuple[ast.AST, Statement]] = {}


def statement_of(node: ast.AST) -> Statement:
    kept = _statements.get(id(node))
    if kept is None or kept[0] is not node:
        if len(_statements) >= _MAX_KEPT:
            _statements.clear()
        kept = _statements[id(node)] = node, Statement(node)
    return kept[1]
