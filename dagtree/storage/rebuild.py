"""The functions that skeletons call to rebuild tensors and arrays over their buffers.

Skeletons on disk name these functions: they are a file format. Never rename one or change what its
arguments mean.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from .buffer import Buffer
from .scripts import class_of_script

if TYPE_CHECKING:
    import numpy
    import torch

__all__ = [
    "Lent",
    "array",
    "flatten",
    "parametrized",
    "same",
    "script_class",
    "storage",
    "tensor",
    "typed_storage",
    "view",
]


class Lent:
    """A buffer on its way into a state that is being rebuilt: its own memory, or a copy.

    What was read is copied in any case, into memory that torch and numpy can resize.
    """

    __slots__ = ("buffer", "copy")

    def __init__(self, buffer: Buffer, copy: bool) -> None:
        self.buffer = buffer
        self.copy = copy

    @property
    def is_copied(self) -> bool:
        return self.copy or type(self.buffer.memory) is bytearray


def script_class(qualname: str, code: str, copy: bytes) -> type:
    """A class of the script that runs, or the copy that was kept of it."""
    return class_of_script(qualname, code, copy)


def storage(lent: Lent, device: str) -> torch.UntypedStorage:
    """A torch storage over the buffer, on its device, or on the CPU where there is no such device."""
    import torch

    memory: Any = lent.buffer.memory
    if isinstance(memory, torch.UntypedStorage) and (not lent.copy or memory.device.type != "cpu"):
        live: torch.UntypedStorage = memory.clone() if lent.copy else memory
        return live
    size_bytes = lent.buffer.size_bytes
    content = lent.buffer.view()
    if lent.is_copied or not size_bytes or content.readonly:
        opened: Any = torch.UntypedStorage(size_bytes)
        if size_bytes:
            Buffer("", "U8", (size_bytes,), size_bytes, "cpu", "torch", opened).view()[:] = content
    else:
        opened = torch.frombuffer(content, dtype=torch.uint8).untyped_storage()
    if device != "cpu":
        # The errors are how torch says that this machine has no such device.
        with contextlib.suppress(RuntimeError, AssertionError, AttributeError, NotImplementedError):
            opened = opened.to(device=torch.device(device))
    rebuilt: torch.UntypedStorage = opened
    return rebuilt


def tensor(
    storage: torch.UntypedStorage,
    dtype: torch.dtype,
    offset: int,
    shape: tuple[int, ...],
    strides: tuple[int, ...],
    requires_grad: bool,
) -> torch.Tensor:
    """A plain tensor over a storage; torch's own way makes and unmakes a typed storage for each."""
    import torch

    rebuilt = torch.empty(0, dtype=dtype, device=storage.device)
    rebuilt.set_(storage, offset, shape, strides)
    if requires_grad:
        rebuilt.requires_grad_()
    return rebuilt


def typed_storage(untyped: torch.UntypedStorage, dtype: torch.dtype) -> torch.TypedStorage:
    import torch

    make: Any = torch.TypedStorage
    typed: torch.TypedStorage = make(wrap_storage=untyped, dtype=dtype, _internal=True)
    return typed


def parametrized(cls: type[torch.nn.Module], names: tuple[str, ...]) -> Any:
    """A module of a class that torch makes for the parametrizations of these tensors; its state follows."""
    from torch.nn.utils import parametrize

    make: Any = parametrize
    module = cls.__new__(cls)
    make._inject_new_class(module)  # what `register_parametrization` does before it has a state to change
    for name in names:
        make._inject_property(module, name)
    return module


def array(lent: Lent, dtype: numpy.dtype[Any], shape: tuple[int, ...], order: str, writable: bool) -> Any:
    """A numpy array over the buffer."""
    import numpy

    content = lent.buffer.view()
    if not lent.is_copied and (owner := _whole(content, dtype, shape, order, writable)) is not None:
        return owner
    if lent.is_copied or (writable and content.readonly):
        rebuilt = numpy.empty(shape, dtype, order="F" if order == "F" else "C")
        flatten(rebuilt)[:] = numpy.frombuffer(content, numpy.uint8)
    else:
        rebuilt = numpy.ndarray(shape, dtype, buffer=content, order="F" if order == "F" else "C")
    if not writable:
        rebuilt.flags.writeable = False
    return rebuilt


def _whole(content: memoryview, dtype: Any, shape: tuple[int, ...], order: str, writable: bool) -> Any:
    """The array itself whose memory this is, if there is one that is all that is asked for; else None."""
    import numpy

    owner = getattr(content.obj, "base", None)
    if type(owner) is not numpy.ndarray or type(owner.base) is numpy.ndarray:
        return None
    asked = owner.dtype == dtype and owner.shape == shape and owner.flags.writeable == writable
    in_order = owner.flags.f_contiguous if order == "F" else owner.flags.c_contiguous
    return owner if asked and in_order else None


def view(
    owner: Any,
    dtype: numpy.dtype[Any],
    shape: tuple[int, ...],
    offset: int,
    strides: tuple[int, ...],
    writable: bool,
) -> Any:
    """A numpy array that shares the memory of another."""
    import numpy

    shared = numpy.ndarray(shape, dtype, buffer=flatten(owner), offset=offset, strides=strides)
    if not writable:
        shared.flags.writeable = False
    return shared


def flatten(contiguous: Any) -> Any:
    """The array's memory as bytes in one row, not copied."""
    import numpy

    rows = contiguous if contiguous.flags.c_contiguous else contiguous.T
    return rows.reshape(-1).view(numpy.uint8)


def same(value: Any) -> Any:
    return value
