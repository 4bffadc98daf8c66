"""Buffers that cost less than their bytes: masks, and tensors of which much is zero.

What a record says of one, its encoding, is one of these. Each names other bytes by their digests; an element
is ``width`` bytes that are looked at as an unsigned number, whatever it means, and zero is also the number of
which only the highest bit is set: the other zero of floating-point numbers.

``{"is": "bits", "width": 4, "of": ["00000000", "0000803f"], "bits": …}``
    each element is one of two, given in hex; a bit says which.
``{"is": "sparse", "width": 4, "bits": …, "values": …}``
    the elements whose bit is set are the values, in their order; the others are zero.
``{"is": "masked", "width": 4, "bits": …, "base": …}``
    the elements whose bit is set are those of another buffer, or of what a sparse encoding in its place
    makes; the others are zero.

``signs`` says which zeros have their highest bit set (none, without it): ``"base"`` those where the base has,
else a bit for each zero, in their order. Bits fill bytes from the lowest.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from itertools import compress
from typing import Any

__all__ = ["ENCODINGS", "Get", "decode", "decode_between", "flags_of", "load_numpy", "sources_of"]

ENCODINGS = frozenset({"bits", "sparse", "masked"})
CHUNK = 1 << 15
"""Elements that are looked at together: as many as stay near the processor."""

Get = Callable[[str, int, int], Any]
"""Gives the bytes from one offset to another of what has a digest."""


def sources_of(encoding: Mapping[str, Any]) -> Iterator[str]:
    """The digests of all that it is made of."""
    for role in ("bits", "values", "base", "signs"):
        source = encoding.get(role)
        if isinstance(source, dict):
            yield from sources_of(source)
        elif isinstance(source, str) and source != "base":
            yield source


def decode(encoding: Mapping[str, Any], size_bytes: int, get: Get) -> bytearray:
    """The buffer's bytes. KeyError, TypeError or ValueError when what is there doesn't make so many."""
    width = encoding["width"]
    if width not in (1, 2, 4, 8) or size_bytes % width:
        raise ValueError(f"{size_bytes} bytes in elements of {width}")
    count, numpy = size_bytes // width, load_numpy()
    if numpy is None:
        return _decode_plainly(encoding, width, count, get)
    content = bytearray(size_bytes)
    _decode_into(numpy, numpy.frombuffer(content, f"<u{width}"), encoding, 0, count, get)
    return content


def decode_between(encoding: Mapping[str, Any], start: int, stop: int, get: Get) -> Any:
    """The elements from one to another as an array of unsigned numbers; ``start`` is a multiple of 8."""
    numpy = load_numpy()
    elements = numpy.zeros(stop - start, f"<u{encoding['width']}")
    _decode_into(numpy, elements, encoding, start, stop, get)
    return elements


def flags_of(numpy: Any, bits: Any, start: int, stop: int) -> Any:
    """The bits from one to another as an array of bools; ``start`` is a multiple of 8."""
    spread = numpy.unpackbits(bits[start // 8 : -(-stop // 8)], bitorder="little")
    return spread[: stop - start].view(numpy.bool_)


@functools.cache
def load_numpy() -> Any:
    """numpy, or None where it isn't installed."""
    try:
        import numpy
    except ImportError:
        return None
    return numpy


def _decode_into(numpy: Any, out: Any, encoding: Mapping[str, Any], start: int, stop: int, get: Get) -> None:
    """Makes the elements from one to another; ``out`` is zero."""
    width, kind, number = encoding["width"], encoding["is"], out.dtype.type
    if kind == "bits":
        low, high = [_number(value, width) for value in encoding["of"]]
    bits = _bytes(numpy, get, encoding["bits"], start // 8, -(-stop // 8))
    chunks = [(at, min(at + CHUNK, stop - start)) for at in range(0, stop - start, CHUNK)]
    if kind == "bits":
        values = numpy.array([low, high], out.dtype)
        for at, end in chunks:
            flags = flags_of(numpy, bits, at, end).view(numpy.uint8)
            numpy.take(values, flags, out=out[at:end], mode="clip")
        return
    before = _count_ones(get(encoding["bits"], 0, start // 8)) if start else 0
    sign, signs = number(1 << (8 * width - 1)), encoding.get("signs")
    if kind == "masked":
        base = encoding["base"]
        if isinstance(base, str):
            from_base = _bytes(numpy, get, base, start * width, stop * width).view(out.dtype)
        elif base["is"] == "sparse" and base["width"] == width:
            from_base = numpy.zeros(stop - start, out.dtype)
            _decode_into(numpy, from_base, base, start, stop, get)
        else:
            raise ValueError(f"base {base!r}")
        for at, end in chunks:
            kept = numpy.negative(flags_of(numpy, bits, at, end).astype(out.dtype))
            if signs == "base":
                kept |= sign
            numpy.bitwise_and(from_base[at:end], kept, out=out[at:end])
    elif kind == "sparse":
        ones = _count_ones(bits) - _padding(bits, stop - start)
        values = _bytes(numpy, get, encoding["values"], before * width, (before + ones) * width)
        values, done = values.view(out.dtype), 0
        for at, end in chunks:
            places = numpy.flatnonzero(flags_of(numpy, bits, at, end))
            out[at:end][places] = values[done : done + len(places)]
            done += len(places)
    else:
        raise ValueError(f"an encoding {kind!r}")
    if signs is not None and signs != "base":
        zeros = start - before
        first, done = zeros - zeros % 8, zeros % 8
        count = done + (stop - start) - (_count_ones(bits) - _padding(bits, stop - start))
        negative = _bytes(numpy, get, signs, first // 8, (first + count + 7) // 8)
        negative = flags_of(numpy, negative, 0, count)
        for at, end in chunks:
            places = numpy.flatnonzero(~flags_of(numpy, bits, at, end))
            here = negative[done : done + len(places)].astype(out.dtype)
            out[at:end][places] |= here << number(8 * width - 1)
            done += len(places)


def _bytes(numpy: Any, get: Get, source: str, start: int, stop: int) -> Any:
    found = get(source, start, stop)
    if len(found) != stop - start:
        raise ValueError(f"{source} has {len(found)} bytes of {stop - start}")
    return numpy.frombuffer(found, numpy.uint8)


def _number(value: str, width: int) -> int:
    if len(value) != 2 * width:
        raise ValueError(f"an element {value!r}")
    return int.from_bytes(bytes.fromhex(value), "little")


def _count_ones(bits: Any) -> int:
    return int.from_bytes(bits, "little").bit_count()


def _padding(bits: Any, count: int) -> int:
    """How many bits are set beyond those that count: none, where the bytes are what was written."""
    return (int(bits[-1]) >> (count % 8)).bit_count() if count % 8 else 0


# Where numpy isn't installed: some tenfold slower


def _decode_plainly(encoding: Mapping[str, Any], width: int, count: int, get: Get) -> bytearray:
    kind, size_bytes = encoding["is"], count * width
    if kind == "bits":
        of = [bytes.fromhex(value) for value in encoding["of"]]
        if [len(value) for value in of] != [width, width]:
            raise ValueError(f"elements {encoding['of']!r}")
        return bytearray(_spread(_exactly(get, encoding["bits"], -(-count // 8)), *of)[:size_bytes])
    bits = _exactly(get, encoding["bits"], -(-count // 8))
    flags, signs = _spread(bits, b"\0", b"\1")[:count], encoding.get("signs")
    if kind == "masked":
        base = encoding["base"]
        if isinstance(base, str):
            from_base: Any = _exactly(get, base, size_bytes)
        elif base["is"] == "sparse" and base["width"] == width:
            from_base = _decode_plainly(base, width, count, get)
        else:
            raise ValueError(f"base {base!r}")
        zero = b"\0" * (width - 1) + (b"\x80" if signs == "base" else b"\0")
        kept = _spread(bits, zero, b"\xff" * width)[:size_bytes]
        both = int.from_bytes(from_base, "little") & int.from_bytes(kept, "little")
        content = bytearray(both.to_bytes(size_bytes, "little"))
    elif kind == "sparse":
        content, ones = bytearray(size_bytes), sum(flags)
        values = _exactly(get, encoding["values"], ones * width)
        for at, place in zip(range(0, ones * width, width), compress(range(count), flags), strict=True):
            content[place * width : (place + 1) * width] = values[at : at + width]
    else:
        raise ValueError(f"an encoding {kind!r}")
    if signs is not None and signs != "base":
        zeros = [place for place in range(count) if not flags[place]]
        negative = _spread(_exactly(get, signs, -(-len(zeros) // 8)), b"\0", b"\1")[: len(zeros)]
        for place in compress(zeros, negative):
            content[(place + 1) * width - 1] |= 0x80
    return content


def _exactly(get: Get, source: str, size_bytes: int) -> bytes:
    found = bytes(get(source, 0, size_bytes))
    if len(found) != size_bytes:
        raise ValueError(f"{source} has {len(found)} bytes of {size_bytes}")
    return found


def _spread(bits: bytes, zero: bytes, one: bytes) -> bytes:
    """For each bit one of two elements."""
    of = (zero, one)
    eight = [b"".join([of[byte >> place & 1] for place in range(8)]) for byte in range(256)]
    return b"".join([eight[byte] for byte in bits])
