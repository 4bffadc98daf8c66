"""Files of tensors under their names, in the safetensors format, written from where the tensors lie."""

from __future__ import annotations

import json
from collections.abc import Sequence

from .buffer import Buffer

__all__ = ["file_order", "lay_out"]

_ALIGNED_BYTES = 64  # as much as a processor takes at once


def lay_out(buffers: Sequence[Buffer]) -> tuple[bytes, list[int]]:
    """The header of a safetensors file that holds these buffers, and the offset of each in the file.

    The bytes of the buffers follow the header in the order of their offsets, without gaps.
    """
    order = file_order(buffers)
    entries: dict[str, object] = {}
    if any(buffer.kind == "torch" for buffer in buffers):
        entries["__metadata__"] = {"format": "pt"}  # without it, transformers refuses the file
    starts, end = [0] * len(buffers), 0
    for index in order:
        buffer = buffers[index]
        starts[index], end = end, end + buffer.size_bytes
        entries[buffer.name] = {
            "dtype": buffer.dtype,
            "shape": buffer.shape,
            "data_offsets": (starts[index], end),
        }
    header = json.dumps(entries, separators=(",", ":")).encode()
    header += b" " * (-(8 + len(header)) % _ALIGNED_BYTES)
    size_bytes = len(header).to_bytes(8, "little")
    return size_bytes + header, [8 + len(header) + start for start in starts]


def file_order(buffers: Sequence[Buffer]) -> list[int]:
    """Those first whose size is a multiple of the most: each then starts at a multiple of that, whatever its
    elements are, without the gaps that the format forbids."""
    return sorted(range(len(buffers)), key=lambda index: -_evenness(buffers[index].size_bytes))


def _evenness(size_bytes: int) -> int:
    """The greatest power of two that divides it, up to what is worth aligning for."""
    return min(size_bytes & -size_bytes, _ALIGNED_BYTES) if size_bytes else _ALIGNED_BYTES
