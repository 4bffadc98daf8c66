"""Whether a buffer's memory is provably nobody else's: then nobody can change it, and it can be given away.

Nothing is taken for granted: what can't be proved counts as shared. Memory whose address somebody wrote down
(``data_ptr``) and goes on using can't be seen, here or anywhere.
"""

from __future__ import annotations

import sys
from typing import Any

from .buffer import Buffer
from .mapping import is_mapped

__all__ = ["is_sole"]

_COUNTS = sys.implementation.name == "cpython" and getattr(sys, "_is_gil_enabled", lambda: True)()


def is_sole(buffer: Buffer) -> bool:
    """Whether the buffer alone holds its memory.

    False for what another process may write to, and for what torch and numpy don't hold themselves, but for
    what this process has mapped.
    """
    if not _COUNTS or _holders(buffer) != _HOLDERS_OF_ONE:
        return False
    if buffer.kind == "torch":
        return _is_sole_storage(buffer.memory)
    return buffer.kind == "numpy" and _is_sole_array(buffer.memory)


def _holders(buffer: Any) -> int:
    return sys.getrefcount(buffer.memory)


def _is_sole_storage(memory: Any) -> bool:
    torch: Any = sys.modules.get("torch")
    count = getattr(getattr(torch, "_C", None), "_storage_Use_Count", None)
    if count is None or type(memory) is not torch.UntypedStorage or count(memory._cdata) != 1:
        return False
    if memory.device.type != "cpu":  # another process may have been given it, and copying is quick there
        return False
    if torch.cuda.is_initialized() and memory.is_pinned():  # a copy from a GPU may still be on its way
        return False
    return not memory.is_shared() and bool(memory.resizable() or is_mapped(memory.data_ptr()))


def _is_sole_array(memory: Any) -> bool:
    flat: Any = memory.obj if isinstance(memory, memoryview) else None
    owner: Any = getattr(flat, "base", None)
    numpy: Any = sys.modules.get("numpy")
    if numpy is None or type(flat) is not numpy.ndarray or type(owner) is not numpy.ndarray:
        return False
    if not owner.flags.owndata:
        is_ours = owner.size and is_mapped(owner.__array_interface__["data"][0])
        if not is_ours or _base_holders(owner) != _BASE_HOLDERS_OF_ONE:
            return False
    del owner
    return _base_holders(flat) == _BASE_HOLDERS_OF_ONE and _flat_holders(memory) == _FLAT_OF_ONE


def _base_holders(flat: Any) -> int:
    return sys.getrefcount(flat.base)


def _flat_holders(memory: Any) -> int:
    return sys.getrefcount(memory.obj)


class _One:
    """As a buffer, a view and an array are, with one holder of what they hold."""

    def __init__(self) -> None:
        self.memory = object()
        self.base = object()
        self.obj = object()


_HOLDERS_OF_ONE = _holders(_One())
_BASE_HOLDERS_OF_ONE = _base_holders(_One())
_FLAT_OF_ONE = _flat_holders(_One()) + 1  # the caller's own name for it
