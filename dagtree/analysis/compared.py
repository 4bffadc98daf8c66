"""Two states tensor by tensor, from their files: what is in one only, and how far the rest has moved."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

from ..storage.tensors import TensorFacts
from .distance import Distance, distance_between, unread
from .text import number_text, shorten

__all__ = [
    "TITLES",
    "ComparedTensor",
    "ComparedTensors",
    "Readable",
    "cells",
    "compare_one",
    "compare_tensors",
    "percent",
]


class Readable(Protocol):
    """Tensors by name that tell of themselves without being read: `dagtree.storage.tensors.Tensors`."""

    def __iter__(self) -> Iterator[str]: ...
    def __contains__(self, name: object) -> bool: ...
    def facts(self, name: str) -> TensorFacts: ...
    def numbers(self, name: str) -> Any | None: ...


@dataclasses.dataclass(frozen=True)
class ComparedTensor:
    """One tensor of both states. ``distance`` is None where there is none: ``why`` says that the shapes
    differ, or that the elements aren't numbers."""

    name: str
    before: TensorFacts
    after: TensorFacts
    distance: Distance | None
    why: str = ""

    @property
    def is_equal(self) -> bool:
        """Whether type, shape and every byte are the same."""
        return self.before.digest == self.after.digest

    @property
    def layer(self) -> str:
        """The module that it belongs to: its name without the last part."""
        return self.name.rpartition(".")[0] or self.name


class ComparedTensors(Sequence[ComparedTensor]):
    """The tensors that both states have, in the first one's order; ``only_before`` and ``only_after`` name
    the others. Tensors with equal digests are equal and weren't read."""

    def __init__(
        self,
        compared: Sequence[ComparedTensor],
        only_before: Mapping[str, TensorFacts],
        only_after: Mapping[str, TensorFacts],
    ) -> None:
        self._compared = tuple(compared)
        self.only_before = dict(only_before)
        self.only_after = dict(only_after)

    def __getitem__(self, index: Any) -> Any:
        """The tensor of that name, or at that place."""
        if isinstance(index, str):
            for one in self._compared:
                if one.name == index:
                    return one
            raise KeyError(f"both states have no tensor {index!r}; they have {self._names()}")
        return self._compared[index]

    def __len__(self) -> int:
        return len(self._compared)

    @property
    def differing(self) -> tuple[ComparedTensor, ...]:
        """Those of which a byte differs, or the type or shape."""
        return tuple(one for one in self._compared if not one.is_equal)

    @property
    def total(self) -> Distance:
        """Over all tensors that both have and whose shapes agree. What is equal isn't read: `relative`,
        `cosine`, sparsity and overlap are those of the tensors that differ. Tensors of truth values (masks)
        don't count where others differ."""
        return _sum(self._compared)

    def layers(self) -> dict[str, Distance]:
        """The same for each module."""
        groups: dict[str, list[ComparedTensor]] = {}
        for one in self._compared:
            groups.setdefault(one.layer, []).append(one)
        return {layer: _sum(group) for layer, group in groups.items()}

    @property
    def headline(self) -> str:
        """One line."""
        differing, total = self.differing, self.total
        only = [
            f"{len(names)} only in the {which}"
            for which, names in (("first", self.only_before), ("second", self.only_after))
            if names
        ]
        if not self._compared:
            return ", ".join(["no tensor is in both", *only])
        if not differing:
            return ", ".join([f"all {len(self)} tensors are equal, bit for bit", *only])
        sums = (
            f"; L2 {number_text(total.l2)}, largest change {number_text(total.largest)}, "
            f"{percent(total.changed)} of {total.elements:,} elements changed"
        )
        return ", ".join([f"{len(differing)} of {len(self)} tensors differ", *only]) + sums * bool(
            total.read_elements
        )

    def rows(self) -> list[tuple[str, ...]]:
        """Texts for a table, `TITLES` its head: the tensors that differ, the furthest first."""
        far = sorted(self.differing, key=lambda one: -_far(one))
        return [
            (
                shorten(one.name, 60),
                _shape(one),
                *(cells(one.distance) if one.distance is not None else (one.why, *[""] * 6)),
            )
            for one in far
        ]

    def records(self) -> list[dict[str, Any]]:
        """One dict a tensor, for a data frame: also of the equal ones, and of those that one state lacks."""
        rows = [
            {
                "tensor": one.name, "layer": one.layer, "in": "both",
                "dtype": one.after.dtype, "shape": one.after.shape, "equal": one.is_equal,
                **_numbers(one),
            }
            for one in self._compared
        ]  # fmt: skip
        for which, names in (("first", self.only_before), ("second", self.only_after)):
            rows += [
                {
                    "tensor": name, "layer": name.rpartition(".")[0] or name, "in": which,
                    "dtype": facts.dtype, "shape": facts.shape, "equal": False,
                    **dict.fromkeys(_MEASURES, math.nan),
                }
                for name, facts in names.items()
            ]  # fmt: skip
        return rows

    def _names(self) -> str:
        names = [one.name for one in self._compared]
        return ", ".join(names[:20]) + (", …" if len(names) > 20 else "") if names else "none"

    def __repr__(self) -> str:
        return f"<ComparedTensors: {self.headline}>"


TITLES = ("tensor", "shape", "L2", "relative", "cosine", "largest", "changed", "sparsity", "IoU")
_MEASURES = (
    "l2", "relative", "cosine", "largest", "changed", "sparsity_before", "sparsity_after", "overlap",
)  # fmt: skip


def compare_tensors(before: Readable, after: Readable) -> ComparedTensors:
    """Compare what two states hold, by name. Reads only tensors whose digests differ."""
    compared = [compare_one(name, before, after) for name in before if name in after]
    return ComparedTensors(
        compared,
        {name: before.facts(name) for name in before if name not in after},
        {name: after.facts(name) for name in after if name not in before},
    )


def compare_one(name: str, before: Readable, after: Readable) -> ComparedTensor:
    """One tensor that both have; it is read only when the digests differ."""
    old, new = before.facts(name), after.facts(name)
    elements = math.prod(old.shape)
    if old.digest == new.digest:
        return ComparedTensor(name, old, new, unread(elements))
    first, second = before.numbers(name), after.numbers(name)
    if first is None or second is None:
        return ComparedTensor(name, old, new, None, f"holds {new.dtype}, which are no numbers")
    if old.shape != new.shape:
        return ComparedTensor(name, old, new, None, "another shape or layout")
    return ComparedTensor(name, old, new, distance_between(first, second))


def _sum(group: Sequence[ComparedTensor]) -> Distance:
    """Masks don't count beside weights that differ: a bit of one is no distance that adds to the other's."""
    known = [one for one in group if one.distance is not None]
    numbers = [one for one in known if one.before.dtype != "BOOL"]
    if any(not one.is_equal for one in numbers):
        known = numbers
    total = Distance()
    for one in known:
        if one.distance is not None:
            total += one.distance
    return total


def _far(one: ComparedTensor) -> float:
    if one.distance is None or math.isnan(one.distance.l2):
        return math.inf
    relative = one.distance.relative
    return math.inf if relative is None else relative


def _numbers(one: ComparedTensor) -> dict[str, Any]:
    distance = one.distance
    if distance is None:
        return dict.fromkeys(_MEASURES, math.nan)
    values = {name: getattr(distance, name) for name in _MEASURES}
    return {name: math.nan if value is None else value for name, value in values.items()}


def _shape(one: ComparedTensor) -> str:
    def text(facts: TensorFacts) -> str:
        return f"{facts.dtype} {'×'.join(map(str, facts.shape)) or 'scalar'}"

    old, new = text(one.before), text(one.after)
    return new if old == new else f"{old} → {new}"


def cells(distance: Distance) -> tuple[str, ...]:
    """L2, relative, cosine, largest, changed, sparsity and IoU, as texts."""
    before, after = distance.sparsity_before, distance.sparsity_after
    sparsity = "" if before is None or after is None else percent(before)
    if sparsity and before != after and after is not None:
        sparsity += f" → {percent(after)}"
    cosine = distance.cosine
    return (
        number_text(distance.l2),
        "" if distance.relative is None else number_text(distance.relative),
        "" if cosine is None else f"{cosine:.4f}",
        number_text(distance.largest),
        percent(distance.changed),
        sparsity,
        "" if distance.overlap is None else percent(distance.overlap),
    )


def percent(fraction: float) -> str:
    """Never 0 % for what is more, nor 100 % for what is less."""
    if 0 < fraction < 0.001:
        return "<0.1 %"
    if 0.999 < fraction < 1:
        return ">99.9 %"
    return f"{100 * fraction:.3g} %"
