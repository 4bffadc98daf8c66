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

    ``takers`` is how many steps of this run want it. Each of them gets a copy of its own. The last gets the
    live memory itself, as far as nothing else was found to hold it (`Payload.claim`): what is shared with
    something outside of the state would go on being shared, and the child would not be what the store gives.
    """

    __slots__ = ("_copying", "_left", "_lock", "_payload", "key", "size_bytes")

    def __init__(self, key: str, payload: Payload | None, takers: int, size_bytes: int) -> None:
        self.key = key
        self.size_bytes = size_bytes
        self._payload = payload if takers > 0 else None
        self._left = takers
        self._copying = 0  # takers who read the memory now, so that nobody may change it
        self._lock = threading.Lock()

    def take(self) -> dict[str, object] | None:
        """The state's content, equal to what the store gives.

        None when it is not live here (any more), or when somebody has written to its memory since it was
        kept.
        """
        with self._lock:
            payload = self._payload
            self._left -= 1
            is_last = self._left <= 0
            if is_last:
                self._payload = None
            gives_memory = is_last and not self._copying
            self._copying += not is_last
        try:
            if payload is None or not payload.is_intact():
                return None
            return payload.take() if gives_memory else payload.load()
        finally:
            if not is_last:
                with self._lock:
                    self._copying -= 1

    def __sizeof__(self) -> int:
        return 200 + self.size_bytes // READ_SPEED_OVER_DASKS

    def __reduce__(self) -> tuple[Any, ...]:
        return load_handle, (self.key, self.size_bytes)


def load_handle(key: str, size_bytes: int) -> Handle:
    """A handle as it arrives in another process."""
    return Handle(key, None, 0, size_bytes)


class StateReference:
    """What ``run`` sees of a promise among its properties: the node's key, and its state on demand; in memory
    that can be resized if ``copy`` says so."""

    def __init__(self, key: str, label: str, store: Store, state_class: type, copy: bool) -> None:
        self.key = key
        self.label = label
        self._store = store
        self._state_class = state_class
        self._copy = copy

    def restore(self) -> Any:
        """The node's state, read from the store."""
        content = self._store.restore(self.key).load(self._copy)
        return state_with(self._state_class, content, self.key, ())

    get = restore

    @property
    def __dagtree_key__(self) -> str:
        return self.key

    def __deepcopy__(self, memo: dict[int, object]) -> StateReference:
        return self

    def __repr__(self) -> str:
        return f"<node {self.key[:8]} {self.label}>"
