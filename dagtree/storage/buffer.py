"""A buffer: a named piece of memory that a state holds, and the digest of what is in it."""

from __future__ import annotations

import ctypes
import math
from typing import TYPE_CHECKING, Any, Literal

from ..identity.key import digest

if TYPE_CHECKING:
    import torch

__all__ = ["DTYPE_BYTES", "Buffer"]

DTYPE_BYTES = {
    "BOOL": 1,
    "U8": 1,
    "I8": 1,
    "F8_E4M3": 1,
    "F8_E5M2": 1,
    "U16": 2,
    "I16": 2,
    "F16": 2,
    "BF16": 2,
    "U32": 4,
    "I32": 4,
    "F32": 4,
    "U64": 8,
    "I64": 8,
    "F64": 8,
    "C64": 8,
}
"""How many bytes an element has, by the names that safetensors gives to types."""


class Buffer:
    """A piece of a state's memory under the name by which the state knows it.

    ``memory`` is live (a torch storage, an array's memory) or what was read; it isn't copied. ``shape`` and
    ``dtype`` are those of the tensor that it holds, in C order; where no such tensor is known, of a row of
    elements or bytes.
    """

    __slots__ = ("_digest", "device", "dtype", "kind", "memory", "name", "shape", "size_bytes")

    def __init__(
        self,
        name: str,
        dtype: str,
        shape: tuple[int, ...],
        size_bytes: int,
        device: str,
        kind: Literal["torch", "numpy", "raw"],
        memory: Any,
    ) -> None:
        if DTYPE_BYTES.get(dtype, 0) * math.prod(shape) != size_bytes:
            dtype, shape = "U8", (size_bytes,)
        self.name = name
        self.dtype = dtype
        self.shape = shape
        self.size_bytes = size_bytes
        self.device = device
        self.kind = kind
        self.memory: memoryview | bytearray | torch.UntypedStorage = memory
        self._digest: str | None = None

    @property
    def digest(self) -> str:
        """xxh3-128 over dtype, shape and bytes; taken once, when it is first asked for."""
        if self._digest is None:
            self._digest = self.digest_of(self.view())
        return self._digest

    def digest_of(self, content: memoryview) -> str:
        """What the digest is if the buffer's bytes are these."""
        shape = ",".join(map(str, self.shape))
        return digest(f"{self.dtype}[{shape}]".encode(), content)

    def view(self) -> memoryview:
        """The bytes, without copying what the CPU can reach; what another device holds is copied from
        there."""
        memory = self.memory
        if isinstance(memory, bytes | bytearray | memoryview):
            return memoryview(memory).cast("B") if memory else memoryview(b"")
        if memory.device.type != "cpu":
            memory = memory.cpu()
        if not self.size_bytes:
            return memoryview(b"")
        bytes_there = (ctypes.c_ubyte * self.size_bytes).from_address(memory.data_ptr())
        bytes_there._storage = memory  # type: ignore[attr-defined]  # the view keeps the storage alive
        return memoryview(bytes_there).cast("B")

    def __repr__(self) -> str:
        return f"<Buffer {self.name} {self.dtype} {list(self.shape)} on {self.device}>"
