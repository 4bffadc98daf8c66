"""Small stand-ins that the contracts of `dagtree.testing` are checked with."""

from __future__ import annotations

import pickle
from typing import Any

from .storage.record import Record

__all__ = ["Large", "make_record", "pruned_contents", "raises"]


def make_record(number: int = 1, **facts: Any) -> Record:
    """A record of node `number`, whose key is that number in hex; `facts` replaces what it says."""
    hot: dict[str, Any] = {
        "key": f"{number:032x}",
        "address": f"{number:032x}",
        "kind": "recipe",
        "recipe": "Train",
        "parents": (f"{number - 1:032x}",) if number else (),
        "tags": ("lr:0.1",),
        "position": number,
        "ended": 1_700_000_000.0 + number,
        "more": {"module": "study", "properties": {"lr": 0.1}, "seconds": 0.01},
    }
    return Record.make(**{**hot, **facts})


class Large:
    """Something that pickles its memory out of band, as arrays do, and needs no numpy."""

    def __init__(self, memory: bytes) -> None:
        self.memory: Any = memory

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        return Large, (pickle.PickleBuffer(self.memory),)


def pruned_contents() -> list[dict[str, Any]]:
    """What is to be kept in one node after the other: weights, pruned in several ways, and their mask; none
    where numpy isn't installed."""
    try:
        import numpy
    except ImportError:
        return []
    numbers = numpy.arange(1, 20_001, dtype="u4")
    numbers[::7] |= 0x7FC0_0000  # what isn't a number, and says which
    numbers[::3] |= 0x8000_0000
    mask = numbers % 5 < 2
    weights, pruned = numbers.view("f4"), (numbers * mask).view("f4")
    signed = numpy.where(mask, numbers, numbers & 0x8000_0000).view("f4")
    return [{"weights": one, "mask": mask} for one in (weights, pruned, signed, -signed, weights)]


def raises(kind: type[Exception], do: Any) -> bool:
    try:
        do()
    except kind as error:
        return bool(str(error))  # a refusal says why
    return False
