"""How a state's content is taken apart: into a skeleton (a pickle) and the buffers that the pickle doesn't
hold.

Storages and arrays are told apart by the memory that they have, so that whatever shares memory in the state
shares a buffer here.
"""

from __future__ import annotations

import io
import pickle
import sys
from collections.abc import Callable, Mapping
from types import FunctionType
from typing import Any

import cloudpickle

from . import rebuild
from .buffer import DTYPE_BYTES, Buffer
from .scripts import PYTHON, class_code, copy_of, is_of_script, with_cache

__all__ = ["CODE_MARK", "StatePickler", "Unpicklable", "take_apart"]

CODE_MARK = b"code for "
_PARAMETRIZE = "torch.nn.utils.parametrize"

_TORCH_DTYPES = {
    "float64": "F64",
    "float32": "F32",
    "float16": "F16",
    "bfloat16": "BF16",
    "complex64": "C64",
    "int64": "I64",
    "int32": "I32",
    "int16": "I16",
    "int8": "I8",
    "bool": "BOOL",
    "uint64": "U64",
    "uint32": "U32",
    "uint16": "U16",
    "uint8": "U8",
    "float8_e4m3fn": "F8_E4M3",
    "float8_e5m2": "F8_E5M2",
}
_NUMPY_DTYPES = {
    "<f8": "F64",
    "<f4": "F32",
    "<f2": "F16",
    "<c8": "C64",
    "<i8": "I64",
    "<i4": "I32",
    "<i2": "I16",
    "|i1": "I8",
    "|b1": "BOOL",
    "<u8": "U64",
    "<u4": "U32",
    "<u2": "U16",
    "|u1": "U8",
}
_TYPED = frozenset(
    f"torch.{name}"
    for name in ("float64", "float32", "float16", "bfloat16", "int64", "int32", "int16", "int8", "bool")
)


def take_apart(
    content: Mapping[str, object], pickler: Callable[[io.BytesIO, Any], StatePickler] | None = None
) -> tuple[bytes, tuple[Buffer, ...]]:
    """The skeleton and the buffers of all attributes. What can't be pickled raises `Unpicklable`.

    ``pickler`` makes what does it, of the file to write to and the pass that it is for, once for each pass.
    """
    pickler = pickler or StatePickler
    taking = _Taking(content, frozenset(), pickler)
    shared = frozenset(owner for owner, arrays in taking.arrays_of.items() if len(arrays) > 1)
    if shared:  # known only now; arrays that share memory must be taken as views of what they share
        taking = _Taking(content, shared, pickler)
    return taking.skeleton, tuple(taking.buffers)


class Unpicklable(Exception):
    """The attribute that could not be taken apart; the cause says why."""

    def __init__(self, attribute: str) -> None:
        super().__init__(attribute)
        self.attribute = attribute


class _Taking:
    """One pass over a state's content."""

    def __init__(
        self,
        content: Mapping[str, object],
        shared: frozenset[int],
        make_pickler: Callable[[io.BytesIO, _Taking], StatePickler],
    ) -> None:
        self.buffers: list[Buffer] = []
        self.has_code = False
        self.arrays_of: dict[int, dict[int, Any]] = {}
        self._shared = shared
        self._attribute = ""
        self._unnamed: dict[str, int] = {}
        self._names: dict[int, str] = {}
        self._taken: set[str] = set()
        self._storages: dict[int, _StoredOnce] = {}
        self._views: dict[int, Any] = {}  # tensors by storage, such that they tell its type and shape
        self._filled: set[int] = set()  # the storages that theirs fills
        self._placed: dict[int, tuple[pickle.PickleBuffer, Buffer]] = {}
        self._alive: list[Any] = []  # ids below are those of objects that live as long as this pass
        self.torch: Any = sys.modules.get("torch")
        self.numpy: Any = sys.modules.get("numpy")
        if not hasattr(self.torch, "UntypedStorage"):
            self.torch = None
        else:
            self._plain_dtypes = {
                found: said
                for name, said in _TORCH_DTYPES.items()
                if (found := getattr(self.torch, name, None)) is not None
            }
            self._strided = getattr(self.torch, "strided", None)
        if not hasattr(self.numpy, "ndarray"):
            self.numpy = None
        for attribute, value in content.items():
            self._name(value, attribute, 0)
        file = io.BytesIO()
        pickler = make_pickler(file, self)
        pickler.dump(tuple(content))
        for attribute, value in content.items():
            self._attribute = attribute
            try:
                pickler.dump(value)
            except MemoryError:
                raise
            except Exception as error:
                raise Unpicklable(attribute) from error
        # Code by value is for one Python alone; another would not refuse it, but crash.
        self.skeleton = (CODE_MARK + PYTHON if self.has_code else b"") + file.getvalue()

    def _name(self, value: Any, name: str, depth: int) -> None:
        """Finds the names by which a reader knows the tensors and arrays in an attribute."""
        torch, numpy = self.torch, self.numpy
        if torch is not None and isinstance(value, torch.nn.Module):
            for named in (value.named_parameters(name, remove_duplicate=False), value.named_buffers(name)):
                for path, tensor in named:
                    self._name_tensor(tensor, path)
            for path, module in value.named_modules(prefix=name):
                for attribute, held in vars(module).items():
                    if isinstance(held, torch.Tensor):  # as what `torch.nn.utils.prune` makes by its masks
                        self._name_tensor(held, f"{path}.{attribute}")
        elif torch is not None and isinstance(value, torch.Tensor):
            self._name_tensor(value, name)
        elif numpy is not None and type(value) is numpy.ndarray:
            self._names.setdefault(id(value), name)
        elif depth < 3 and type(value) is dict and len(value) < 10_000:
            for part, inner in value.items():
                if type(part) is str or type(part) is int:
                    self._name(inner, f"{name}.{part}", depth + 1)
        elif depth < 3 and type(value) in (list, tuple) and len(value) < 10_000:
            for index, inner in enumerate(value):
                self._name(inner, f"{name}.{index}", depth + 1)

    def _name_tensor(self, tensor: Any, name: str) -> None:
        storage = self._storage_of(tensor)
        if storage is not None:
            self._names.setdefault(storage._cdata, name)
            self._see(tensor, storage)

    def _storage_of(self, tensor: Any) -> Any:
        try:
            storage = None if tensor.is_nested else tensor.untyped_storage()
        except (NotImplementedError, RuntimeError):  # sparse and other tensors that consist of tensors
            return None
        if storage is None:
            return None
        self._alive.append(storage)
        return storage

    def _see(self, tensor: Any, storage: Any) -> None:
        """Remembers of a storage's tensors the first that fills it in C order, else the first."""
        at = storage._cdata
        if at not in self._filled:
            if self._fills(tensor, storage):
                self._filled.add(at)
                self._views[at] = tensor
            else:
                self._views.setdefault(at, tensor)

    @staticmethod
    def _fills(tensor: Any, storage: Any) -> bool:
        try:
            return bool(
                tensor.is_contiguous()
                and tensor.storage_offset() == 0
                and tensor.numel() * tensor.element_size() == storage.nbytes()
            )
        except (NotImplementedError, RuntimeError):
            return False

    def _new_name(self, known: str | None) -> str:
        name = known
        if name is None:
            index = self._unnamed.get(self._attribute, 0)
            self._unnamed[self._attribute] = index + 1
            name = f"{self._attribute}.{index}"
        while name in self._taken or name == "__metadata__":
            name += "'"
        self._taken.add(name)
        return name

    def place(self, buffer: Buffer) -> pickle.PickleBuffer:
        """What stands for the buffer in the pickle."""
        place = pickle.PickleBuffer(bytearray(1))
        self._placed[id(place)] = (place, buffer)
        return place

    def take_buffer(self, place: pickle.PickleBuffer) -> bool:
        """Called by pickle for each buffer, in the order in which it will ask for them again."""
        ours = self._placed.get(id(place))
        if ours is not None:
            self.buffers.append(ours[1])
            return False
        memory = place.raw()
        name = self._new_name(None)
        self.buffers.append(Buffer(name, "U8", (memory.nbytes,), memory.nbytes, "cpu", "raw", memory))
        return False

    def reduce_tensor(self, tensor: Any) -> Any:
        storage = self._storage_of(tensor)
        if storage is None:
            return NotImplemented
        self._see(tensor, storage)
        if type(tensor) is self.torch.Tensor and self._is_plain(tensor):
            return rebuild.tensor, (
                self._stored_once(storage),
                tensor.dtype,
                tensor.storage_offset(),
                tuple(tensor.shape),
                tensor.stride(),
                tensor.requires_grad,
            )
        if type(tensor) is not self.torch.Tensor or str(tensor.dtype) in _TYPED:
            return NotImplemented
        rebuilt, arguments, *rest = tensor.__reduce_ex__(5)
        if arguments and isinstance(arguments[0], self.torch.UntypedStorage):
            # For newer types torch hands over an untyped storage, and expects a typed one back.
            typed = self.torch.TypedStorage(wrap_storage=arguments[0], dtype=self.torch.uint8, _internal=True)
            arguments = (typed, *arguments[1:])
        return (rebuilt, arguments, *rest)

    def _is_plain(self, tensor: Any) -> bool:
        """Whether nothing but its storage, shape and type makes the tensor."""
        return (
            tensor.dtype in self._plain_dtypes
            and tensor.layout is self._strided
            and (tensor.is_cpu or tensor.is_cuda)
            and not (tensor._backward_hooks or tensor.is_conj() or tensor.is_neg() or tensor.__dict__)
        )

    def reduce_typed_storage(self, typed: Any) -> tuple[Any, ...]:
        return rebuild.typed_storage, (self._stored_once(typed._untyped_storage), typed.dtype)

    def reduce_storage(self, storage: Any) -> tuple[Any, ...]:
        return rebuild.same, (self._stored_once(storage),)

    def _stored_once(self, storage: Any) -> _StoredOnce:
        stored = self._storages.get(storage._cdata)
        if stored is None:
            stored = self._storages[storage._cdata] = _StoredOnce(storage)
        return stored

    def reduce_stored(self, stored: _StoredOnce) -> tuple[Any, ...]:
        storage = stored.storage
        size_bytes, device, at = storage.nbytes(), str(storage.device), storage._cdata
        tensor = self._views.get(at)
        dtype = self._plain_dtypes.get(tensor.dtype) if tensor is not None else None
        if tensor is not None and at in self._filled:
            shape = tuple(tensor.shape)
        else:
            shape = (size_bytes // DTYPE_BYTES[dtype or "U8"],)
        name = self._new_name(self._names.get(at))
        buffer = Buffer(name, dtype or "U8", shape, size_bytes, device, "torch", storage)
        if tensor is not None and dtype is None:
            buffer.holds = str(tensor.dtype).removeprefix("torch.")
        return rebuild.storage, (self.place(buffer), device)

    def reduce_parametrized(self, module: Any) -> tuple[Any, ...]:
        """A module whose class torch made for its parametrizations, which torch itself refuses to pickle."""
        original: Any = type(module).__bases__[0]
        names = tuple(module.parametrizations)
        return rebuild.parametrized, (original, names), original.__getstate__(module)

    def reduce_array(self, array: Any) -> Any:
        """An array that holds no objects, over a buffer; other arrays as numpy pickles them."""
        if array.dtype.hasobject or not array.dtype.itemsize:
            return NotImplemented
        owner = self._owner(array)
        self._alive.append(array)
        self.arrays_of.setdefault(id(owner), {})[id(array)] = owner
        writable = bool(array.flags.writeable)
        if id(owner) in self._shared and array is not owner and array.size:
            offset = array.__array_interface__["data"][0] - owner.__array_interface__["data"][0]
            return rebuild.view, (owner, array.dtype, array.shape, offset, array.strides, writable)
        name = self._new_name(self._names.get(id(array)))
        flags = array.flags
        order = "F" if flags.f_contiguous and not flags.c_contiguous else "C"
        if not flags.forc:
            array = array.copy(order="C")
        memory = rebuild.flatten(array)
        dtype = _NUMPY_DTYPES.get(array.dtype.str, "U8")
        shape = array.shape if order == "C" else (array.size,)
        buffer = Buffer(name, dtype, shape, memory.nbytes, "cpu", "numpy", memoryview(memory))
        if array.dtype.str not in _NUMPY_DTYPES:
            buffer.holds = array.dtype.str
        return rebuild.array, (self.place(buffer), array.dtype, array.shape, order, writable)

    def _owner(self, array: Any) -> Any:
        """The outermost array whose memory this one is a part of, if that can be kept whole."""
        owner = array
        while type(owner.base) is type(array):
            owner = owner.base
        return owner if owner.flags.forc and not owner.dtype.hasobject and owner.dtype.itemsize else array


class _StoredOnce:
    """Stands for a storage in the pickle, once however many tensors use it."""

    __slots__ = ("storage",)

    def __init__(self, storage: Any) -> None:
        self.storage = storage


class StatePickler(cloudpickle.Pickler):  # type: ignore[misc]  # cloudpickle is not typed
    """Pickles a state, its tensors and arrays as the buffers of a pass."""

    def __init__(self, file: io.BytesIO, taking: _Taking) -> None:
        super().__init__(file, protocol=5, buffer_callback=taking.take_buffer)
        self._taking = taking
        torch, numpy = taking.torch, taking.numpy
        self._array: Any = numpy.ndarray if numpy is not None else _StoredOnce
        self._tensor: Any = torch.Tensor if torch is not None else ()
        self._typed: Any = torch.TypedStorage if torch is not None else ()
        self._untyped: Any = torch.UntypedStorage if torch is not None else ()

    def reducer_override(self, value: Any) -> Any:
        kind = type(value)
        if kind is _StoredOnce:
            return self._taking.reduce_stored(value)
        if kind is self._tensor:
            return self._taking.reduce_tensor(value)
        if is_of_script(value):
            code = class_code(value)
            if code:
                return rebuild.script_class, (value.__qualname__, code, copy_of(value, code))
        if kind.__module__ == _PARAMETRIZE and kind.__name__.startswith("Parametrized"):
            return self._taking.reduce_parametrized(value)
        if kind is self._array:
            return self._taking.reduce_array(value)
        if isinstance(value, self._tensor):
            return self._taking.reduce_tensor(value)
        elif isinstance(value, self._typed):
            return self._taking.reduce_typed_storage(value)
        elif isinstance(value, self._untyped):
            return self._taking.reduce_storage(value)
        reduced = with_cache(value)
        if reduced is NotImplemented:
            reduced = super().reducer_override(value)
        if reduced is not NotImplemented and kind is FunctionType:
            self._taking.has_code = True
        return reduced
