"""Several pieces of work at once, where each is about many bytes: hashing and mapping wait for memory, and
let go of Python's lock meanwhile."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

__all__ = ["abreast"]

T = TypeVar("T")
R = TypeVar("R")

WORTH_BYTES = 8 << 20
"""What a millisecond is spent on: a thread costs a tenth of that."""
_MOST = 4  # more have to share what memory gives


def abreast(work: Callable[[T], R], items: Sequence[T], size_bytes: int) -> list[R]:
    """What ``work`` makes of each item, in their order; ``size_bytes`` is how much it looks at in all. The
    first error that it raises is raised here, when all that was begun has ended.

    This thread takes part; others help as far as there are cores for them.
    """
    helpers = min(_MOST, len(items), _cores()) - 1 if size_bytes >= WORTH_BYTES else 0
    if helpers < 1:
        return [work(item) for item in items]
    made: list[Any] = [None] * len(items)
    waiting = iter(range(len(items)))
    failed: list[BaseException] = []
    lock = threading.Lock()

    def take_part() -> None:
        while True:
            with lock:
                number = next(waiting, None) if not failed else None
            if number is None:
                return
            try:
                made[number] = work(items[number])
            except BaseException as error:
                failed.append(error)

    def help_out() -> None:
        try:
            take_part()
        finally:
            with _counting:
                _busy[0] -= 1

    threads = []
    for _ in range(helpers):
        with _counting:
            if _busy[0] >= _cores() - 1:
                break
            _busy[0] += 1
        threads.append(threading.Thread(target=help_out, daemon=True))
    for thread in threads:
        thread.start()
    take_part()
    for thread in threads:
        thread.join()
    if failed:
        raise failed[0]
    return made


def _cores() -> int:
    """How many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


_busy = [0]
_counting = threading.Lock()


def _after_fork() -> None:
    global _counting
    _counting, _busy[0] = threading.Lock(), 0


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
