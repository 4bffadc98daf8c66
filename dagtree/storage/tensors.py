"""A node's tensors by name, without unpickling anything and without torch where there is none."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from .buffer import Buffer

__all__ = ["TensorFacts", "Tensors"]

# numpy's names for the types of safetensors; where numpy has none, an integer of that width shows the bits.
_NUMPY = {
    "BOOL": "bool", "U8": "u1", "I8": "i1", "U16": "<u2", "I16": "<i2", "F16": "<f2", "U32": "<u4",
    "I32": "<i4", "F32": "<f4", "U64": "<u8", "I64": "<i8", "F64": "<f8", "C64": "<c8",
    "BF16": "<u2", "F8_E4M3": "u1", "F8_E5M2": "u1",
}  # fmt: skip
_TORCH = {
    "BOOL": "bool", "U8": "uint8", "I8": "int8", "U16": "uint16", "I16": "int16", "F16": "float16",
    "BF16": "bfloat16", "U32": "uint32", "I32": "int32", "F32": "float32", "U64": "uint64", "I64": "int64",
    "F64": "float64", "C64": "complex64", "F8_E4M3": "float8_e4m3fn", "F8_E5M2": "float8_e5m2",
}  # fmt: skip
_HELD = {"complex128": "<c16"}


class TensorFacts(NamedTuple):
    """What is known of a tensor without reading it. ``dtype`` is safetensors' name of the type (``F32``), or,
    for types that it has no name for, torch's or numpy's. Equal digests say equal type, shape and bytes."""

    dtype: str
    shape: tuple[int, ...]
    size_bytes: int
    digest: str


class Tensors(Mapping[str, Any]):
    """Name → tensor, or array for what numpy held; each is made, and checked, when it is asked for.

    They lie in memory of their own: writing to one changes no file. Large ones are mapped, so that they cost
    nothing before they are touched, and can't be resized. Where torch can't be imported, tensors are numpy
    arrays; types that numpy doesn't have (bfloat16, float8) show their bits as unsigned integers then.
    """

    def __init__(self, buffers: tuple[Buffer, ...]) -> None:
        self._buffers = {buffer.name: buffer for buffer in buffers if buffer.kind != "raw"}
        self._made: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        if name not in self._made:
            buffer = self._buffers[name]
            torch = _find_torch() if buffer.kind == "torch" else None
            self._made[name] = _array(buffer) if torch is None else _tensor(torch, buffer)
        return self._made[name]

    def facts(self, name: str) -> TensorFacts:
        """Type, shape, size and digest, from the record: nothing is read."""
        buffer = self._buffers[name]
        dtype = _held(buffer)
        shape = buffer.shape if dtype is None else (buffer.size_bytes // dtype.itemsize,)
        return TensorFacts(buffer.holds or buffer.dtype, shape, buffer.size_bytes, buffer.digest)

    def numbers(self, name: str) -> Any | None:
        """The elements as a numpy array of numbers, without torch: bfloat16 and float8 as float32. None where
        the bytes aren't numbers by themselves (quantized types, texts, dates, structures)."""
        buffer = self._buffers[name]
        if not buffer.holds:
            return _decoded(_array(buffer), buffer.dtype)
        import numpy

        dtype = _held(buffer)
        return None if dtype is None else numpy.frombuffer(buffer.view(), dtype=dtype)

    def __iter__(self) -> Iterator[str]:
        return iter(self._buffers)

    def __contains__(self, name: object) -> bool:
        return name in self._buffers  # without making it, which reads it

    def __len__(self) -> int:
        return len(self._buffers)

    def __repr__(self) -> str:
        shown = ", ".join(
            f"{buffer.name}: {buffer.dtype} {list(buffer.shape)}"
            for buffer in list(self._buffers.values())[:8]
        )
        more = f", … {len(self) - 8} more" if len(self) > 8 else ""
        return f"<Tensors {shown}{more}>"


def _find_torch() -> Any | None:
    """torch; None where it isn't installed, can't be imported, or is kept from being."""
    try:
        import torch
    except (ImportError, OSError):  # OSError: a library of its own is missing
        return None
    return torch


def _tensor(torch: Any, buffer: Buffer) -> Any:
    dtype = getattr(torch, _TORCH[buffer.dtype])
    if not buffer.size_bytes:
        return torch.empty(buffer.shape, dtype=dtype)
    return torch.frombuffer(buffer.view(), dtype=torch.uint8).view(dtype).reshape(buffer.shape)


def _array(buffer: Buffer) -> Any:
    import numpy

    return numpy.frombuffer(buffer.view(), dtype=_NUMPY[buffer.dtype]).reshape(buffer.shape)


def _held(buffer: Buffer) -> Any | None:
    """numpy's type of numbers for what safetensors has no name for; None where there is none."""
    if not buffer.holds:
        return None
    import numpy

    try:
        dtype = numpy.dtype(_HELD.get(buffer.holds, buffer.holds))
    except (TypeError, ValueError, SyntaxError):
        return None
    fits = dtype.kind in "biufc" and dtype.itemsize and buffer.size_bytes % dtype.itemsize == 0
    return dtype if fits else None


def _decoded(array: Any, dtype: str) -> Any:
    """Types that numpy lacks, as float32, exactly."""
    import numpy

    if dtype == "BF16":
        return (array.astype("<u4") << 16).view("<f4")
    if dtype == "F8_E5M2":
        return (array.astype("<u2") << 8).view("<f2").astype("<f4")
    if dtype == "F8_E4M3":
        return numpy.array([_e4m3(bits) for bits in range(256)], dtype="<f4")[array]
    return array


def _e4m3(bits: int) -> float:
    """Of the eight bits: sign, exponent (4 bits, bias 7), mantissa (3 bits); no infinities, all ones is NaN.

    Source: Micikevicius et al., "FP8 formats for deep learning", 2022.
    """
    exponent, mantissa = bits >> 3 & 15, bits & 7
    if exponent == 15 and mantissa == 7:
        return float("nan")
    size = mantissa / 8 * 2**-6 if not exponent else (1 + mantissa / 8) * 2.0 ** (exponent - 7)
    return -size if bits & 128 else size
