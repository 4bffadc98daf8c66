"""A table of nodes and functions, filled when it is looked at."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..errors import SelectionError
from .extras import data_frame
from .html import blocks_html, rows_html
from .names import spelled_result
from .text import aligned, number_text, shorten

if TYPE_CHECKING:
    from .node import Node
    from .nodeset import NodeSet

__all__ = ["Applied"]

_ROWS = 40


class Applied:
    """What functions say at nodes: ``applied[node]`` is a dict by the functions' names. Looking at it calls
    what is missing, in this thread; `run` does so elsewhere. Iterating gives a node and its dict at a time.

    A node that has no state has no entry. A call that fails leaves its cell empty, the others are made;
    ``failures`` says why, by key and function.
    """

    def __init__(self, nodes: NodeSet, functions: Sequence[Callable[[Any], Any]]) -> None:
        if not functions:
            raise SelectionError("apply takes one function of a state, or several: nodes.apply(accuracy)")
        for function in functions:
            if not callable(function):
                raise SelectionError(f"apply takes functions of a state, not {shorten(repr(function), 60)}")
        self.nodes = nodes
        self._functions = tuple(functions)
        self._names: list[str] | None = None
        self._failures: dict[tuple[str, str], str] = {}
        self._values: dict[str, dict[str, Any]] = {}

    def run(
        self, scheduler: Any = "single-threaded", *, workers: int | None = None, progress: bool | None = None
    ) -> Applied:
        """Call what is missing, on any scheduler, as ``Experiment.run`` takes it; this table, filled."""
        if self._names is None or self._failures:
            self._fill(scheduler=scheduler, workers=workers, progress=progress)
        return self

    def _fill(self, **how: Any) -> None:
        tree = self.nodes._tree
        if tree is None:
            self._names = [getattr(one, "__name__", "function") for one in self._functions]
            return
        loader = tree.loader
        self._names, failures = loader.apply(self.nodes.keys, self._functions, **how)
        self._failures = dict(failures)
        kept = loader.results(self.nodes.keys)
        for key, results in kept.items():
            self._values[key] = {name: results[name] for name in self._names if name in results}
            for name in list(self._values[key]):
                if (key, name) in self._failures:
                    del self._values[key][name]  # what an older code said

    @property
    def names(self) -> tuple[str, ...]:
        """The functions' names, under which their results are recorded."""
        if self._names is None:
            self._fill()
        return tuple(self._names or ())

    @property
    def failures(self) -> Mapping[tuple[str, str], str]:
        """Why calls failed, by the node's key and the function's name."""
        _ = self.names
        return dict(self._failures)

    def __getitem__(self, node: Node | str) -> dict[str, Any]:
        key = node if isinstance(node, str) else node.key
        _ = self.names
        if key not in self._values:
            if key in self.nodes.keys:
                return {}
            raise KeyError(f"{key[:8]} is none of the nodes that the functions are applied to")
        return dict(self._values[key])

    def __iter__(self) -> Iterator[tuple[Node, dict[str, Any]]]:
        for node in self.nodes:
            yield node, self[node]

    def __len__(self) -> int:
        return len(self.nodes)

    def columns(self) -> list[str]:
        """The columns of the table: a function's name, or ``name.entry`` for what returns dicts, as `where`
        takes them."""
        found: dict[str, None] = {}
        for name in self.names:
            entries = [values[name] for values in self._values.values() if name in values]
            if entries and all(isinstance(one, Mapping) for one in entries):
                found.update(dict.fromkeys(spelled_result(name, str(key)) for one in entries for key in one))
            else:
                found[name] = None
        return list(found)

    def cell(self, node: Node, column: str) -> Any:
        """The value of a column at a node; None where there is none."""
        for name, value in self[node].items():
            if isinstance(value, Mapping):
                for key, entry in value.items():
                    if column == spelled_result(name, str(key)):
                        return entry
            if column == name:
                return value
        return None

    def table(self) -> Any:
        """A pandas DataFrame, one row a node: key, path, label, then a column a function, or an entry of what
        it returns. Needs ``dagtree[analysis]``."""
        columns = self.columns()
        return data_frame(
            [
                {"key": node.key, "path": node.path, "label": node.label}
                | {column: self.cell(node, column) for column in columns}
                for node in self.nodes
            ],
            ["key", "path", "label", *columns],
        )

    def _texts(self, most: int) -> tuple[list[str], list[tuple[str, ...]]]:
        columns = self.columns()
        rows = []
        for node in self.nodes[:most]:
            cells = (self.cell(node, column) for column in columns)
            texts = ("" if cell is None else number_text(cell) for cell in cells)
            rows.append((node.key[:8], shorten(node.path, 50), *texts))
        return ["key", "path", *columns], rows

    def _notes(self) -> list[str]:
        shown = [
            f"{name} at {key[:8]} failed: {why}" for (key, name), why in list(self._failures.items())[:5]
        ]
        more = len(self._failures) - len(shown)
        return shown + ([f"… and {more} more failed"] if more > 0 else [])

    def __str__(self) -> str:
        titles, rows = self._texts(_ROWS)
        lines = aligned([titles, *rows])
        more = len(self.nodes) - _ROWS
        return "\n".join([*lines, *([f"… and {more:,} more nodes"] if more > 0 else []), *self._notes()])

    def __repr__(self) -> str:
        names = ", ".join(getattr(one, "__name__", "a function") for one in self._functions)
        return f"<{names} at {len(self.nodes):,} node{'s' * (len(self.nodes) != 1)}>"

    def _repr_html_(self) -> str:
        titles, rows = self._texts(200)
        return blocks_html(
            repr(self)[1:-1],
            [("failed", self._notes())],
            [],
            rows_html([shorten(one, 60) for one in titles], rows, len(self.nodes) - 200),
        )
