"""What differs between two nodes: how they were made, what was measured, and what lies in their tensors."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..errors import DagtreeError, SelectionError
from .behaviour import OutputDifference, compare_outputs
from .compared import TITLES, ComparedTensors, cells, compare_tensors
from .extras import data_frame
from .html import blocks_html, rows_html
from .parting import Parting, part
from .select import exactly
from .text import aligned, number_text, shorten, value_text

if TYPE_CHECKING:
    from .node import Node

__all__ = ["Difference", "difference"]

_ROWS = 20
_DIFF_LINES = 60
_ENVIRONMENT = ("host", "platform", "python", "implementation", "machine", "cores", "user", "dagtree")


class Difference:
    """What differs between two nodes: ``a.diff(b)``. Prints in words; shows as HTML in notebooks.

    ``path`` says where their paths part and what differs after that, ``measures`` what was measured on either
    side, ``environment`` where they were computed, ``tensors`` how far the states are from each other, and
    ``behaviour`` how far their outputs are. Each is found when it is first asked for; only ``behaviour``
    restores states.
    """

    def __init__(self, before: Node, after: Node, behaviour: Callable[[Any], Any] | None = None) -> None:
        self.before = before
        self.after = after
        self._behaviour = behaviour

    @functools.cached_property
    def path(self) -> Parting:
        """Where their paths part, and the steps after that."""
        found = part(self.before, self.after)
        return found if found.before or found.after else dataclasses.replace(found, note=self._note())

    def _note(self) -> str:
        """Of two nodes of one key in two experiments: that it is one, and whose random numbers they have."""
        if self.before._tree is self.after._tree:
            return ""
        said = [
            f"the {which}, accepted in place of [{str(node.accepted.get('from'))[:8]}], draws as that did"
            for which, node in (("first", self.before), ("second", self.after))
            if node.accepted
        ]
        return "; ".join(["one key in two graphs: code, properties and parents are the same", *said])

    @functools.cached_property
    def measures(self) -> dict[str, tuple[Any, Any]]:
        """Metrics and results of functions that differ, by name: on either side, None where it wasn't."""
        old, new = _measures(self.before), _measures(self.after)
        return {
            name: (old.get(name), new.get(name))
            for name in dict.fromkeys([*old, *new])
            if exactly(old.get(name)) != exactly(new.get(name))
        }

    @functools.cached_property
    def environment(self) -> dict[str, tuple[Any, Any]]:
        """What differs between where they were computed: host, Python, device, commit, versions of packages
        (``packages.torch``). Raises DamagedError when what was kept of it is damaged."""
        old, new = _environment(self.before), _environment(self.after)
        return {
            name: (old.get(name), new.get(name))
            for name in dict.fromkeys([*old, *new])
            if old.get(name) != new.get(name)
        }

    @functools.cached_property
    def tensors(self) -> ComparedTensors:
        """The tensors of both states, compared by name, without unpickling anything.

        Raises NotComputedError when one of them has no state, DamagedError when bytes are damaged.
        """
        return compare_tensors(self.before.tensors(), self.after.tensors())

    @functools.cached_property
    def behaviour(self) -> tuple[OutputDifference, ...]:
        """How far the outputs of ``behaviour`` for both states are from each other; empty without it. Both
        calls draw the same random numbers.

        Raises SelectionError when the outputs can't be compared.
        """
        function = self._behaviour
        if function is None:
            return ()
        old, new = (node._tree.loader.outcome(node.key, function) for node in (self.before, self.after))
        return tuple(compare_outputs(old, new))

    def table(self) -> Any:
        """A pandas DataFrame with a row a tensor: l2, relative, cosine, largest, changed, sparsity on either
        side, and overlap of what isn't zero (IoU). Needs ``dagtree[analysis]``."""
        return data_frame(self.tensors.records())

    def layers(self) -> Any:
        """The same, a row a module."""
        names = ("elements", "l2", "relative", "cosine", "largest", "changed")
        later = ("sparsity_before", "sparsity_after", "overlap")
        return data_frame(
            [
                {"layer": layer} | {name: getattr(distance, name) for name in (*names, *later)}
                for layer, distance in self.tensors.layers().items()
            ]
        )

    def _parts(self) -> Iterator[tuple[str, list[str]]]:
        """The parts that have something to say, each with its lines."""
        yield "path", [str(self.path), *self._ways()]
        steps = [line for step in self.path.steps for line in step.lines()]
        if steps:
            yield "steps", steps
        measures = [
            f"{shorten(name, 60)} {_measured(old)} → {_measured(new)}{_gain(old, new)}"
            for name, (old, new) in self.measures.items()
        ]
        if measures:
            yield "measures", measures
        try:
            environment = [
                f"{shorten(name, 60)} {_told(old)} → {_told(new)}"
                for name, (old, new) in self.environment.items()
            ]
        except DagtreeError as error:
            environment = [f"can't be compared: {error}"]
        if environment:
            yield "environment", environment
        if self._behaviour is not None:
            yield "behaviour", [str(one) for one in self.behaviour]

    def _ways(self) -> list[str]:
        ways = self.before.path, self.after.path
        return [] if ways[0] == ways[1] else [shorten(way, 200) for way in ways]

    def _code_diffs(self) -> list[str]:
        diffs = [change.diff for step in self.path.steps for change in step.code if change.diff]
        return list(dict.fromkeys(diffs))

    def _of_tensors(self) -> tuple[str, list[tuple[str, ...]]]:
        """A headline, and rows for a table; only a headline where there is nothing to compare."""
        try:
            compared = self.tensors
            rows = compared.rows()
        except DagtreeError as error:
            return f"can't be compared: {error}", []
        if len(rows) > 1 and compared.total.read_elements:
            rows.insert(0, ("all that differ", "", *cells(compared.total)))
        return compared.headline, rows

    @property
    def title(self) -> str:
        """Both nodes on one line."""
        return " and ".join(f"{node.label} [{node.key[:8]}]" for node in (self.before, self.after))

    def __str__(self) -> str:
        lines = [self.title]
        for name, said in self._parts():
            lines += [f"{name if not place else '':<12} {line}" for place, line in enumerate(said)]
        for diff in self._code_diffs():
            shown = diff.splitlines()
            lines += ["", *shown[:_DIFF_LINES]]
            if len(shown) > _DIFF_LINES:
                lines.append(f"… {len(shown) - _DIFF_LINES:,} more lines")
        headline, rows = self._of_tensors()
        lines.append(f"{'tensors':<12} {headline}")
        lines += _table(rows)
        return "\n".join(lines)

    def __repr__(self) -> str:
        return f"<Difference between {self.title}>"

    def _repr_html_(self) -> str:
        headline, rows = self._of_tensors()
        return blocks_html(
            self.title,
            [*self._parts(), ("tensors", [headline])],
            self._code_diffs(),
            rows_html(TITLES, rows[: 5 * _ROWS], len(rows) - 5 * _ROWS) if rows else "",
        )


def _table(rows: Sequence[tuple[str, ...]]) -> list[str]:
    if not rows:
        return []
    lines = [f"  {line}" for line in aligned([TITLES, *rows[:_ROWS]], left=2)]
    return lines + ([f"  … and {len(rows) - _ROWS:,} more tensors"] if len(rows) > _ROWS else [])


def _measures(node: Node) -> dict[str, Any]:
    """Metrics, then results, by name; an entry of a function's dict under the function's name."""
    found = dict(node.metrics)
    for function, value in node.results.items():
        if isinstance(value, Mapping):
            found.update({f"{function}.{name}": item for name, item in value.items()})
        else:
            found[function] = value
    return found


def _environment(node: Node) -> dict[str, Any]:
    known = node.environment
    facts = {name: known[name] for name in _ENVIRONMENT if name in known}
    facts["device"] = node.record.more.get("device")
    git, packages = known.get("git"), known.get("packages")
    if isinstance(git, dict):
        facts["commit"] = str(git.get("commit", "")) + (" with changes" if git.get("dirty") else "")
    if isinstance(packages, dict):
        facts.update({f"packages.{name}": version for name, version in packages.items()})
    return facts


def _measured(value: Any) -> str:
    return "(not there)" if value is None else number_text(value)


def _told(value: Any) -> str:
    if value is None:
        return "(not there)"
    return shorten(value, 80) if isinstance(value, str) else value_text(value, 80)


def _gain(old: Any, new: Any) -> str:
    """The difference of two numbers, with its sign."""
    if any(isinstance(one, bool) or not isinstance(one, int | float) for one in (old, new)):
        return ""
    try:
        gain = new - old
    except OverflowError:
        return ""
    return f" ({'+' if gain > 0 else ''}{number_text(gain)})"


def difference(before: Node, after: Any, behaviour: Callable[[Any], Any] | None) -> Difference:
    """Compare two nodes, of one graph or of two.

    Raises SelectionError for what is no node.
    """
    if isinstance(after, type(before)):
        return Difference(before, after, behaviour)
    raise SelectionError(
        f"a node is compared with a node of a graph, such as exp.graph.node(key), not with "
        f"{shorten(repr(after), 60)}"
    )
