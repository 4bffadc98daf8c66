"""What lies in the memory of an array or tensor, at the speed of memory: to see whether it was changed."""

from __future__ import annotations

import ctypes
import sys
from typing import Any

import xxhash

__all__ = ["memory_digest", "shortened"]

_LONGEST_BYTES = 1 << 16


def memory_digest(value: Any) -> bytes | None:
    """A digest of the elements, the shape and the dtype of a numpy array or a dense tensor on the CPU, of
    exactly these classes; None for anything else.

    Equal digests mean equal values; those of equal values may differ (a NaN has many bits). What can't be
    written is looked at as well: whoever made it so can make it writable again.
    """
    kind = type(value)
    numpy: Any = sys.modules.get("numpy")
    if numpy is not None and kind is getattr(numpy, "ndarray", None):
        return None if value.dtype.hasobject or value.dtype.kind == "T" else _of_array(numpy, value)
    torch: Any = sys.modules.get("torch")
    if torch is not None and (
        kind is getattr(torch, "Tensor", None) or kind is getattr(torch.nn, "Parameter", None)
    ):
        is_plain = value.layout is torch.strided and not (value.is_nested or value.is_quantized)
        return _of_tensor(value) if is_plain and value.device.type == "cpu" else None
    return None


def shortened(encoded: bytes) -> bytes:
    """``encoded``, or its digest where it is long."""
    return encoded if len(encoded) <= _LONGEST_BYTES else b"long" + xxhash.xxh3_128_digest(encoded)


def _of_array(numpy: Any, array: Any) -> bytes:
    said = f"{array.shape} {array.dtype!r}".encode()
    if array.size == 0 or array.itemsize == 0:
        return said
    plain = array if array.flags.c_contiguous else numpy.ascontiguousarray(array)
    return said + bytes(xxhash.xxh3_128_digest(plain.reshape(-1).view("u1")))


def _of_tensor(tensor: Any) -> bytes | None:
    said = f"{tuple(tensor.shape)} {tensor.dtype}".encode()
    plain = tensor.detach().resolve_conj().resolve_neg().contiguous()
    size = plain.numel() * plain.element_size()
    if size == 0:
        return said
    if plain.data_ptr() == 0:
        return None  # its memory was given back
    held = (ctypes.c_char * size).from_address(plain.data_ptr())
    return said + bytes(xxhash.xxh3_128_digest(held))
