"""A buffer: a named piece of memory that a state holds, and the digest of what is in it."""

from __future__ import annotations

import ctypes
import math
import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal

from ..identity.key import digest

if TYPE_CHECKING:
    import torch

__all__ = ["DTYPE_BYTES", "MEMORY", "WORTH_MAPPING_BYTES", "Buffer"]

WORTH_MAPPING_BYTES = 64 * 1024
"""Less than this is read, and copied, sooner than mapped."""

# A view of any length is cut from one of these: making a type for each length costs forty times as much.
MEMORY: Any = ctypes.c_ubyte * min(sys.maxsize, 1 << 46)

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
    elements or bytes. ``is_sole`` says that nothing else was found to hold the memory. ``holds`` names the
    type of the elements where ``dtype`` can't: ``complex128`` in bytes that say ``U8``.
    """

    __slots__ = (
        "_checking", "_digest", "device", "dtype", "holds", "is_sole", "kind", "memory", "name", "shape",
        "size_bytes",
    )  # fmt: skip

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
        self.holds = ""
        self.is_sole = False
        self._digest: str | None = None
        self._checking: Callable[[Buffer], None] | None = None

    @classmethod
    def of_entry(cls, entry: Mapping[str, Any], memory: Any = b"") -> Buffer:
        """The buffer that a table describes so."""
        buffer = cls(
            entry["name"], entry["dtype"], tuple(entry["shape"]), entry["size"], "cpu", entry["kind"], memory
        )
        holds = entry.get("holds")
        buffer.holds = holds if isinstance(holds, str) else ""
        return buffer

    def expect(self, said: str, checking: Callable[[Buffer], None] | None = None) -> None:
        """Take ``said`` for the digest. With ``checking``, that is called with the buffer before anybody sees
        its bytes, and raises when they are others."""
        self._digest, self._checking = said, checking

    def check(self) -> None:
        """Compare the bytes with their digest, if that is still to be done; DamagedError when they are
        others."""
        checking = self._checking
        if checking is not None:
            checking(self)
            self._checking = None

    @property
    def is_unchecked(self) -> bool:
        """Whether the bytes are still to be compared with their digest."""
        return self._checking is not None

    @property
    def digest(self) -> str:
        """xxh3-128 over dtype, shape and bytes; taken once, when it is first asked for."""
        if self._digest is None:
            self._digest = self.digest_of(self.view())
        return self._digest

    def digest_seen(self, view: memoryview) -> str:
        """The digest, of which ``view`` are the bytes, so that they needn't be looked for."""
        if self._digest is None:
            self._digest = self.digest_of(view)
        return self._digest

    def digest_of(self, content: memoryview) -> str:
        """What the digest is if the buffer's bytes are these."""
        shape = ",".join(map(str, self.shape))
        return digest(f"{self.dtype}[{shape}]".encode(), content)

    def view(self) -> memoryview:
        """The bytes, without copying what the CPU can reach; what another device holds is copied from
        there."""
        if self._checking is not None:
            self.check()
        return self.raw()

    def raw(self) -> memoryview:
        """The same, whether they were checked or not."""
        memory = self.memory
        if isinstance(memory, bytes | bytearray | memoryview):
            return memoryview(memory).cast("B") if memory else memoryview(b"")
        if memory.device.type != "cpu":
            memory = memory.cpu()
        if not self.size_bytes:
            return memoryview(b"")
        bytes_there = MEMORY.from_address(memory.data_ptr())
        bytes_there._storage = memory  # the view keeps the storage alive
        return memoryview(bytes_there).cast("B")[: self.size_bytes]

    def __repr__(self) -> str:
        return f"<Buffer {self.name} {self.dtype} {list(self.shape)} on {self.device}>"
