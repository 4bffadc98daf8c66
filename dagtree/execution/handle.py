"""A state as Dask carries it: live where it was made, a key everywhere else."""

from __future__ import annotations

import threading
from typing import Any

from ..definition.state import state_with
from ..storage.payload import Payload
from ..storage.store import Store

__all__ = ["Handle", "StateReference", "load_handle"]

# Dask assumes that 100 MB travel in a second; reading what the page cache holds is about twenty times as
# fast.
READ_SPEED_OVER_DASKS = 20


class Handle:
    """The payload of a node, kept live until its last taker has it; pickled, it is the key alone.

    ``takers`` is how many steps of this run want it. Each of them gets a copy of its own, also the last: what
    shares the live memory with something outside of the state would otherwise go on sharing it, and the child
    would not be what the store gives.
    """

    __slots__ = ("_left", "_lock", "_payload", "key", "size_bytes")

    def __init__(self, key: str, payload: Payload | None, takers: int, size_bytes: int) -> None:
        self.key = key
        self.size_bytes = size_bytes
        self._payload = payload if takers > 0 else None
        self._left = takers
        self._lock = threading.Lock()

    def take(self) -> dict[str, object] | None:
        """The state's content, equal to what the store gives.

        None when it is not live here (any more), or when somebody has written to its memory since it was
        kept.
        """
        with self._lock:
            payload = self._payload
            self._left -= 1
            if self._left <= 0:
                self._payload = None
        return payload.load() if payload is not None and payload.is_intact() else None

    def __sizeof__(self) -> int:
        return 200 + self.size_bytes // READ_SPEED_OVER_DASKS

    def __reduce__(self) -> tuple[Any, ...]:
        return load_handle, (self.key, self.size_bytes)


def load_handle(key: str, size_bytes: int) -> Handle:
    """A handle as it arrives in another process."""
    return Handle(key, None, 0, size_bytes)


class StateReference:
    """What ``run`` sees of a promise among its properties: the node's key, and its state on demand."""

    def __init__(self, key: str, label: str, store: Store, state_class: type) -> None:
        self.key = key
        self.label = label
        self._store = store
        self._state_class = state_class

    def restore(self) -> Any:
        """The node's state, read from the store."""
        return state_with(self._state_class, self._store.read(self.key).load(), self.key, ())

    get = restore

    @property
    def __dagtree_key__(self) -> str:
        return self.key

    def __deepcopy__(self, memo: dict[int, object]) -> StateReference:
        return self

    def __repr__(self) -> str:
        return f"<node {self.key[:8]} {self.label}>"
