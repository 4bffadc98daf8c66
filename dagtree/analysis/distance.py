"""How far two tensors are from each other, and how much of one is zero; with numpy, in bounded memory."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

from ..errors import SelectionError

__all__ = ["Distance", "distance_between", "size_of", "unread"]

_CHUNK = 1 << 18  # elements at a time: their copies in double precision stay in the processor's cache


@dataclasses.dataclass(frozen=True)
class Distance:
    """What two tensors, or two groups of tensors, have between them, as sums over their elements.

    Elements are compared as numbers in double precision, whatever types hold them. Groups add up with ``+``.
    What is known to be equal by its digest isn't read: its elements count in ``elements`` and as unchanged,
    and ``read_elements`` says how many were read; `relative`, `cosine`, `sparsity` and `overlap` are those of
    the elements that were read.
    """

    elements: int = 0
    read_elements: int = 0
    changed_elements: int = 0
    zeros_before: int = 0
    zeros_after: int = 0
    nonzero_in_both: int = 0
    nonzero_in_any: int = 0
    squares_before: float = 0.0
    squares_after: float = 0.0
    products: float = 0.0
    squares_between: float = 0.0
    largest: float = 0.0
    not_finite: int = 0

    def __add__(self, other: Distance) -> Distance:
        sums = {
            field.name: getattr(self, field.name) + getattr(other, field.name)
            for field in dataclasses.fields(self)
        }
        is_nan = math.isnan(self.largest) or math.isnan(other.largest)
        sums["largest"] = math.nan if is_nan else max(self.largest, other.largest)
        return Distance(**sums)

    @property
    def l2(self) -> float:
        """The Euclidean length of the difference."""
        return math.sqrt(self.squares_between)

    @property
    def relative(self) -> float | None:
        """`l2`, divided by the Euclidean length of the first; None when only that is zero, NaN when it is
        infinite."""
        if not self.squares_between:
            return 0.0
        if math.isinf(self.squares_before):
            return math.nan  # next to an infinity every change would be none
        return math.sqrt(self.squares_between / self.squares_before) if self.squares_before else None

    @property
    def cosine(self) -> float | None:
        """The cosine of the angle between the two (of complex ones, of its real part); None where one is all
        zeros, or none was read."""
        lengths = math.sqrt(self.squares_before) * math.sqrt(self.squares_after)
        if not lengths:
            return None
        cosine = self.products / lengths
        return max(-1.0, min(1.0, cosine)) if math.isfinite(cosine) else math.nan

    @property
    def changed(self) -> float:
        """Which fraction of the elements differs as numbers: two NaN don't, nor do 0.0 and -0.0."""
        return self.changed_elements / self.elements if self.elements else 0.0

    @property
    def sparsity_before(self) -> float | None:
        """Which fraction of the first is zero."""
        return self.zeros_before / self.read_elements if self.read_elements else None

    @property
    def sparsity_after(self) -> float | None:
        """Which fraction of the second is zero."""
        return self.zeros_after / self.read_elements if self.read_elements else None

    @property
    def overlap(self) -> float | None:
        """Intersection over union of the places that aren't zero (the Jaccard index of the masks); None where
        there are none."""
        return self.nonzero_in_both / self.nonzero_in_any if self.nonzero_in_any else None


def unread(elements: int) -> Distance:
    """Of two tensors that are known to be equal."""
    return Distance(elements=elements)


def distance_between(before: Any, after: Any) -> Distance:
    """The distance between two numpy arrays of as many numbers each, of any types."""
    numpy = _numpy()
    first, second = before.reshape(-1), after.reshape(-1)
    total = Distance()
    with numpy.errstate(all="ignore"):
        for start in range(0, first.size, _CHUNK):
            total += _of_chunk(numpy, first[start : start + _CHUNK], second[start : start + _CHUNK])
    return total


def _of_chunk(numpy: Any, before: Any, after: Any) -> Distance:
    differs = before != after
    a, b = _wide(numpy, before), _wide(numpy, after)
    if a.dtype.kind in "fc":
        differs &= ~(numpy.isnan(a) & numpy.isnan(b))
    between = numpy.where(differs, b - a, 0)  # two infinities of one sign are no distance apart
    sizes = numpy.abs(between)
    has, keeps = a != 0, b != 0
    return Distance(
        elements=a.size,
        read_elements=a.size,
        changed_elements=int(numpy.count_nonzero(differs)),
        zeros_before=a.size - int(numpy.count_nonzero(has)),
        zeros_after=a.size - int(numpy.count_nonzero(keeps)),
        nonzero_in_both=int(numpy.count_nonzero(has & keeps)),
        nonzero_in_any=int(numpy.count_nonzero(has | keeps)),
        squares_before=_squares(numpy, a),
        squares_after=_squares(numpy, b),
        products=_products(numpy, a, b),
        squares_between=_squares(numpy, between),
        largest=float(sizes.max(initial=0.0)),
        not_finite=int(numpy.count_nonzero(~(numpy.isfinite(a) & numpy.isfinite(b)))),
    )


def size_of(array: Any) -> tuple[float, float]:
    """The Euclidean length of an array of numbers, and which fraction of it is zero."""
    numpy = _numpy()
    flat = array.reshape(-1)
    squares, zeros = 0.0, 0
    with numpy.errstate(all="ignore"):
        for start in range(0, flat.size, _CHUNK):
            chunk = flat[start : start + _CHUNK]
            zeros += chunk.size - int(numpy.count_nonzero(chunk))
            squares += _squares(numpy, _wide(numpy, chunk))
    return math.sqrt(squares), zeros / flat.size if flat.size else 0.0


def _wide(numpy: Any, chunk: Any) -> Any:
    return chunk.astype(numpy.complex128 if chunk.dtype.kind == "c" else numpy.float64)


def _squares(numpy: Any, chunk: Any) -> float:
    return _products(numpy, chunk, chunk)


def _products(numpy: Any, a: Any, b: Any) -> float:
    # Not `vdot`: the threads of BLAS take longer to start than this takes.
    if a.dtype.kind == "c" or b.dtype.kind == "c":
        return float((a.real * b.real + a.imag * b.imag).sum())
    return float((a * b).sum())


def _numpy() -> Any:
    try:
        import numpy
    except ImportError as error:
        raise SelectionError(
            "numbers of tensors are compared with numpy, which isn't installed here: pip install numpy"
        ) from error
    return numpy
