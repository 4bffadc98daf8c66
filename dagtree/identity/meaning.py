"""What the syntax tree of a function says, for every class that reaches it: found once, and kept without the
tree."""

from __future__ import annotations

import ast
from functools import cached_property

from .imports import Needed, imports_of
from .names import parts_of, supers_in, words_in
from .statics import chains_in
from .syntax import Definition, tree_bytes
from .written import names_written

__all__ = ["Meaning", "meaning_of"]

_MAX_KEPT = 10_000
_IMPORTS = frozenset({ast.Import, ast.ImportFrom})


class Meaning:
    """``content``: the tree in bytes; ``words``: the names that it uses, takes after a dot or imports;
    ``decorators``: the dotted names in them; ``first``: the line on which it begins, with them."""

    def __init__(self, definition: Definition) -> None:
        tree = definition.tree()
        decorators = getattr(tree, "decorator_list", ())
        self.content = tree_bytes(tree)
        self.words = words_in(tree)
        self.decorators = {chain for one in decorators for chain in chains_in(one)}
        self.first = min(part.lineno for part in (tree, *decorators))
        self._has_imports = not _IMPORTS.isdisjoint(map(type, parts_of(tree)))
        self._definition = definition

    @cached_property
    def written(self) -> frozenset[str]:
        """The globals that it may fill or rebind."""
        return names_written(self._definition.tree())

    @cached_property
    def supers(self) -> frozenset[str] | None:
        """What is taken from ``super()``; None where that may be anything."""
        return supers_in(self._definition.tree())

    def imports(self, package: str) -> list[Needed]:
        """What it imports when it runs, in a module of the package."""
        return imports_of([self._definition.tree()], package) if self._has_imports else []


_kept: dict[int, tuple[Definition, Meaning]] = {}


def meaning_of(definition: Definition) -> Meaning:
    kept = _kept.get(id(definition))
    if kept is None or kept[0] is not definition:
        if len(_kept) >= _MAX_KEPT:
            _kept.clear()
        kept = _kept[id(definition)] = definition, Meaning(definition)
    return kept[1]
