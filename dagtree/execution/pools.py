"""Threads that do what is ready: what goes first and fits, where recipes ask for resources or precedence."""

from __future__ import annotations

import heapq
import sys
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Executor, Future
from typing import Any

from ..definition.demands import NONE, Demands
from .budget import Budget, Grant
from .granted import grant, take_back

__all__ = ["Choosing", "held_grant"]

_held = threading.local()


def held_grant() -> Grant | None:
    """What the task that this thread is at was given."""
    return getattr(_held, "grant", None)


class Choosing(Executor):
    """Does up to ``count`` tasks at once; of those submitted the first by ``rank`` for which there is enough
    left in the budget, so that what has to wait for a GPU keeps nothing else waiting.

    Dask submits to it whatever is ready: it takes itself for as many workers as there are tasks.
    """

    def __init__(
        self,
        count: int,
        rank: Mapping[Any, tuple[float, int]],
        demands: Mapping[Any, Demands],
        budget: Budget,
    ) -> None:
        self._max_workers = max(len(rank), 1)
        self._count = count
        self._rank = rank
        self._demands = demands
        self._budget = budget
        self._changed = threading.Condition()
        self._ready: list[tuple[tuple[float, int], int, Any]] = []
        self._submitted = 0
        self._threads: list[threading.Thread] = []
        self._is_closed = False

    def submit(self, fn: Callable[..., Any], /, *args: Any, **named: Any) -> Future[Any]:
        """One batch of Dask's, of one task."""
        key = args[0][0][0]
        future: Future[Any] = Future()
        item = future, fn, args, named, self._demands.get(key, NONE)
        with self._changed:
            self._submitted += 1
            heapq.heappush(self._ready, (self._rank.get(key, (0, 0)), self._submitted, item))
            if len(self._threads) < self._count:
                name = f"dagtree_{len(self._threads)}"
                self._threads.append(threading.Thread(target=self._work, name=name, daemon=True))
                self._threads[-1].start()
            self._changed.notify()
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        with self._changed:
            self._is_closed = True
            if cancel_futures:
                for _, _, item in self._ready:
                    item[0].cancel()
                self._ready.clear()
            self._changed.notify_all()
        if wait:
            for thread in self._threads:
                thread.join()

    def _work(self) -> None:
        while True:
            with self._changed:
                while (found := self._first_that_fits()) is None:
                    if self._is_closed and not self._ready:
                        return
                    self._changed.wait()
            (future, fn, args, named, _), given = found
            try:
                _held.grant = given
                token = grant(tuple(f"cuda:{place}" for place in given.places))
                try:
                    _use(given)
                    result = fn(*args, **named)
                finally:
                    take_back(token)
                    _held.grant = None
            except BaseException as error:
                future.set_exception(error)
            else:
                future.set_result(result)
            with self._changed:
                self._budget.give(given)
                self._changed.notify_all()
            del future, fn, args, named, found

    def _first_that_fits(self) -> tuple[Any, Grant] | None:
        passed = []
        found = None
        while self._ready and found is None:
            entry = heapq.heappop(self._ready)
            given = self._budget.take(entry[2][4])
            if given is None:
                passed.append(entry)
            else:
                found = entry[2], given
        for entry in passed:
            heapq.heappush(self._ready, entry)
        return found


def _use(given: Grant) -> None:
    """Let torch take the recipe's GPU where none is named: a thread has a current one of its own."""
    torch = sys.modules.get("torch")
    if (
        given.places
        and torch is not None
        and torch.cuda.is_available()
        and given.places[0] < torch.cuda.device_count()
    ):
        torch.cuda.set_device(given.places[0])
