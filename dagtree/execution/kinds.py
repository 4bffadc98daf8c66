"""What ``scheduler=`` may be."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal

from ..errors import DefinitionError

__all__ = [
    "Shown",
    "Stop",
    "check_progress",
    "check_reach",
    "check_resources",
    "check_waits",
    "check_workers",
    "is_shared",
    "kind_of",
]

Shown = bool | Literal["log"] | None
"""What ``progress=`` may be."""


class Stop:
    """Set once, when the run should end in order; ``then`` is what makes those end who can't ask."""

    def __init__(self) -> None:
        self._event = threading.Event()
        self._lock = threading.Lock()
        self._then: list[Callable[[], None]] = []

    def set(self) -> None:
        self._event.set()
        with self._lock:
            waiting = list(self._then)
        for call in waiting:
            call()

    def __call__(self) -> bool:
        return self._event.is_set()

    @contextlib.contextmanager
    def calls(self, then: Callable[[], None]) -> Iterator[None]:
        """While the block lasts, `set` calls this as well. KeyboardInterrupt when it was set before, and in
        place of whatever the block raises once it is set."""
        with self._lock:
            self._then.append(then)
        try:
            if self():
                raise KeyboardInterrupt
            yield
        except Exception:
            if self():
                raise KeyboardInterrupt from None
            raise
        finally:
            with self._lock:
                self._then.remove(then)


NAMES = {
    "single-threaded": "single-threaded", "sync": "single-threaded", "synchronous": "single-threaded",
    "threads": "threads", "threading": "threads", "processes": "processes", "multiprocessing": "processes",
}  # fmt: skip


def kind_of(scheduler: Any) -> str:
    """``single-threaded``, ``threads``, ``processes`` or ``cluster``. Raises DefinitionError for what is none
    of them.
    """
    if isinstance(scheduler, str):
        if scheduler in NAMES:
            return NAMES[scheduler]
        if "://" in scheduler or (":" in scheduler and scheduler.rsplit(":", 1)[1].isdigit()):
            return "cluster"
    elif hasattr(scheduler, "scheduler_address") or (
        hasattr(scheduler, "scheduler_info") and hasattr(scheduler, "get")
    ):
        return "cluster"
    raise DefinitionError(
        f"scheduler={scheduler!r} is none that dagtree knows. "
        'Give "single-threaded", "threads", "processes", a '
        'distributed.Client or cluster, or a scheduler\'s address like "tcp://host:8786".'
    )


def check_progress(shown: Any) -> None:
    """DefinitionError for what ``progress=`` can't mean."""
    if not (shown is None or isinstance(shown, bool) or shown == "log"):
        raise DefinitionError(
            f'progress={shown!r}: give True or False, "log" for a line a node, or None for what suits.'
        )


def check_waits(scheduler: Any) -> None:
    """DefinitionError for a client, or cluster, that lives in the event loop which waiting would stop."""
    if getattr(scheduler, "asynchronous", False):
        raise DefinitionError(
            "An asynchronous Client can't be waited for here: its event loop would stand still. Write `await "
            "exp.run(client, wait=False)`, or give a Client(asynchronous=False), or its address."
        )


def check_workers(workers: object) -> None:
    """DefinitionError when it is no number of workers."""
    if workers is not None and (type(workers) is not int or workers < 1):
        raise DefinitionError(f"workers={workers!r}: give how many threads or processes, from 1 on.")


def check_resources(resources: object, kind: str) -> None:
    """DefinitionError when it says nothing about this machine, or is about a cluster."""
    if resources is None:
        return
    if not isinstance(resources, Mapping):
        raise DefinitionError(
            f'resources={resources!r}: give amounts by name, like {{"GPU": 2, "licence": 1}}.'
        )
    if kind == "cluster":
        raise DefinitionError(
            "resources= says what this machine has, and a cluster's workers say it themselves: dask worker … "
            '--resources "GPU=1", or LocalCluster(resources={"GPU": 1}).'
        )


def check_reach(scheduler: Any, only_here: bool, location: str) -> None:
    """DefinitionError when workers are other processes, and what is kept at the location is seen by none."""
    kind = kind_of(scheduler)
    if not only_here or kind in ("single-threaded", "threads"):
        return
    address = scheduler if isinstance(scheduler, str) else getattr(scheduler, "scheduler_address", None)
    if address is None:
        address = getattr(getattr(scheduler, "scheduler", None), "address", "")
    if kind == "processes" or not str(address).startswith("inproc://"):
        raise DefinitionError(
            f"{location} is in the memory of this process, and other processes see nothing of it: use "
            '"single-threaded" or "threads" with it, or keep the experiment in a directory or a bucket.'
        )


def is_shared(kind: str) -> bool:
    """Whether several threads of one process may run steps at once."""
    return kind in ("threads", "cluster")
