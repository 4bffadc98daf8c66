"""Which buffers cost less than their bytes, and what is kept of them instead: see `encoding`.

A sample decides first, so that an ordinary dense tensor costs a few microseconds. What it recommends is then
done to the whole buffer, and taken only if it saves enough, to the last bit.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any, Literal, NamedTuple

from .buffer import DTYPE_BYTES, Buffer
from .encoding import CHUNK, Get, decode_between, flags_of, load_numpy

__all__ = ["Base", "Packed", "Piece", "is_worth_packing", "pack"]

LEAST_BYTES = 16 * 1024
"""Smaller buffers are kept as they are."""
LEAST_SAVED_BYTES = 4 * 1024
LEAST_SAVED = 0.25
"""What is saved must be so many bytes, and so much of the buffer: to pick out the values of a sparse tensor,
and to put them back, takes about as long as to write as many bytes to a fast disk."""
_SAMPLES = 256
_COMPARED_BYTES = 1 << 16
_FORMATS: dict[int, Literal["B", "H", "I", "Q"]] = {1: "B", 2: "H", 4: "I", 8: "Q"}
_WIDTHS = {"C64": 4}  # where a zero is one of two numbers
_BLOCK = 1024
"""Elements of a base that are looked at before all of it is."""
_BLOCKS = 4
_TRIED = 3  # bases that look right are compared in full
_LIKELY = 0.1  # how much less than its sample a tensor may save


class Piece(NamedTuple):
    """A buffer, its bytes where the CPU reaches them, and its digest."""

    buffer: Buffer
    view: memoryview
    digest: str

    @property
    def is_whole(self) -> bool:
        """Whether the bytes are at hand, and not only known to lie somewhere."""
        return len(self.view) == self.buffer.size_bytes


class Base(NamedTuple):
    """Something that the kept values of a masked tensor may come from: ``source`` is what an encoding says of
    it, ``get`` gives its bytes, and ``parts`` are what they lie in."""

    source: str | dict[str, Any]
    get: Get
    parts: Callable[[], list[Piece] | None]
    """None when they can't be counted on."""


class Packed(NamedTuple):
    encoding: dict[str, Any]
    parts: list[Piece]


def is_worth_packing(piece: Piece) -> bool:
    """Whether a sample has zeros, or no more than two values. Loads nothing: ordinary tensors stop here."""
    buffer = piece.buffer
    if buffer.size_bytes < LEAST_BYTES or buffer.kind == "raw" or sys.byteorder != "little":
        return False
    width = _WIDTHS.get(buffer.dtype) or DTYPE_BYTES[buffer.dtype]
    elements = piece.view.cast(_FORMATS[width])
    sample = set(elements[:: _step(len(elements))].tolist())
    if len(sample) == 1:
        return not _is_constant(piece.view, width)  # of those a tree has one of each shape, and keeps it once
    return len(sample) == 2 or 0 in sample or 1 << (8 * width - 1) in sample


def pack(piece: Piece, bases: Callable[[], Iterator[Base]]) -> Packed | None:
    """What to keep instead of a buffer's bytes, of which a sample is promising; None where they are as good
    as anything.

    ``bases`` is asked, if zeros are seen, for what the other values may come from.
    """
    numpy = load_numpy()
    return _Packing(numpy, piece).pack(bases) if numpy is not None else None


def _step(count: int) -> int:
    """From one sample to the next: odd, so as to meet all columns of a matrix, whose length tends to be
    even."""
    return max(1, count // _SAMPLES) | 1


def _is_constant(view: memoryview, width: int) -> bool:
    pattern = bytes(view[:width]) * (_COMPARED_BYTES // width)
    return all(
        pattern.startswith(bytes(view[at : at + _COMPARED_BYTES]))
        for at in range(0, len(view), _COMPARED_BYTES)
    )


class _Packing:
    def __init__(self, numpy: Any, piece: Piece) -> None:
        self.numpy = numpy
        self.piece = piece
        self.size_bytes = piece.buffer.size_bytes
        self._look_as(DTYPE_BYTES[piece.buffer.dtype])

    def _look_as(self, width: int) -> None:
        """Sees the buffer as elements of that width, and takes a sample of them."""
        self.width = width
        self.elements = self.numpy.frombuffer(self.piece.view, f"<u{width}")
        self.count = len(self.elements)
        self.number = self.elements.dtype.type
        self.sign = self.number(1 << (8 * width - 1))
        self.rest = self.number((1 << (8 * width - 1)) - 1)
        self.sample = self.elements[:: _step(self.count)]

    def pack(self, bases: Callable[[], Iterator[Base]]) -> Packed | None:
        others = self.sample[self.sample != self.sample[0]]
        if not len(others) or bool((others == others[0]).all()):
            packed = self._pack_two()
            if packed is not None:
                return packed
        if bool((self.sample & self.rest).all()) or not self._choose_width():
            return None
        likely = self._likely_saved(self.width)
        if likely <= -1 / (8 * self.width):  # there are no zeros, seen so
            return None
        found = islice(filter(self._agrees, bases()), _TRIED)
        base = next(found, None)
        if base is None and likely < LEAST_SAVED - _LIKELY:
            return None
        bits, ones = self._bits()
        while base is not None:
            packed = self._pack_masked(base, bits)
            if packed is not None:
                return packed
            base = next(found, None)
        return self._pack_sparse(bits, ones) if self._saves(len(bits) + ones * self.width) else None

    def _choose_width(self) -> bool:
        """Sees what may be pairs of numbers, or wider than it is called, as the numbers that it is made of;
        False where that isn't worth it."""
        dtype, content = self.piece.buffer.dtype, self.elements
        if dtype in _WIDTHS:
            self._look_as(_WIDTHS[dtype])
        elif dtype == "U8" and self.size_bytes % 8 == 0:  # also what has no name, complex128 above all
            if bool((content[16:_BLOCK] == content[: _BLOCK - 16]).all()):
                return bool((content[16:] != content[:-16]).any())
            saved = {width: self._likely_saved(width) for width in (1, 8)}
            self._look_as(max(saved, key=saved.__getitem__))
        return True

    def _likely_saved(self, width: int) -> float:
        self._look_as(width)
        kept = int(self.numpy.count_nonzero(self.sample & self.rest)) / len(self.sample)
        return 1 - kept - 1 / (8 * width)

    def _saves(self, stored_bytes: int) -> bool:
        saved = self.size_bytes - stored_bytes
        return saved >= LEAST_SAVED_BYTES and saved >= LEAST_SAVED * self.size_bytes

    def _chunks(self) -> Iterator[tuple[int, int]]:
        return ((at, min(at + CHUNK, self.count)) for at in range(0, self.count, CHUNK))

    def _part(self, role: str, dtype: str, content: Any) -> Piece:
        """What of the buffer is kept, under a name that says so."""
        view = memoryview(content).cast("B")
        shape = (view.nbytes // DTYPE_BYTES[dtype],)
        name, kind = f"{self.piece.buffer.name}#{role}", self.piece.buffer.kind
        part = Buffer(name, dtype, shape, view.nbytes, "cpu", kind, view)
        return Piece(part, view, part.digest)

    # Two values

    def _pack_two(self) -> Packed | None:
        """The buffer as bits, if it has no more than two values."""
        numpy, elements = self.numpy, self.elements
        low, high = elements[0], None
        bits = numpy.empty(-(-self.count // 8), numpy.uint8)
        for at, end in self._chunks():
            chunk = elements[at:end]
            differs = chunk != low
            if high is None and differs.any():
                high = chunk[differs.argmax()]
            if high is not None and not bool(((chunk == high) == differs).all()):
                return None
            bits[at // 8 : -(-end // 8)] = numpy.packbits(differs, bitorder="little")
        if high is None or not self._saves(len(bits)):
            return None
        if low > high:  # equal masks have equal bits, whatever they are masks of
            low, high = high, low
            numpy.invert(bits, out=bits)
            if self.count % 8:
                bits[-1] &= (1 << (self.count % 8)) - 1
        part = self._part("bits", "U8", bits)
        of = [low.tobytes().hex(), high.tobytes().hex()]
        return Packed({"is": "bits", "width": self.width, "of": of, "bits": part.digest}, [part])

    # Zeros

    def _bits(self) -> tuple[Any, int]:
        """A bit for each element that isn't zero, and how many those are."""
        numpy, ones = self.numpy, 0
        bits = numpy.empty(-(-self.count // 8), numpy.uint8)
        for at, end in self._chunks():
            kept = (self.elements[at:end] & self.rest) != 0
            ones += int(numpy.count_nonzero(kept))
            bits[at // 8 : -(-end // 8)] = numpy.packbits(kept, bitorder="little")
        return bits, ones

    def _agrees(self, base: Base) -> bool:
        """Whether the base has the same values where some of this are not zero."""
        kept = self.numpy.flatnonzero(self.sample & self.rest)
        if not len(kept):
            return True
        # Where something is kept: in the middle, and where that agrees, all over.
        for index in (len(kept) // 2, *range(0, len(kept), max(1, len(kept) // _BLOCKS))):
            middle = int(kept[index]) * _step(self.count)
            start = max(0, min(middle - _BLOCK // 2, self.count - _BLOCK)) // 8 * 8
            stop = min(start + _BLOCK, self.count)
            there, here = self._from(base, start, stop), self.elements[start:stop]
            if there is None or not bool((((here ^ there) == 0) | (here & self.rest == 0)).all()):
                return False
        return True

    def _from(self, base: Base, start: int, stop: int) -> Any:
        """Those elements of the base; None when they can't be had."""
        try:
            if isinstance(base.source, dict):
                if base.source["width"] != self.width:
                    return None
                return decode_between(base.source, start, stop, base.get)
            content = base.get(base.source, start * self.width, stop * self.width)
            there = self.numpy.frombuffer(content, self.elements.dtype)
        except (OSError, LookupError, TypeError, ValueError):  # it is gone, or not what a record says
            return None
        return there if len(there) == stop - start else None

    def _pack_masked(self, base: Base, bits: Any) -> Packed | None:
        """The buffer as the base's values at the bits, if they are that."""
        numpy, there = self.numpy, self._from(base, 0, self.count)
        parts = base.parts() if there is not None else None
        if parts is None:
            return None
        is_signed, is_as_base = False, True
        for at, end in self._chunks():
            here = self.elements[at:end]
            kept = numpy.negative(flags_of(numpy, bits, at, end).astype(self.number))
            differs = here ^ there[at:end]
            if (differs & kept).any():
                return None
            zeros = ~kept
            is_signed = is_signed or bool((here & zeros).any())
            is_as_base = is_as_base and not (differs & zeros & self.sign).any()
        encoding: dict[str, Any] = {"is": "masked", "width": self.width}
        signs: list[Piece] = []
        if is_signed and is_as_base:
            encoding["signs"] = "base"
        elif is_signed:
            signs = [self._signs(bits)]
            encoding["signs"] = signs[0].digest
        if not self._saves(len(bits) + sum(part.view.nbytes for part in signs)):
            return None
        part = self._part("bits", "U8", bits)
        encoding.update(bits=part.digest, base=base.source)
        return Packed(encoding, [part, *signs, *parts])

    def _pack_sparse(self, bits: Any, ones: int) -> Packed | None:
        """The buffer as its values that aren't zero."""
        numpy, done = self.numpy, 0
        signs = [self._signs(bits)] if self._has_negative_zeros() else []
        if not self._saves(len(bits) + ones * self.width + sum(part.view.nbytes for part in signs)):
            return None
        values = numpy.empty(ones, self.elements.dtype)
        for at, end in self._chunks():
            places = numpy.flatnonzero(flags_of(numpy, bits, at, end))
            numpy.take(self.elements[at:end], places, out=values[done : done + len(places)], mode="clip")
            done += len(places)
        dtype = self.piece.buffer.dtype
        if DTYPE_BYTES[dtype] != self.width:
            dtype = "F32" if dtype == "C64" else "U64"
        parts = [self._part("bits", "U8", bits), self._part("values", dtype, values), *signs]
        encoding = {"is": "sparse", "width": self.width, "bits": parts[0].digest, "values": parts[1].digest}
        if signs:
            encoding["signs"] = signs[0].digest
        return Packed(encoding, parts)

    def _has_negative_zeros(self) -> bool:
        return any(bool((self.elements[at:end] == self.sign).any()) for at, end in self._chunks())

    def _signs(self, bits: Any) -> Piece:
        """A bit for each zero: whether its highest bit is set."""
        numpy, found = self.numpy, []
        for at, end in self._chunks():
            zeros = numpy.flatnonzero(~flags_of(numpy, bits, at, end))
            found.append((self.elements[at:end] == self.sign).take(zeros))
        return self._part("signs", "U8", numpy.packbits(numpy.concatenate(found), bitorder="little"))
