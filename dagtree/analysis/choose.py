"""Choosing nodes out of a set, and putting them in order."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from itertools import chain, compress
from typing import TYPE_CHECKING, Any, Self

from ..errors import SelectionError
from .columns import Column
from .conditions import condition, truth
from .names import Named, find
from .node import Node
from .pattern import compile_pattern
from .select import matching_tags
from .sequence import NodeSequence
from .text import STATUSES, shorten, value_text
from .walk import matches

if TYPE_CHECKING:
    from .tree import Tree

__all__ = ["Choosing"]

_Test = Callable[[int], bool]


class Choosing(NodeSequence):
    """Sets of nodes out of which others are chosen, by tags and by what is known about the nodes."""

    __slots__ = ()

    def filter(self, pattern: str) -> Self:
        """The nodes with a tag that matches a glob: ``filter("lr:*")``; ``"!lr:*"``: those without one."""
        if not isinstance(pattern, str):
            raise TypeError(f"filter takes a pattern over tags, such as 'lr:*', not {pattern!r}")
        without = pattern.startswith("!")

        def fitting(tree: Tree, keys: tuple[str, ...]) -> Iterable[str]:
            records = tree.records
            tags = [records[key].tags for key in keys]
            matched = matching_tags(pattern[1:] if without else pattern, set(chain.from_iterable(tags)))
            return compress(keys, [matched.isdisjoint(own) is without for own in tags])

        return self._chosen(fitting)

    def where(
        self,
        *conditions: Mapping[str, Any] | Callable[[Node], Any],
        recipe: Any = None,
        status: Any = None,
        **others: Any,
    ) -> Self:
        """The nodes that meet every condition: ``where(recipe="Train", lr=0.1)``, ``where({"Train.lr":
        0.1})``.

        A condition is a name and what it must be. Names are those of the node's own properties, its metrics
        (their last value), results of its functions, or facts: ``recipe``, ``status``, ``tags``, ``kind``,
        ``moment``, ``depth``, ``host``, ``device``, ``started``, ``ended``, ``seconds``, ``bytes``,
        ``error``, ``key``, ``path``. ``Train.lr`` is the property of any ``Train`` on the node's path,
        ``*.lr`` of any edge, ``Train[2].lr`` of the second, ``Train[-1].lr`` of the last; ``metrics.loss``,
        ``results.accuracy``, ``properties.lr``,
        ``node.depth`` and ``versions.torch`` say which is meant. A name with a dot
        is written in a dict.

        What it must be is a value, a set of values (any of them), a ``range``, a :func:`~dagtree.between`, or
        a function that is given the value and answers True or False. Values are equal only when their types
        are: ``1``, ``1.0`` and ``True`` are three. Of ``tags`` a text is a glob that one tag must match, of
        ``path`` a pattern, as :meth:`path` takes it. A node that has nothing of that name isn't chosen. A
        function in the place of the names is given the node.

        Raises :class:`~dagtree.errors.SelectionError` for a name that nothing in the graph has, for an empty
        answer to a typing error would look like a result; for one that could be two things; and for a test
        that fails.
        """
        asked: list[tuple[str, Any]] = [] if recipe is None else [("recipe", recipe)]
        asked += [] if status is None else [("status", status)]
        tests: list[Callable[[Node], Any]] = []
        for one in conditions:
            if isinstance(one, Mapping):
                asked += one.items()
            elif callable(one):
                tests.append(one)
            else:
                raise TypeError(
                    "where takes conditions by name (lr=0.1), in a dict, or a function of a node, "
                    f"not {value_text(one)}"
                )
        asked += others.items()
        found = self
        for name, wanted in asked:
            found = found._meeting(name, wanted)
        for test in tests:
            found = found._of(node for node in found if truth(test(node), "a condition of where"))
        return found

    def _meeting(self, name: str, wanted: Any) -> Self:
        if name == "path" and isinstance(wanted, str):
            return self.path(wanted)

        def meeting(tree: Tree, keys: tuple[str, ...]) -> Iterable[str]:
            flags = _meets(tree, name, wanted)
            places = tree.places
            return [key for key in keys if flags[places[key]]]

        return self._chosen(meeting)

    def path(self, pattern: str) -> Self:
        """The nodes whose whole path, from the root along first parents, matches a pattern over recipes:
        ``path("Train/(Prune/Train)*")``.

        ``/`` stands between steps, ``|`` between alternatives; ``*``, ``+`` and ``?`` after a step or a
        parenthesis mean any number of times, at least once, at most once. Where a recipe is expected, ``*``
        is any recipe, so ``**`` is any path; a name in quotes is a glob: ``"'Prune*'/Train"``. ``Train@2`` is
        a moment, ``Train@*`` any moment, ``Train`` the edge's end. ``Prune[fraction>=0.5, method=magnitude]``
        has conditions (``=``, ``!=``, ``<``, ``<=``, ``>``, ``>=``) on what ``where`` calls so. ``root`` is
        the root, which may be left out.

        Raises SelectionError for a pattern that can't be read, or that names a recipe or a fact that nothing
        in the graph has, with a caret under the place.
        """
        automaton = compile_pattern(pattern)

        def matching(tree: Tree, keys: tuple[str, ...]) -> Iterable[str]:
            flags = matches(tree.columns, automaton)
            places = tree.places
            return [key for key in keys if flags[places[key]]]

        return self._chosen(matching)

    def sort(self, by: str | Callable[[Node], Any], *further: str, reverse: bool = False) -> Self:
        """The nodes in the order of a fact, or of a function of the node; those that have none come last.

        Of a property that the node hasn't itself, the one on its path counts. What is equal keeps its order.
        ``further`` facts decide between equals. Raises SelectionError for values that have no order.
        """
        found: list[Node] = list(self._nodes)
        for one in reversed((by, *further)):
            values = [one(node) for node in found] if callable(one) else self._of(found)._values(one)
            there = [at for at, value in enumerate(values) if _is_there(value)]
            try:
                there.sort(key=values.__getitem__, reverse=reverse)
            except TypeError:
                kinds = sorted({type(values[at]).__name__ for at in there})
                raise SelectionError(f"{one!r} gives no order: its values are {', '.join(kinds)}") from None
            last = [at for at, value in enumerate(values) if not _is_there(value)]
            found = [found[at] for at in (*there, *last)]
        return self._of(found)

    def first(self) -> Node:
        """The first node. Raises SelectionError when there is none."""
        if not self._keys:
            raise SelectionError("there is no first node: this NodeSet is empty")
        return self[0]

    def one(self) -> Node:
        """The only node. Raises SelectionError when there is none, or when there are several: in what they
        differ is said then."""
        if len(self._keys) == 1:
            return self[0]
        if not self._keys:
            raise SelectionError("this NodeSet should hold one node and is empty")
        shown = "".join(
            f"\n  {node.key[:8]}  {shorten(node.path, 80)}  {node.label}  {' '.join(node.tags[:4])}".rstrip()
            for node in self._nodes[:8]
        )
        more = f"\n  … and {len(self) - 8:,} more" if len(self) > 8 else ""
        raise SelectionError(f"this NodeSet should hold one node and holds {len(self):,}:{shown}{more}")

    def _values(self, name: str) -> list[Any]:
        """Of each node the value of a fact; of a property that it hasn't itself, that of its path. None where
        there is none.

        Raises SelectionError where a path has several values, for which of them is meant isn't said.
        """
        found: dict[str, Any] = {}
        unknown: SelectionError | None = None
        trees = self._trees()
        for tree, keys in trees:
            try:
                column = valued(tree, name)
            except SelectionError as error:
                unknown = error
                if len(trees) == 1:
                    raise
                continue
            for key in keys:
                place = tree.places[key]
                if column.tokens[place] < -1:
                    raise varies(tree, name, key)
                found[key] = column.value(place)
        if unknown is not None and not found:
            raise unknown
        return [found.get(key) for key in self._keys]


def _is_there(value: Any) -> bool:
    return value is not None and value == value


def _meets(tree: Tree, name: str, wanted: Any) -> Sequence[bool]:
    """Of each place of the tree whether its node meets the condition."""
    columns = tree.columns
    if name == "path":
        nodes = (tree.node(key) for key in tree.records)
        named = Named(
            "path", columns.kept("path", lambda: Column.of(node.path for node in nodes)), False, False
        )
    else:
        named = find(columns, name)
    column = columns.along(named.own, nearest=True) if named.nearest else named.own
    _check_meant(tree, name, wanted, column)
    test = _tagged(wanted, column) if name == "tags" else condition(name, wanted, column.values)
    passed = column.passed(test)
    return columns.anywhere(passed) if named.is_of_path and not named.nearest else passed


def _check_meant(tree: Tree, name: str, wanted: Any, column: Column) -> None:
    if name not in ("recipe", "status"):
        return
    texts = [wanted] if isinstance(wanted, str) else list(wanted) if isinstance(wanted, Set) else []
    for text in texts:
        if name == "status" and text not in STATUSES:
            raise SelectionError(f"no node has status {text!r}; a status is one of {', '.join(STATUSES)}")
        if name == "recipe" and text not in column.values:
            there = ", ".join(sorted(one for one in column.values if one)[:40]) or "none at all"
            raise SelectionError(f"no node of this graph has the recipe {text!r}; there are: {there}")


def _tagged(wanted: Any, column: Column) -> Callable[[Any], bool]:
    """A condition on tags: globs of which one must match one of them, or a test of the tuple."""
    globs = [wanted] if isinstance(wanted, str) else wanted if isinstance(wanted, Set) else None
    if globs is None:
        return condition("tags", wanted, column.values)
    if not all(isinstance(one, str) for one in globs):
        raise TypeError(f"tags are asked for by texts, such as 'lr:*', not by {value_text(wanted)}")
    tags = set(chain.from_iterable(column.values))
    matched = frozenset(tag for one in globs for tag in matching_tags(one, tags))
    return lambda own: not matched.isdisjoint(own)


def _paths(tree: Tree) -> Column:
    return tree.columns.kept("path", lambda: Column.of(tree.node(key).path for key in tree.records))


def valued(tree: Tree, name: str) -> Column:
    """One value a node: its own fact, or of a property the one on its path."""
    columns = tree.columns
    if name == "path":
        return _paths(tree)
    named = find(columns, name)
    if not named.is_property or name.startswith("properties."):
        return named.own
    return columns.kept(("along", name), lambda: columns.along(named.own, nearest=named.nearest))


def varies(tree: Tree, name: str, key: str) -> SelectionError:
    """That a path has several values of a property, and how to say which is meant."""
    columns, node = tree.columns, tree.node(key)
    own = find(columns, name).own
    on_path = [place for place in columns.path(tree.places[key]) if own.tokens[place] >= 0]
    wanted = name.rpartition(".")[2]
    said, counts = [], dict[str, int]()
    for place in on_path:
        recipe = columns.records[place].recipe
        counts[recipe] = counts.get(recipe, 0) + 1
        said.append((f"{recipe}[{counts[recipe]}].{wanted}", value_text(own.value(place))))
    shown = ", ".join(f"{spelled!r} is {value}" for spelled, value in said[:8])
    return SelectionError(
        f"{name!r} has several values on the path {shorten(node.path, 120)}: {shown}. Write one of these "
        f"names, or 'properties.{wanted}' for the node's own"
    )
