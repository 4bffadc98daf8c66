"""One fact of all nodes of a tree, as a column: what selecting, sorting, grouping and tables read.

A column is made when it is first asked for, and kept with the tree. Nodes stand in it by their place in the
tree's order, so that a parent comes before its children and what holds along a path is one pass.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import Any, NamedTuple

from ..errors import DagtreeError
from ..garbage import uncollected
from ..storage.describe import understand
from ..storage.record import Record
from .gleaned import Gleaned, Moment
from .loader import Loader
from .select import exactly

__all__ = ["ABSENT", "MISSING", "NO_PARENT", "VARIES", "Column", "Columns", "Measures", "Step"]

ABSENT = -1  # the node has no such value
VARIES = -2  # several edges of its path have, and different ones
NO_PARENT = -1  # of a root
MISSING = -2  # the parent isn't there


@dataclass(frozen=True, slots=True)
class Column:
    """Of each node, by its place, which of ``values`` it has: an index, ABSENT or VARIES."""

    tokens: list[int]
    values: list[Any]

    @classmethod
    def of(cls, values: Iterable[Any], absent: Any = None) -> Column:
        """From one value a node; ``absent`` marks those that have none."""
        made = _Making()
        return cls([ABSENT if value is absent else made.token(value) for value in values], made.values)

    def flags(self, test: Callable[[Any], bool]) -> list[bool]:
        """Of each token whether its value passes; the last two are for VARIES and ABSENT, which don't."""
        return [*map(test, self.values), False, False]

    def passed(self, test: Callable[[Any], bool]) -> list[bool]:
        """Of each node whether its value passes."""
        flags = self.flags(test)
        return [flags[token] for token in self.tokens]

    def value(self, place: int, default: Any = None) -> Any:
        token = self.tokens[place]
        return self.values[token] if token >= 0 else default

    @property
    def is_empty(self) -> bool:
        return not self.values


class _Making:
    """Gives each distinct value a token. Values are the same only when their types are."""

    def __init__(self) -> None:
        self.values: list[Any] = []
        self._tokens: dict[Any, int] = {}

    def token(self, value: Any) -> int:
        stand_in = exactly(value)
        token = self._tokens.get(stand_in)
        if token is None:
            token = self._tokens[stand_in] = len(self.values)
            self.values.append(value)
        return token


class Step(NamedTuple):
    """What a node is called on a path."""

    kind: str
    recipe: str
    moment: int | None


class Measures(NamedTuple):
    """What was measured at one node, and about making it. What is malformed in a record isn't there."""

    history: tuple[Moment, ...]
    results: Mapping[tuple[str, str | None], Any]  # by function, and the entry of the dict that it gave
    seconds: float | None
    size_bytes: int | None
    started: float | None
    device: str | None
    environment: str | None
    code: str
    ignored: tuple[str, ...]
    error: str | None


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _number(value: Any) -> Any:
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def measures(
    more: Mapping[str, Any], history: tuple[Moment, ...], results: Mapping[tuple[str, str | None], Any]
) -> Measures:
    """What the cold part of a record says, without what nobody asks for."""
    error = more.get("error")
    ignored = more.get("ignored")
    return Measures(
        history=history,
        results=results,
        seconds=_number(more.get("seconds")),
        size_bytes=_number(more.get("bytes")),
        started=_number(more.get("started")),
        device=_text(more.get("device")),
        environment=_text(more.get("environment")),
        code=_text(more.get("code")) or "",
        ignored=tuple(map(str, ignored)) if isinstance(ignored, list) else (),
        error=_text(error.get("type")) if isinstance(error, dict) else None,
    )


class Columns:
    """The facts of all nodes of one tree; ``records`` are in its order."""

    def __init__(self, records: Sequence[Record], loader: Loader, statuses: Mapping[str, str]) -> None:
        self.records = records
        self._loader = loader
        self._statuses = statuses
        self._kept: dict[Any, Column] = {}
        self._environments: dict[str, Mapping[str, Any]] = {}
        self.gleaned = Gleaned(records)

    def __len__(self) -> int:
        return len(self.records)

    # What the tree is

    @cached_property
    def above(self) -> list[int]:
        """Of each node the place of its first parent; NO_PARENT for a root, MISSING when it isn't there (or,
        in a damaged tree, comes later)."""
        places: dict[str, int] = {}
        found: list[int] = []
        for place, record in enumerate(self.records):
            lineage = record.lineage
            found.append(places.get(lineage[0], MISSING) if lineage else _start(record))
            places[record.key] = place
        return found

    @cached_property
    def all_above(self) -> list[tuple[int, ...]]:
        """Of each node the places of all parents, in the recipe's order; MISSING for those not there."""
        places: dict[str, int] = {}
        found: list[tuple[int, ...]] = []
        for place, record in enumerate(self.records):
            found.append(tuple([places.get(key, MISSING) for key in record.lineage]))
            places[record.key] = place
        return found

    @cached_property
    def steps(self) -> Column:
        """What each node is called on a path."""
        tokens: dict[Step, int] = {}
        found = [
            tokens.setdefault(Step(record.kind, record.recipe, record.moment), len(tokens))
            for record in self.records
        ]
        return Column(found, list(tokens))

    @cached_property
    def depths(self) -> list[int]:
        """How many edges lie between a node and the start of its path."""
        found: list[int] = []
        for parent in self.above:
            found.append(found[parent] + 1 if parent >= 0 else 0)
        return found

    def turns(self, recipe: str) -> list[int]:
        """How often a recipe stands on each node's path, the node included; of ``*`` how many edges."""
        if recipe == "*":
            return self.depths
        fits = [step.recipe == recipe for step in self.steps.values]
        found: list[int] = []
        for step, parent in zip(self.steps.tokens, self.above, strict=True):
            found.append(fits[step] + (found[parent] if parent >= 0 else 0))
        return found

    def path(self, place: int) -> list[int]:
        """The places from the start of a node's path to the node."""
        found = [place]
        while (parent := self.above[found[-1]]) >= 0:
            found.append(parent)
        return found[::-1]

    # What is recorded

    @property
    def properties(self) -> list[Mapping[str, Any]]:
        """Each node's own properties, as they were described."""
        return self.gleaned.properties

    @cached_property
    def property_names(self) -> frozenset[str]:
        return frozenset(name for own in {id(one): one for one in self.properties}.values() for name in own)

    @cached_property
    def measures(self) -> list[Measures]:
        """What was measured at each node."""
        gleaned = self.gleaned
        with uncollected():
            told = zip(gleaned.costs(), gleaned.histories, gleaned.results, strict=True)
            return [measures(more, history, results) for more, history, results in told]

    @cached_property
    def metric_names(self) -> tuple[str, ...]:
        histories = self.gleaned.histories
        return tuple({name: None for moments in histories for _, values, _ in moments for name in values})

    @cached_property
    def result_names(self) -> tuple[tuple[str, str | None], ...]:
        return tuple({name: None for said in self.gleaned.results for name in said})

    def environment(self, place: int) -> Mapping[str, Any]:
        """Where a node was computed; empty, with a warning, where what was kept of that is damaged."""
        digest = self.measures[place].environment
        if digest is None:
            return {}
        if digest not in self._environments:
            try:
                self._environments[digest] = _mapping(self._loader.environment(digest))
            except (DagtreeError, ValueError, TypeError) as error:
                warnings.warn(
                    f"where some nodes were computed isn't known: {error}", UserWarning, stacklevel=2
                )
                self._environments[digest] = {}
        return self._environments[digest]

    # As columns

    def kept(self, name: Any, make: Callable[[], Column]) -> Column:
        column = self._kept.get(name)
        if column is None:
            with uncollected():
                column = self._kept[name] = make()
        return column

    def own(self, name: str) -> Column:
        """Each node's own property of that name."""
        return self.kept(("own", name), lambda: self._own(name))

    def _own(self, name: str) -> Column:
        made = _Making()
        known: dict[int, int] = {}
        tokens = []
        for properties in self.properties:
            token = known.get(id(properties))
            if token is None:
                has = name in properties
                token = known[id(properties)] = made.token(understand(properties[name])) if has else ABSENT
            tokens.append(token)
        return Column(tokens, made.values)

    def of_recipe(self, recipe: str, name: str, turn: int | None = None) -> Column:
        """The own property of the nodes of one recipe (``*``: of any); of its ``turn``-th on a path only."""
        return self.kept(("recipe", recipe, name, turn), lambda: self._of_recipe(recipe, name, turn))

    def _of_recipe(self, recipe: str, name: str, turn: int | None) -> Column:
        own = self.own(name)
        tokens = own.tokens
        if recipe != "*":
            fits = [step.recipe == recipe for step in self.steps.values]
            tokens = [
                token if fits[step] else ABSENT for token, step in zip(tokens, self.steps.tokens, strict=True)
            ]
        if turn is not None and turn > 0:
            tokens = [
                token if at == turn else ABSENT for token, at in zip(tokens, self.turns(recipe), strict=True)
            ]
        return Column(tokens, own.values)

    def along(self, column: Column, nearest: bool = False) -> Column:
        """The value that a path has: its only one, or VARIES; with ``nearest``, the last on it."""
        found: list[int] = []
        for token, parent in zip(column.tokens, self.above, strict=True):
            if token == ABSENT:
                token = found[parent] if parent >= 0 else ABSENT
            elif not nearest and parent >= 0 and found[parent] not in (ABSENT, token):
                token = VARIES
            found.append(token)
        return Column(found, column.values)

    def anywhere(self, passed: Sequence[bool]) -> list[bool]:
        """Whether a node, or one above it on its path, passed."""
        found: list[bool] = []
        for own, parent in zip(passed, self.above, strict=True):
            found.append(own or (parent >= 0 and found[parent]))
        return found

    def metric(self, name: str) -> Column:
        """The last value of a metric."""
        nothing = object()
        return self.kept(
            ("metric", name),
            lambda: Column.of((_last(one, name, nothing) for one in self.gleaned.histories), nothing),
        )

    def best(self, name: str, choose: Callable[[Iterable[Any]], Any]) -> Column:
        """The best value of a metric among all moments, as ``choose`` (min or max) says."""

        def find(history: tuple[Moment, ...]) -> Any:
            values = [v[name] for _, v, _ in history if name in v and _number(v[name]) is not None]
            return choose([value for value in values if value == value] or values) if values else None

        return self.kept(("best", name, choose), lambda: Column.of(map(find, self.gleaned.histories)))

    def result(self, function: str, entry: str | None) -> Column:
        """What a function returned, or one entry of it."""
        nothing = object()
        return self.kept(
            ("result", function, entry),
            lambda: Column.of(
                (said.get((function, entry), nothing) for said in self.gleaned.results), nothing
            ),
        )

    def fact(self, name: str) -> Column:
        """A fact that every node has, or may have; ``FACTS`` says which there are."""
        return self.kept(("fact", name), lambda: Column.of(FACTS[name](self)))

    def version(self, package: str) -> Column:
        """Of a package (``python`` is one) where the nodes were computed."""

        def find(place: int) -> Any:
            environment = self.environment(place)
            if package in ("python", "dagtree"):
                return environment.get(package)
            return _mapping(environment.get("packages")).get(package)

        return self.kept(("version", package), lambda: Column.of(map(find, range(len(self)))))

    def status(self, record: Record) -> str:
        return self._statuses.get(record.key, record.status)


def _last(history: tuple[Moment, ...], name: str, nothing: object) -> Any:
    """The last value of a metric."""
    for _, values, _ in reversed(history):
        if name in values:
            return values[name]
    return nothing


def _start(record: Record) -> int:
    return NO_PARENT if record.kind == "root" else MISSING


def moment_in_time(unix_s: float | None) -> datetime | None:
    """A time in UTC; None when it isn't known."""
    try:
        return datetime.fromtimestamp(unix_s, UTC) if unix_s else None
    except (ValueError, OverflowError, OSError):
        return None


FACTS: dict[str, Callable[[Columns], Iterable[Any]]] = {
    "key": lambda all: (record.key for record in all.records),
    "kind": lambda all: (record.kind for record in all.records),
    "recipe": lambda all: (None if record.kind == "root" else record.recipe for record in all.records),
    "moment": lambda all: (record.moment for record in all.records),
    "status": lambda all: map(all.status, all.records),
    "tags": lambda all: (record.tags for record in all.records),
    "depth": lambda all: all.depths,
    "ended": lambda all: (moment_in_time(record.ended) for record in all.records),
    "started": lambda all: (moment_in_time(one.started) for one in all.measures),
    "seconds": lambda all: (one.seconds for one in all.measures),
    "bytes": lambda all: (one.size_bytes for one in all.measures),
    "device": lambda all: (one.device for one in all.measures),
    "error": lambda all: (one.error for one in all.measures),
    "host": lambda all: (all.environment(place).get("host") for place in range(len(all))),
}
