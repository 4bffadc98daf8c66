"""Encodings of numpy's and torch's values, neither of which is imported here: whoever passes one has
imported it.

Arrays and tensors count by dtype (whatever the byte order), shape and their elements in C order, wherever
they lie. As with floats, all NaN are one value and -0.0 is not 0.0.
"""

from __future__ import annotations

import ctypes
import sys
from typing import Any

from .canonical import CODING, FAMILIES, Refused, counted, elements, encode, encode_at, named
from .memory import memory_digest
from .standard import public_module

__all__ = ["array_bytes"]


def _numpy(value: Any, above: list[object]) -> bytes | None:
    np = sys.modules["numpy"]
    kind = type(value)
    if kind is np.ndarray or kind is np.memmap:
        return named("numpy.ndarray", array_bytes(np, value, above))
    if isinstance(value, np.generic):
        if kind is np.void and value.dtype.names is None:
            return named("numpy.void", encode(bytes(value), above))
        return named("numpy.scalar", array_bytes(np, np.asarray(value), above))
    if isinstance(value, np.dtype):
        return named("numpy.dtype", _dtype(value, above))
    return _found_by_name(value, above)


def _found_by_name(value: Any, above: list[object]) -> bytes | None:
    """A callable of the library's that is what its module holds under its name (``numpy.add``,
    ``numpy.linalg.norm``)."""
    name = getattr(value, "__qualname__", getattr(value, "__name__", None))
    module = getattr(value, "__module__", None) or type(value).__module__
    if not callable(value) or not isinstance(name, str) or not isinstance(module, str):
        return None
    if getattr(sys.modules.get(module), name, None) is not value:
        return None
    return named("function", encode(f"{public_module(module)}.{name}", above))


def _dtype(dtype: Any, above: list[object]) -> bytes:
    if dtype.names is not None:
        fields = [(name, *dtype.fields[name]) for name in dtype.names]
        parts = [
            encode((name, offset, *title), above) + _dtype(field, above)
            for name, field, offset, *title in fields
        ]
        return counted(b"t", parts) + encode((dtype.itemsize, dtype.isalignedstruct), above)
    if dtype.subdtype is not None:
        return _dtype(dtype.subdtype[0], above) + encode(dtype.subdtype[1], above)
    if dtype.type.__module__ not in ("numpy", "builtins"):
        raise Refused(f"the numpy dtype {dtype}, which isn't of numpy's own", "Declare its name (a string).")
    return encode(dtype.str, above) + (_text_options(dtype, above) if dtype.kind == "T" else b"")


def _text_options(dtype: Any, above: list[object]) -> bytes:
    """What a dtype of strings of any length says besides, where that isn't the default."""
    options = [("coerce", False)] if not dtype.coerce else []
    if hasattr(dtype, "na_object"):
        options.append(("na_object", dtype.na_object))
    return encode(tuple(options), above) if options else b""


def array_bytes(np: Any, array: Any, above: list[object]) -> bytes:
    """Shape, dtype and elements of a numpy array."""
    if CODING.is_look and (seen := memory_digest(array)) is not None:
        return encode(seen, above)
    dtype = array.dtype
    shape = encode(tuple(array.shape), above)
    if dtype.names is not None:
        # Field by field: the padding between them holds anything.
        parts = [encode(name, above) + array_bytes(np, array[name], above) for name in dtype.names]
        return shape + counted(b"t", parts)
    if dtype.kind in "OT":
        options = _text_options(dtype, above) if dtype.kind == "T" else b""
        held = elements(array.ravel().tolist(), above, owner=array)
        return shape + encode(dtype.kind, above) + options + counted(b"l", held)
    if dtype.char in "gG":
        raise Refused(
            f"a numpy value of dtype {dtype}, which differs between platforms",
            "Convert it: `.astype('float64')`.",
        )
    if dtype.kind not in "biufcmMSUV" or dtype.type.__module__ != "numpy":
        raise Refused(f"a numpy value of dtype {dtype}", "Convert it to a dtype of numpy's own.")
    little = dtype.newbyteorder("<")
    array = np.array(array, dtype=little, order="C", copy=True)
    if dtype.kind in "fc":
        # The views of one complex number are its two parts, either of which may be NaN.
        real = array.reshape(-1).view(little if dtype.kind == "f" else f"<f{dtype.itemsize // 2}")
        real[np.isnan(real)] = np.nan
    return shape + encode(little.str, above) + encode(array.tobytes(), above)


def _torch(value: Any, above: list[object]) -> bytes | None:
    torch = sys.modules["torch"]
    kind = type(value)
    if kind is torch.dtype or kind is torch.device or kind is torch.layout or kind is torch.memory_format:
        return named(f"torch.{kind.__name__}", encode(str(value), above))
    if kind is torch.Size:
        return named("torch.Size", encode(tuple(value), above))
    if kind is torch.Tensor or kind is torch.nn.Parameter:
        return named(
            "torch.Tensor" if kind is torch.Tensor else "torch.nn.Parameter", _tensor(torch, value, above)
        )
    return _found_by_name(value, above)


def _tensor(torch: Any, tensor: Any, above: list[object]) -> bytes:
    if CODING.is_look and (seen := memory_digest(tensor)) is not None:
        return encode(seen, above)
    for odd, sort, way in (
        (tensor.is_nested, "nested", "list(tensor.unbind())"),
        (tensor.is_quantized, "quantized", "tensor.dequantize()"),
        (tensor.layout is not torch.strided, tensor.layout, "tensor.to_dense()"),
    ):
        if odd:
            raise Refused(
                f"a tensor that isn't dense ({sort}, {tensor.dtype})",
                f"Declare what it is made from, or `{way}`.",
            )
    if tensor.is_meta:
        raise Refused(
            "a tensor on the meta device, which has no elements", "Declare its shape and dtype instead."
        )
    if tensor.numel() and tensor.device.type == "cpu" and tensor.data_ptr() == 0:
        raise Refused("a tensor whose memory was given back", "Declare it before its storage is resized.")
    plain = tensor.detach().resolve_conj().resolve_neg().cpu().contiguous()
    if plain.dtype.is_floating_point or plain.dtype.is_complex:
        real = torch.view_as_real(plain) if plain.dtype.is_complex else plain
        missing = real != real
        if bool(missing.any()):
            real = torch.where(missing, torch.full((), float("nan"), dtype=real.dtype), real)
        plain = real.contiguous()
    size = plain.numel() * plain.element_size()
    content = ctypes.string_at(plain.data_ptr(), size) if size else b""
    return (
        encode(str(tensor.dtype), above)
        + encode_at(tuple(tensor.shape), above, ".shape")
        + encode(content, above)
    )


FAMILIES["numpy"] = _numpy
FAMILIES["torch"] = _torch
