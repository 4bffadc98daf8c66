"""A run in its middle as bytes: everything that goes on from there, whole, so that what goes on is the same.

A state that ends up in a store is what its pickle says. Here nothing may be lost, so what pickles leave out
is kept as well (gradients, an optimizer's hooks), and what can't be kept is refused.
"""

from __future__ import annotations

import functools
import io
import json
import struct
import sys
import threading
import weakref
from collections.abc import Callable, Collection, Iterable, Mapping
from types import CodeType, FunctionType
from typing import Any, NamedTuple

from ..errors import DagtreeError
from ..identity.key import digest
from .buffer import WORTH_MAPPING_BYTES, Buffer
from .payload import Payload
from .pickling import StatePickler, Unpicklable, take_apart
from .store import Store

__all__ = ["Kept", "Snapshot", "Unkeepable", "load_all", "pack", "seal", "take_all", "unpack"]

_MAGIC = b"dagtree safe point 1\n"
_ALIGNED = 64
_DIGEST_BYTES = 32
GRADIENTS = "gradients"
WRAPPED = "_wrapped_by_lr_sched"


class Unkeepable(DagtreeError):
    """Something that would not be the same when it is taken up again; says what."""


class LostGraph(BaseException):
    """What was computed before a safe point is there, how it was computed isn't."""


class Snapshot(NamedTuple):
    """What a file holds: facts in JSON, and the payload."""

    facts: dict[str, Any]
    payload: Payload


def take_all(
    content: dict[str, Any], classes: Mapping[str, type], bound: Collection[CodeType] = ()
) -> Payload:
    """The content taken apart; its buffers are its own memory, not copies.

    ``classes`` are those that are there when it is loaded, by name: they are named, whatever module they are
    of. Functions with code in ``bound`` are refused. Raises Unkeepable.
    """
    gradients: list[tuple[Any, Any]] = []
    names = {id(cls): name for name, cls in classes.items()}
    try:
        skeleton, buffers = take_apart(
            {**content, GRADIENTS: gradients},
            lambda file, taking: _Whole(file, taking, names, bound, gradients),
        )
    except Unpicklable as failed:
        raise Unkeepable(f"{failed.attribute}: {failed.__cause__}") from failed.__cause__
    return Payload(skeleton, buffers)


def load_all(payload: Payload, classes: Mapping[str, type]) -> dict[str, Any]:
    """The content again, with memory of its own."""
    _here.classes = classes
    try:
        content = payload.load()
    finally:
        _here.classes = {}
    for tensor, gradient in content.pop(GRADIENTS):
        tensor.grad = gradient
    return content


_here = threading.local()


def named(name: str) -> type:
    """A class that is there already, in this thread, while something is loaded."""
    found: type = _here.classes[name]
    return found


def computed(tensor: Any) -> Any:
    """The tensor with the same numbers, whose graph is gone: what goes backward through it raises
    LostGraph."""
    import torch

    class Lost(torch.autograd.Function):
        @staticmethod
        def forward(_: Any, values: Any) -> Any:
            return values.view_as(values)

        @staticmethod
        def backward(_: Any, *gradients: Any) -> Any:
            raise LostGraph("it goes backward through what was computed before the safe point")

    with torch.enable_grad():
        return Lost.apply(tensor.requires_grad_())  # type: ignore[no-untyped-call]


def optimizer(cls: Any) -> Any:
    return cls.__new__(cls)


def set_optimizer(made: Any, attributes: dict[str, Any]) -> None:
    """All attributes of an optimizer; torch's own way keeps three of them."""
    vars(made).update(attributes)
    prepare = getattr(made, "_patch_step_function", None)
    if prepare is not None:
        prepare()
    if "step" in attributes:
        made.step = _noting(weakref.ref(made), type(made).step)


def _noting(made: Callable[[], Any], step: Callable[..., Any]) -> Callable[..., Any]:
    """A scheduler of learning rates wraps `step` so, to warn where it is never called."""

    @functools.wraps(step)
    def wrapper(*arguments: Any, **named: Any) -> Any:
        optimizer = made()
        optimizer._opt_called = True
        return step(optimizer, *arguments, **named)

    setattr(wrapper, WRAPPED, True)
    return wrapper


class _Whole(StatePickler):
    """Pickles nothing that would lose something."""

    def __init__(
        self,
        file: io.BytesIO,
        taking: Any,
        names: Mapping[int, str],
        bound: Collection[CodeType],
        gradients: list[tuple[Any, Any]],
    ) -> None:
        super().__init__(file, taking)
        self._names = names
        self._bound = bound
        self._gradients = gradients
        gradients.clear()  # of the pass before
        torch: Any = sys.modules.get("torch")
        optim: Any = getattr(torch, "optim", None)
        self._tensors: Any = torch.Tensor if hasattr(torch, "Tensor") else ()
        self._optimizers: Any = optim.Optimizer if hasattr(optim, "Optimizer") else ()

    def reducer_override(self, value: Any) -> Any:
        if isinstance(value, type):
            name = self._names.get(id(value))
            if name is not None:
                return named, (name,)
        elif type(value) is object:
            raise Unkeepable("an `object()` is told by its identity, and a copy has another")
        elif type(value) is FunctionType:
            if value.__code__ in self._bound:
                raise Unkeepable(
                    f"the function `{value.__name__}` shares a variable with `run` that is set again"
                )
        elif isinstance(value, self._tensors):
            if value.grad_fn is not None:
                return self._reduce_computed(value)
            self._look_at(value)
        elif isinstance(value, self._optimizers):
            attributes = dict(vars(value))
            if "step" in attributes:
                if not hasattr(attributes["step"], WRAPPED):
                    raise Unkeepable("something took the place of an optimizer's `step`")
                attributes["step"] = None  # it is wrapped again
            return optimizer, (type(value),), attributes, None, None, set_optimizer
        return super().reducer_override(value)

    def _reduce_computed(self, tensor: Any) -> Any:
        """A tensor that holds the graph which made it, such as the last batch's loss."""
        base = tensor._base
        if type(tensor) is not self._tensors or (base is not None and base.is_leaf) or tensor.retains_grad:
            raise Unkeepable("a tensor holds the graph that made it: keep `x.detach()`, or `x.item()`")
        self._look_at(tensor)
        return computed, (tensor.detach(),)

    def _look_at(self, tensor: Any) -> None:
        hooks = tensor._backward_hooks or getattr(tensor, "_post_accumulate_grad_hooks", None)
        if hooks:
            raise Unkeepable("a tensor has hooks")
        if tensor.is_leaf and tensor.grad is not None:
            self._gradients.append((tensor, tensor.grad))


# Files


class Kept:
    """The buffers that other nodes keep, by their digests: what a run hasn't changed isn't kept again."""

    def __init__(self, store: Store, keys: Iterable[str]) -> None:
        self._store = store
        self._keys = tuple(keys)
        self._changed: set[str] = set()

    @functools.cached_property
    def _digests(self) -> dict[str, int]:
        found: dict[str, int] = {}
        there = self._store.keys()
        for key in self._keys:
            record = self._store.records().get(key)
            if record is not None and key in there:
                table = record.more.get("payload")
                for entry in (table or {}).get("buffers", ()):
                    if entry["size"] >= WORTH_MAPPING_BYTES:
                        found[entry["digest"]] = entry["size"]
                record.forget_more()
        return found

    @functools.cached_property
    def _sizes(self) -> frozenset[int]:
        return frozenset(self._digests.values())

    def has(self, buffer: Buffer) -> bool:
        """Whether another node keeps the same; of what was changed once, it isn't asked again."""
        if buffer.size_bytes not in self._sizes or buffer.name in self._changed:
            return False
        is_kept = buffer.digest in self._digests
        if not is_kept:
            self._changed.add(buffer.name)
        return is_kept

    def find(self, digests: Collection[str]) -> dict[str, Buffer]:
        """The buffers with those digests, as far as they are there."""
        found: dict[str, Buffer] = {}
        for key in self._keys if digests else ():
            for buffer in self._store.restore(key).buffers:
                if buffer.digest in digests:
                    found[buffer.digest] = buffer
        return found


def pack(facts: Mapping[str, Any], payload: Payload, kept: Kept | None = None) -> bytearray:
    """A file's content, but for the digest, for which it has room: `seal` it before it is written. All of the
    payload's memory is copied, so that it may change from then on, but for what is ``kept``."""
    buffers = payload.buffers
    elsewhere = {place for place, one in enumerate(buffers) if kept is not None and kept.has(one)}
    table = [
        [one.name, one.dtype, list(one.shape), one.size_bytes, one.device, one.kind]
        + ([one.digest] if place in elsewhere else [])
        for place, one in enumerate(buffers)
    ]
    head = json.dumps({"facts": dict(facts), "skeleton": len(payload.skeleton), "buffers": table}).encode()
    at = len(_MAGIC) + _DIGEST_BYTES + 8
    places = []
    end = at + len(head) + len(payload.skeleton)
    for number, one in enumerate(buffers):
        end += -end % _ALIGNED
        places.append(end)
        end += 0 if number in elsewhere else one.size_bytes
    content = bytearray(end)
    content[: len(_MAGIC)] = _MAGIC
    struct.pack_into("<Q", content, at - 8, len(head))
    content[at : at + len(head)] = head
    content[at + len(head) : at + len(head) + len(payload.skeleton)] = payload.skeleton
    with memoryview(content) as view:
        for number, (one, place) in enumerate(zip(buffers, places, strict=True)):
            if number not in elsewhere:
                view[place : place + one.size_bytes] = one.view()
    return content


def seal(content: bytearray) -> None:
    """Put the digest into what `pack` made."""
    start = len(_MAGIC) + _DIGEST_BYTES
    with memoryview(content) as view:
        content[len(_MAGIC) : start] = digest(view[start:]).encode()


def unpack(content: bytes | bytearray, kept: Kept | None = None) -> Snapshot | None:
    """What the file holds; None when it is not what was written, or ``kept`` has no longer what it counts
    on."""
    start = len(_MAGIC) + _DIGEST_BYTES
    view = memoryview(content)
    if view[: len(_MAGIC)] != _MAGIC or len(content) < start + 8:
        return None
    if digest(view[start:]).encode() != view[len(_MAGIC) : start]:
        return None
    try:
        (size,) = struct.unpack_from("<Q", view, start)
        at = start + 8
        head = json.loads(bytes(view[at : at + size]))
        at += size
        skeleton = bytes(view[at : at + head["skeleton"]])
        at += len(skeleton)
        buffers = []
        digests = {digest for *_, digest in (entry[6:] for entry in head["buffers"] if len(entry) > 6)}
        found = kept.find(digests) if kept is not None else {}
        if kept is not None and len(found) < len(digests):
            return None
        for name, dtype, shape, size_bytes, device, kind, *elsewhere in head["buffers"]:
            at += -at % _ALIGNED
            memory = view[at : at + size_bytes].toreadonly()
            if elsewhere:
                memory = found[elsewhere[0]].view() if found else memoryview(bytes(size_bytes))
            else:
                at += size_bytes
            buffers.append(Buffer(name, dtype, tuple(shape), size_bytes, device, kind, memory))
        return Snapshot(dict(head["facts"]), Payload(skeleton, tuple(buffers)))
    except (ValueError, TypeError, KeyError, struct.error):
        return None
