"""A node's tensors by name, without unpickling anything and without torch where there is none."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator, Mapping
from typing import Any

from .buffer import Buffer

__all__ = ["Tensors"]

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


class Tensors(Mapping[str, Any]):
    """Name → tensor, or array for what numpy held; each is made, and checked, when it is asked for.

    They lie in memory of their own: writing to one changes no file. Large ones are mapped, so that they cost
    nothing before they are touched, and can't be resized. Where torch isn't installed, tensors are numpy
    arrays; types that numpy doesn't have (bfloat16, float8) show their bits as unsigned integers then.
    """

    def __init__(self, buffers: tuple[Buffer, ...]) -> None:
        self._buffers = {buffer.name: buffer for buffer in buffers if buffer.kind != "raw"}
        self._made: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        if name not in self._made:
            buffer = self._buffers[name]
            as_tensor = buffer.kind == "torch" and _has_torch()
            self._made[name] = _tensor(buffer) if as_tensor else _array(buffer)
        return self._made[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._buffers)

    def __len__(self) -> int:
        return len(self._buffers)

    def __repr__(self) -> str:
        shown = ", ".join(
            f"{buffer.name}: {buffer.dtype} {list(buffer.shape)}"
            for buffer in list(self._buffers.values())[:8]
        )
        more = f", … {len(self) - 8} more" if len(self) > 8 else ""
        return f"<Tensors {shown}{more}>"


def _has_torch() -> bool:
    return "torch" in sys.modules or importlib.util.find_spec("torch") is not None


def _tensor(buffer: Buffer) -> Any:
    import torch

    dtype = getattr(torch, _TORCH[buffer.dtype])
    if not buffer.size_bytes:
        return torch.empty(buffer.shape, dtype=dtype)
    return torch.frombuffer(buffer.view(), dtype=torch.uint8).view(dtype).reshape(buffer.shape)


def _array(buffer: Buffer) -> Any:
    import numpy

    return numpy.frombuffer(buffer.view(), dtype=_NUMPY[buffer.dtype]).reshape(buffer.shape)
