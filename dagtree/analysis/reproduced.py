"""Whether nodes that were computed again came out as they were: verdicts, distances, likely causes."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from .compared import ComparedTensor, ComparedTensors
from .extras import data_frame
from .html import blocks_html, rows_html
from .text import number_text, shorten

if TYPE_CHECKING:
    from .node import Node

__all__ = ["Accepted", "Reproduction", "Reproductions", "Verdict", "likely_causes"]

Verdict = Literal["bit for bit", "within tolerance", "not", "failed"]
_NUMERIC = ("torch", "numpy", "scipy", "scikit-learn", "jax", "jaxlib", "tensorflow", "pandas", "triton")
_ROWS = 40


@dataclasses.dataclass(frozen=True)
class Reproduction:
    """What became of one node that was computed again.

    ``verdict`` is "bit for bit", "within tolerance" (every tensor that differs by no more than was allowed),
    "not", or "failed" (``message`` says why it could not be computed). ``differing`` names what of the state
    differs, ``tensors`` says how far where both states are there, ``yielded`` which metrics came out
    otherwise, ``causes`` what may be the reason, the likeliest first. ``varying`` are metrics that come out
    otherwise each time, such as seconds; they don't count.
    """

    node: Node
    verdict: Verdict
    differing: tuple[str, ...] = ()
    tensors: ComparedTensors | None = None
    causes: tuple[str, ...] = ()
    message: str = ""
    yielded: tuple[str, ...] = ()
    varying: tuple[str, ...] = ()

    @property
    def agrees(self) -> bool:
        return self.verdict in ("bit for bit", "within tolerance")

    @property
    def relative(self) -> float | None:
        """The largest relative L2 distance of a tensor; NaN where one has NaN or an infinity, None where one
        has no distance, or nothing is known."""
        if self.verdict == "bit for bit":
            return 0.0
        if self.tensors is None:
            return None
        found = [one.distance.relative if one.distance else None for one in self.tensors.differing]
        known = [one for one in found if one is not None]
        if any(map(math.isnan, known)):
            return math.nan  # `max` would overlook it
        return max(known, default=0.0) if len(known) == len(found) else None

    def lines(self) -> list[str]:
        """In words, a line each."""
        lines = [f"{self.node.label} [{self.node.key[:8]}]: {_said(self)}"]
        if self.message:
            lines.append(f"  {shorten(self.message, 400)}")
        if self.yielded:
            lines.append(f"  what it yielded differs: {_names(self.yielded)}")
        if self.varying:
            lines.append(f"  comes out otherwise each time, and doesn't count: {_names(self.varying)}")
        if self.tensors is not None and self.tensors.differing:
            furthest = sorted(self.tensors.differing, key=lambda one: -(_relative(one) or 0.0))
            lines += [f"  {shorten(one.name, 60)}: {_far(one)}" for one in furthest[:5]]
            more = len(self.tensors.differing) - 5
            lines += [f"  … and {more} more tensors"] if more > 0 else []
        elif self.differing:
            lines.append(f"  differs in {_names(self.differing)}")
        lines += [f"  likely cause: {shorten(cause, 300)}" for cause in self.causes[:6]]
        return lines


class Reproductions(Sequence[Reproduction]):
    """What became of nodes that were computed again, in the tree's order. ``ok`` says that all agree."""

    def __init__(self, found: Sequence[Reproduction]) -> None:
        self._found = tuple(found)

    def __getitem__(self, index: Any) -> Any:
        return self._found[index]

    def __len__(self) -> int:
        return len(self._found)

    @property
    def ok(self) -> bool:
        return all(one.agrees for one in self._found)

    @property
    def headline(self) -> str:
        """``12 nodes were computed again: 11 bit for bit, 1 not``."""
        counts: dict[str, int] = {}
        for one in self._found:
            counts[one.verdict] = counts.get(one.verdict, 0) + 1
        each = ", ".join(
            f"{counts[verdict]} {verdict}"
            for verdict in ("bit for bit", "within tolerance", "not", "failed")
            if verdict in counts
        )
        count = len(self._found)
        return f"{count:,} node{' was' if count == 1 else 's were'} computed again" + (
            f": {each}" if each else ""
        )

    def table(self) -> Any:
        """A pandas DataFrame, one row a node. Needs ``dagtree[analysis]``."""
        return data_frame(
            [
                {
                    "key": one.node.key, "path": one.node.path, "label": one.node.label,
                    "verdict": one.verdict, "relative": one.relative,
                    "differing": ", ".join((*one.differing, *one.yielded)),
                    "causes": "; ".join(one.causes), "message": one.message,
                }
                for one in self._found
            ]
        )  # fmt: skip

    def __str__(self) -> str:
        odd = [
            line for one in self._found if one.verdict != "bit for bit" or one.varying for line in one.lines()
        ]
        shown = odd[: 4 * _ROWS]
        cut = [f"… and {len(odd) - len(shown):,} more lines"] if len(odd) > len(shown) else []
        return "\n".join([self.headline, *shown, *cut])

    def __repr__(self) -> str:
        return f"<Reproductions: {self.headline}>"

    def _repr_html_(self) -> str:
        rows = [
            (
                one.node.key[:8], shorten(one.node.label, 60), one.verdict,
                "" if one.relative is None else number_text(one.relative),
                shorten("; ".join((*([one.message] if one.message else ()), *one.causes)), 200),
            )
            for one in self._found
        ]  # fmt: skip
        table = rows_html(("key", "node", "verdict", "relative", "causes"), rows[:200], len(rows) - 200)
        return blocks_html(self.headline, [], [], table)


class Accepted(Mapping[str, str]):
    """Which nodes took the place of which: key of now → key of then. ``reproduced`` says what became of the
    edges that were computed again for that; ``left`` names, by key, nodes that were left to be computed, and
    why."""

    def __init__(
        self,
        adopted: Mapping[str, str],
        reproduced: Reproductions,
        left: Mapping[str, str],
        labels: Mapping[str, str],
    ) -> None:
        self._adopted = dict(adopted)
        self.reproduced = reproduced
        self.left = dict(left)
        self._labels = labels

    def __getitem__(self, key: str) -> str:
        return self._adopted[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._adopted)

    def __len__(self) -> int:
        return len(self._adopted)

    @property
    def ok(self) -> bool:
        """Whether every edge that was computed again agreed, and nothing was left."""
        return self.reproduced.ok and not self.left

    def _lines(self) -> list[str]:
        lines = [
            f"{self._labels.get(key, '')} [{key[:8]}] is left: {shorten(why, 300)}"
            for key, why in list(self.left.items())[:_ROWS]
        ]
        more = len(self.left) - _ROWS
        return lines + ([f"… and {more:,} more are left"] if more > 0 else [])

    @property
    def headline(self) -> str:
        count = len(self)
        return f"accepted {count:,} node{'s' * (count != 1)} as they are; {self.reproduced.headline}"

    def __str__(self) -> str:
        rest = str(self.reproduced).splitlines()[1:]
        return "\n".join([self.headline, *rest, *self._lines()])

    def __repr__(self) -> str:
        return f"<Accepted: {self.headline}>"

    def _repr_html_(self) -> str:
        return blocks_html(self.headline, [("left", self._lines())], [], self.reproduced._repr_html_())


def _names(names: Sequence[str]) -> str:
    return ", ".join(shorten(name, 60) for name in names[:5]) + (", …" if len(names) > 5 else "")


def _said(one: Reproduction) -> str:
    if one.verdict == "not":
        return "came out otherwise" if not one.message else "isn't known to be what it was"
    if one.verdict == "failed":
        return "could not be computed again"
    return one.verdict


def _far(one: ComparedTensor) -> str:
    distance = one.distance
    if distance is None:
        return one.why or "no distance"
    if not distance.changed_elements:
        return "equal as numbers, and of other bits, as 0.0 and -0.0 are"
    relative = "" if distance.relative is None else f", relative {number_text(distance.relative)}"
    return f"L2 {number_text(distance.l2)}{relative}, largest {number_text(distance.largest)}"


def _relative(one: ComparedTensor) -> float | None:
    return None if one.distance is None else one.distance.relative


def likely_causes(
    then: Mapping[str, Any],
    now: Mapping[str, Any],
    differs_from_itself: bool | None,
    is_edited: bool = False,
) -> list[str]:
    """What may be why a node came out otherwise. ``then`` and ``now`` are facts about where it was computed;
    ``differs_from_itself`` says whether it came out in two ways here, ``is_edited`` whether its code is
    another now."""
    causes = [_ITSELF] if differs_from_itself else [_EDITED] if is_edited else []
    places = {"device": "device", "threads": "number of torch's threads"}
    causes += [
        _changed(said, then[name], now.get(name))
        for name, said in places.items()
        if _differs(then, now, name)
    ]
    old, new = _packages(then), _packages(now)
    changed = [name for name in {**old, **new} if old.get(name) != new.get(name)]
    changed.sort(key=lambda name: (name not in _NUMERIC, name))
    if changed:
        shown = ", ".join(f"{name} {old.get(name, 'none')} → {new.get(name, 'none')}" for name in changed[:6])
        more = f", {len(changed) - 6} more" if len(changed) > 6 else ""
        causes.append(f"versions of packages: {shown}{more}")
    names = ("python", "platform", "machine", "host")
    causes += [_changed(name, then[name], now.get(name)) for name in names if _differs(then, now, name)]
    return causes or [_UNSEEN]


_ITSELF = (
    "a nondeterministic operation: computed twice here, it differs from itself. Parallel sums, some CUDA "
    "kernels, threads, the time and the system's randomness do that "
    "(torch.use_deterministic_algorithms(True) finds some)"
)
_EDITED = "the edit: the code of now, or data that its key covers, gives another result than that of then"
_UNSEEN = (
    "something that the key doesn't cover: data behind a path, an environment variable, the time, a C "
    "extension (docs/identity.md says what a key can't see)"
)


def _differs(then: Mapping[str, Any], now: Mapping[str, Any], name: str) -> bool:
    return then.get(name) is not None and then[name] != now.get(name)


def _changed(what: str, then: object, now: object) -> str:
    return f"another {what}: {then} then, {now} now"


def _packages(facts: Mapping[str, Any]) -> dict[str, Any]:
    packages = facts.get("packages")
    return dict(packages) if isinstance(packages, Mapping) else {}
