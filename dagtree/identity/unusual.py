"""What is in arrays and tensors that are no plain ones, as plain ones: masked, sparse, quantized, subclasses.

As properties they are refused; as constants of the user's module they count.
"""

from __future__ import annotations

import sys
from typing import Any

from .ownership import members_of, mro_of

__all__ = ["array_inside", "masked_inside", "tensor_inside"]


def array_inside(kind: Any, value: Any) -> object:
    """The elements of an array of a subclass of numpy's (a matrix) as a plain array."""
    plain = sys.modules["numpy"].ndarray
    return plain.view(value, plain)


def masked_inside(kind: Any, value: Any) -> object:
    """The elements of a masked array, also those below its mask; the mask and what it is filled with are
    attributes, which count as such in an instance of a subclass."""
    if type(value) is not kind:
        return array_inside(kind, value)
    mask = sys.modules["numpy.ma"].getmaskarray(value)
    filled = kind.__dict__["__dict__"].__get__(value).get("_fill_value")
    return array_inside(kind, value), mask, filled


def tensor_inside(kind: Any, value: Any) -> object:
    """A tensor's elements, with what says how they are kept where they aren't dense; None where a subclass
    computes them."""
    torch: Any = sys.modules["torch"]
    found = next(base for base in mro_of(type(value)) if "__torch_dispatch__" in members_of(base))
    if found not in mro_of(torch.Tensor):
        return None
    with torch._C.DisableTorchFunctionSubclass():
        plain = torch.Tensor.detach(value)
        if type(plain) is not torch.Tensor:
            if plain.layout is not torch.strided:
                return None
            plain = torch.Tensor.as_subclass(plain, torch.Tensor)
    shape = None if plain.is_nested else tuple(plain.shape)
    if plain.is_meta:
        return "meta", str(plain.dtype), shape
    if plain.is_nested:
        return "nested", *plain.unbind()
    if plain.is_quantized:
        return "quantized", str(plain.dtype), *_scales(torch, plain), plain.int_repr()
    if plain.layout is torch.sparse_coo:
        return "sparse", shape, plain.is_coalesced(), plain._indices(), plain._values()
    if plain.layout in (torch.sparse_csr, torch.sparse_bsr):
        return str(plain.layout), shape, plain.crow_indices(), plain.col_indices(), plain.values()
    if plain.layout in (torch.sparse_csc, torch.sparse_bsc):
        return str(plain.layout), shape, plain.ccol_indices(), plain.row_indices(), plain.values()
    return plain if plain.layout is torch.strided else None


def _scales(torch: Any, tensor: Any) -> tuple[object, ...]:
    if tensor.qscheme() in (torch.per_tensor_affine, torch.per_tensor_symmetric):
        return str(tensor.qscheme()), tensor.q_scale(), tensor.q_zero_point()
    scales, zeros = tensor.q_per_channel_scales(), tensor.q_per_channel_zero_points()
    return str(tensor.qscheme()), scales, zeros, tensor.q_per_channel_axis()
