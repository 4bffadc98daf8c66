"""A state's content as what is kept of it: a skeleton and buffers, and back.

The same way leads to every child, to the disk and back from it, so that a state is equal wherever it went.
torch and numpy are used when the state holds something of theirs, and imported by nothing here before.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Mapping
from typing import Any

from ..errors import UnsavableError
from .abreast import abreast
from .buffer import Buffer

__all__ = ["Buffer", "Payload", "refuses_resizing"]

_PLAIN = frozenset({type(None), bool, int, float, str, bytes})


class Payload:
    """What is kept of a state. The buffers of one that was dumped are the state's own memory, not copies."""

    __slots__ = ("__weakref__", "buffers", "size_bytes", "skeleton")

    def __init__(self, skeleton: bytes, buffers: tuple[Buffer, ...] = ()) -> None:
        self.skeleton = skeleton
        self.buffers = buffers
        self.size_bytes = len(skeleton)
        if buffers:
            self.size_bytes += sum(buffer.size_bytes for buffer in buffers)

    @classmethod
    def dump(cls, content: Mapping[str, object]) -> Payload:
        """The content taken apart; nothing is copied that the CPU can reach.

        What shares memory in the content (tied weights, views, an optimizer and its parameters) shares a
        buffer.

        Raises
        ------
        UnsavableError
            naming the attribute that can't be pickled.
        """
        if _PLAIN.issuperset(map(type, content.values())):
            return cls(pickle.dumps(content if type(content) is dict else dict(content), 5))
        from .pickling import Unpicklable, take_apart

        try:
            return cls(*take_apart(content))
        except Unpicklable as failed:
            raise _unsavable(
                failed.attribute, content[failed.attribute], failed.__cause__
            ) from failed.__cause__

    def checked(self) -> Payload:
        """This one, when each buffer of it that was restored is what was written; DamagedError when not."""
        unchecked = [buffer for buffer in self.buffers if buffer.is_unchecked]
        if unchecked:
            abreast(Buffer.check, unchecked, sum([buffer.size_bytes for buffer in unchecked]))
        return self

    def claim(self) -> None:
        """Find out which buffers' memory is nobody else's. To be called when whoever made the state has let
        go of it, and before its digests are taken: what holds from then on holds for good.
        """
        if self.buffers:
            from .sole import is_sole

            for buffer in self.buffers:
                buffer.is_sole = is_sole(buffer)

    def is_intact(self) -> bool:
        """Whether what was dumped is still what it was: something else may hold its memory, and write to it.

        Memory of another device is not looked at, nor what was found to be nobody else's.
        """
        shared = [buffer for buffer in self.buffers if not buffer.is_sole and buffer.device == "cpu"]
        size_bytes = sum([buffer.size_bytes for buffer in shared])
        return all(abreast(_is_intact, shared, size_bytes))

    def take(self) -> dict[str, Any]:
        """The content, for the last one who takes it: over the memory that is nobody else's, and copies of
        the rest.
        """
        return self._load([not buffer.is_sole for buffer in self.buffers])

    def load(self, copy: bool = True) -> dict[str, Any]:
        """The content put together again.

        With `copy` it has memory of its own, which torch and numpy can resize. Without, it may use the
        buffers' memory: for the only one who takes it.
        """
        return self._load([copy] * len(self.buffers))

    def _load(self, copies: list[bool]) -> dict[str, Any]:
        skeleton = self.skeleton
        if skeleton[:1] != b"\x80":
            skeleton = _for_this_python(skeleton)
        if not self.buffers:
            content = pickle.loads(skeleton)
            if type(content) is dict:
                return content
        self.checked()
        # Attributes follow each other in one pickle, whose memo they share: what was one object stays one.
        reader = pickle.Unpickler(io.BytesIO(skeleton), buffers=_lend(self.buffers, copies))
        return {attribute: reader.load() for attribute in reader.load()}


def _for_this_python(skeleton: bytes) -> bytes:
    """The skeleton without its mark. ImportError when it holds code for another Python."""
    from .pickling import CODE_MARK
    from .scripts import PYTHON

    head, _, rest = skeleton.partition(b"\n")
    if head + b"\n" != CODE_MARK + PYTHON:
        said = head[:60].decode(errors="replace")
        raise ImportError(f"it holds functions of a script as {said}, and this is {PYTHON.decode().strip()}")
    return rest


def _lend(buffers: tuple[Buffer, ...], copies: list[bool]) -> list[Any]:
    from .rebuild import Lent

    return [
        bytearray(buffer.view()) if buffer.kind == "raw" else Lent(buffer, copy)
        for buffer, copy in zip(buffers, copies, strict=True)
    ]


def _is_intact(buffer: Buffer) -> bool:
    return buffer.digest_of(buffer.view()) == buffer.digest


_REFUSALS = ("storage that is not resizable", "it does not own its data")


def refuses_resizing(error: BaseException | None) -> bool:
    """Whether that is how torch or numpy say that they can't resize memory which isn't their own."""
    while error is not None:
        if isinstance(error, RuntimeError | ValueError):
            said = [part for part in error.args if type(part) is str]
            if any(refusal in part for part in said for refusal in _REFUSALS):
                return True
        error = error.__cause__ or error.__context__
    return False


def _unsavable(attribute: str, value: object, cause: BaseException | None) -> UnsavableError:
    kind = type(value)
    return UnsavableError(
        f"the state's attribute {attribute!r} (a {kind.__module__}.{kind.__qualname__}) "
        f"can't be kept: {cause}. "
        f"Call it _{attribute.lstrip('_')} if it is scratch that children can do without, or make it "
        "from what can be pickled (a class can say how with __getstate__ and __setstate__)",
        attribute,
    )
