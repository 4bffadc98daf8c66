"""Where the paths of two nodes part, and what differs between the steps after that."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from ..errors import DagtreeError
from ..identity.differ import PartChange, compare, outline_from
from ..identity.spelling import sections
from ..storage.record import Record
from .facts import NodeFacts
from .select import exactly
from .text import call_text, shorten, value_text

__all__ = ["ABSENT", "Parting", "PathNode", "Step", "part"]


class PathNode(NodeFacts, Protocol):
    """A node as paths are compared by."""

    @property
    def record(self) -> Record: ...
    @property
    def parents(self) -> Sequence[PathNode]: ...
    @property
    def sources(self) -> list[dict[str, Any]]: ...


@dataclasses.dataclass(frozen=True)
class Step:
    """A step after the parting: on both paths, or on one of them only (the other is None).

    ``properties`` are those that differ, by name: what they are on either side, `ABSENT` for one
    that isn't there. ``code`` is what differs between the code that the two keys cover; ``parents`` which
    further parents differ. ``unknown`` says why code couldn't be compared.
    """

    before: PathNode | None
    after: PathNode | None
    properties: Mapping[str, tuple[Any, Any]] = dataclasses.field(default_factory=dict)
    code: tuple[PartChange, ...] = ()
    parents: tuple[tuple[str, str], ...] = ()
    unknown: str = ""

    @property
    def differs(self) -> bool:
        """Whether this step is one of the reasons that the two nodes are two."""
        one_sided = self.before is None or self.after is None
        return bool(one_sided or self.properties or self.code or self.parents or self.unknown)

    def lines(self) -> list[str]:
        """The step in words, a line a difference."""
        node = self.before or self.after
        assert node is not None
        if self.before is None or self.after is None:
            side = "second" if self.before is None else "first"
            return [f"{node.label} [{node.key[:8]}] is on the {side} path only"]
        name = shorten(node.name, 80)
        lines = [
            f"{name}: {shorten(key, 80)} {_side(old)} → {_side(new)}"
            for key, (old, new) in self.properties.items()
        ]
        lines += [f"{name}: further parent {old} → {new}" for old, new in self.parents]
        lines += [
            f"{name}: {shorten(str(change), 200)} ({shorten(change.place, 80)})"
            + (f", reached by {' → '.join(change.chain)}" if len(change.chain) > 1 else "")
            for change in self.code
        ]
        if self.unknown:
            lines.append(f"{name}: {self.unknown}")
        return lines


@dataclasses.dataclass(frozen=True)
class Parting:
    """Where two paths (along first parents) part: ``last`` is the last node that is on both, None when they
    have none in common; ``steps`` are those after it, in order. ``note`` says of two nodes of one key what
    else may differ."""

    last: PathNode | None
    before: tuple[PathNode, ...]
    after: tuple[PathNode, ...]
    steps: tuple[Step, ...]
    note: str = ""

    def __str__(self) -> str:
        if not self.before and not self.after:
            return self.note or "they are the same node"
        if self.last is None:
            return "their paths have no node in common"
        where = f"{self.last.label} [{self.last.key[:8]}]"
        if not self.before:
            return f"the second was made from the first, in {_steps(self.after)}"
        if not self.after:
            return f"the first was made from the second, in {_steps(self.before)}"
        return f"their paths part after {where}: {_steps(self.before)}, and {_steps(self.after)}"


def part(first: PathNode, second: PathNode) -> Parting:
    """Compare two paths, from their roots down."""
    before, after = _path(first), _path(second)
    common = 0
    for one, other in zip(before, after, strict=False):
        if one.key != other.key:
            break
        common += 1
    rest, others = before[common:], after[common:]
    last = before[common - 1] if common else None
    return Parting(last, tuple(rest), tuple(others), tuple(_aligned(rest, others)))


def _path(node: PathNode) -> list[PathNode]:
    path, seen = [node], {node.key}
    while (parents := path[-1].parents) and parents[0].key == path[-1].parent_keys[0]:
        if parents[0].key in seen:
            break
        seen.add(parents[0].key)
        path.append(parents[0])
    return path[::-1]


def _aligned(before: Sequence[PathNode], after: Sequence[PathNode]) -> list[Step]:
    """Steps of the same recipe beside each other, as far as their order allows."""
    names, others = [node.name for node in before], [node.name for node in after]
    steps: list[Step] = []
    matcher = difflib.SequenceMatcher(None, names, others, autojunk=False)
    for what, start, end, other_start, other_end in matcher.get_opcodes():
        if what == "equal":
            steps.extend(map(_step, before[start:end], after[other_start:other_end]))
        else:
            steps.extend(Step(node, None) for node in before[start:end])
            steps.extend(Step(None, node) for node in after[other_start:other_end])
    return steps


def _step(before: PathNode, after: PathNode) -> Step:
    mine, others = before.properties, after.properties
    differing = {
        name: (mine.get(name, ABSENT), others.get(name, ABSENT))
        for name in dict.fromkeys([*mine, *others])
        if name not in mine or name not in others or exactly(mine[name]) != exactly(others[name])
    }
    code, unknown = _code(before, after)
    further = zip(_further(before), _further(after), strict=False)
    parents = tuple((old, new) for old, new in further if old != new)
    if len(_further(before)) != len(_further(after)):
        unknown = unknown or f"{len(_further(before))} further parents → {len(_further(after))}"
    return Step(before, after, differing, code, parents, unknown)


def _code(before: PathNode, after: PathNode) -> tuple[tuple[PartChange, ...], str]:
    """What differs in the code of two steps of one recipe, and in that behind the values of properties that
    are the same but for it."""
    mine, others = before.record.more, after.record.more
    spelled = [_spelled(more) for more in (mine, others)]
    values = [name for name in spelled[0] if spelled[0][name] == spelled[1].get(name)]
    is_own = mine.get("code") != others.get("code")
    if not is_own and (not values or mine.get("sources") == others.get("sources")):
        return (), ""
    try:
        old, new = sections(outline_from(before.sources)), sections(outline_from(after.sources))
    except DagtreeError as error:
        return (), f"the code differs, and what was kept of it can't be read: {shorten(str(error), 200)}"
    changes = compare(old[0], new[0]) if is_own else []
    for name in values:
        place = f"{before.record.recipe}.{name}"
        if place in old[1] and place in new[1]:
            changes += compare(old[1][place], new[1][place])
    return tuple(changes), "" if changes or not is_own else "the code differs, in what no source was kept of"


def _spelled(more: Mapping[str, Any]) -> Mapping[str, Any]:
    spelled = more.get("spelled")
    return spelled if isinstance(spelled, dict) else {}


def _further(node: PathNode) -> list[str]:
    """The parents after the first, as they would be written."""
    known = {parent.key: parent for parent in node.parents}
    return [
        f"{call_text(known[key].name, known[key].properties)} [{key[:8]}]" if key in known else f"[{key[:8]}]"
        for key in node.parent_keys[1:]
    ]


class _Absent:
    """Stands for what one side doesn't have."""

    def __repr__(self) -> str:
        return "(not there)"


ABSENT = _Absent()


def _side(value: Any) -> str:
    return value_text(value, 80)


def _steps(nodes: Sequence[PathNode]) -> str:
    names = [shorten(node.name, 40) for node in nodes]
    shown = "/".join(names if len(names) <= 6 else [*names[:3], f"… {len(names) - 5} more …", *names[-2:]])
    return f"{len(nodes)} step{'s' * (len(nodes) != 1)} ({shown})"
