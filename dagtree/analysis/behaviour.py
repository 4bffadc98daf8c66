"""How differently two states behave: what a function gives for the one and for the other."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

from ..errors import SelectionError
from .text import number_text, shorten

__all__ = ["OutputDifference", "compare_outputs"]


@dataclasses.dataclass(frozen=True)
class OutputDifference:
    """One output of a function of both states.

    ``disagreement`` is which fraction of ``items`` differs. Rows of floating-point scores (two or more
    dimensions, more than one column) are compared as a classifier is: by the place of the largest in each row
    (the last axis); all else by equality. ``largest`` is the largest absolute difference, None where the
    outputs are no numbers.
    """

    name: str
    items: int
    disagreement: float
    largest: float | None
    are_scores: bool

    def __str__(self) -> str:
        what = "rows have another largest score" if self.are_scores else "values differ"
        name = f"{shorten(self.name, 60)}: " if self.name else ""
        largest = "" if self.largest is None else f"; largest difference {number_text(self.largest)}"
        return f"{name}{100 * self.disagreement:.3g} % of {self.items:,} {what}{largest}"


def compare_outputs(before: Any, after: Any, name: str = "") -> list[OutputDifference]:
    """Compare what a function gave: numbers, arrays, tensors, texts, or lists and dicts of them.

    Raises SelectionError when the two aren't of one form.
    """
    return list(_compared(before, after, name))


def _compared(before: Any, after: Any, name: str) -> Iterator[OutputDifference]:
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        if list(before) != list(after) and set(before) != set(after):
            raise SelectionError(
                f"the function gives {_names(before)} for the first state and {_names(after)} for the "
                "second: they can't be compared"
            )
        for key in before:
            yield from _compared(before[key], after[key], f"{name}.{key}" if name else str(key))
        return
    if _holds_parts(before) and _holds_parts(after) and len(before) == len(after):
        for place, (one, other) in enumerate(zip(before, after, strict=True)):
            yield from _compared(one, other, f"{name}[{place}]")
        return
    yield _one(_array(before, name), _array(after, name), name)


def _holds_parts(value: Any) -> bool:
    """Whether it is a list or tuple of arrays, tensors or dicts, and not of numbers."""
    return isinstance(value, (list, tuple)) and any(
        hasattr(item, "shape") or isinstance(item, Mapping) for item in value
    )


def _names(output: Mapping[Any, Any]) -> str:
    return ", ".join(shorten(repr(key), 40) for key in list(output)[:12]) or "nothing"


def _array(value: Any, name: str) -> Any:
    import numpy

    if hasattr(value, "detach") and hasattr(value, "cpu"):
        value = value.detach().cpu()
        if str(value.dtype) in ("torch.bfloat16", "torch.float8_e4m3fn", "torch.float8_e5m2"):
            value = value.float()
        value = value.resolve_conj().resolve_neg().numpy()
    try:
        array = numpy.asarray(value)
    except ValueError as error:
        raise SelectionError(f"the function's output {name or 'as a whole'} is no array: {error}") from error
    if array.dtype.kind not in "biufcUSmM":
        raise SelectionError(
            f"the function gives {shorten(type(value).__name__, 40)} ({shorten(repr(value), 60)}), which "
            "can't be compared: let it return numbers, texts, arrays, tensors, or lists and dicts of them"
        )
    return array


def _one(before: Any, after: Any, name: str) -> OutputDifference:
    import numpy

    if before.shape != after.shape:
        raise SelectionError(
            f"the function gives {name or 'an output'} of shape {before.shape} for the first state and of "
            f"{after.shape} for the second: they can't be compared"
        )
    are_numbers = before.dtype.kind in "biufc" and after.dtype.kind in "biufc"
    largest = None
    if are_numbers and before.size:
        wide = numpy.complex128 if "c" in (before.dtype.kind, after.dtype.kind) else numpy.float64
        with numpy.errstate(all="ignore"):
            a, b = before.astype(wide), after.astype(wide)
            same = (a == b) | (numpy.isnan(a) & numpy.isnan(b))
            largest = float(numpy.abs(numpy.where(same, 0, a - b)).max())
    elif are_numbers:
        largest = 0.0
    are_scores = before.dtype.kind == "f" == after.dtype.kind and before.ndim >= 2 and before.shape[-1] > 1
    if are_scores and before.size:
        differs = before.argmax(axis=-1) != after.argmax(axis=-1)
    else:
        differs = before != after
        if are_numbers and "c" not in (before.dtype.kind, after.dtype.kind):
            differs = differs & ~(numpy.isnan(before) & numpy.isnan(after))
    items = int(numpy.size(differs))
    fraction = float(numpy.count_nonzero(differs)) / items if items else 0.0
    return OutputDifference(name, items, fraction, largest, bool(are_scores))
