"""A run in the background: watched, awaited, waited for, and ended."""

from __future__ import annotations

import asyncio
import atexit
import threading
import time
import weakref
from collections.abc import Callable, Generator, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from ..errors import RunError
from .events import Event
from .progress import line_text, log
from .report import Report
from .snapshots import Snapshot

if TYPE_CHECKING:
    from .run import Run

__all__ = ["Running"]


class Running:
    """A run that goes on in the background: what ``exp.run(wait=False)`` returns.

    ``run.wait()`` returns its Report, ``await run`` the same in a notebook or another event loop; both raise
    what ``exp.run`` would. ``run.cancel()`` ends it as Ctrl-C does: what is done stays done. Shown in a
    notebook it says how far it is. When the interpreter ends, a run that is under way is cancelled first.
    """

    def __init__(self, run: Run, call: Callable[[], Report]) -> None:
        self._run = run
        self._monitor = run.monitor
        self._call = call
        self._result: Report | None = None
        self._error: BaseException | None = None
        self._is_cancelled = False
        self._is_asked = False
        self._done = threading.Event()
        self._waiting: list[Callable[[], None]] = []
        self._lock = threading.Lock()
        self._started = time.perf_counter()
        # Not a daemon: the interpreter waits for what it writes, and cancels it first.
        self._thread = threading.Thread(target=self._work, name="dagtree-run", daemon=False)
        _keep(self)
        self._thread.start()

    @property
    def is_done(self) -> bool:
        """Whether it has ended, whatever way."""
        return self._done.is_set()

    @property
    def now(self) -> Snapshot:
        """The run at this instant: counts of nodes, the steps under way, the seconds that are left."""
        return self._monitor.snapshot()

    @property
    def statuses(self) -> Mapping[str, str]:
        """The status of each node that the run wants, by key: planned, running, done, failed, skipped or
        evicted."""
        there, spared = self._run.store.keys(), self._run.spared
        found = {}
        for promise in list(self._run.targets):
            key = promise.key
            found[key] = "done" if key in there else "evicted" if key in spared else "planned"
        monitor = self._monitor
        found.update(
            (key, status)
            for key, status in list(monitor.statuses.items())
            if key in found and status in ("done", "failed", "skipped")
        )
        if not self.is_done:
            found.update(dict.fromkeys((key for key in monitor.under_way() if key in found), "running"))
        return found

    @property
    def report(self) -> Report:
        """What it has done until now; when it has ended, its Report."""
        if self._result is not None:
            return self._result
        error = self._error
        if isinstance(error, RunError):
            return error.report
        return self._run.report_so_far(time.perf_counter() - self._started)

    def events(self) -> Iterator[Event]:
        """What happens, as `Listener` hears it: what has happened (the latest 10,000 events), then each as it
        comes, until the run ends."""
        return self._monitor.teller.events()

    def wait(self, timeout: float | None = None) -> Report:
        """Return the Report when it has ended; after `cancel`, one that says `interrupted`.

        Raises RunError when something failed, TimeoutError after ``timeout`` seconds, with the run going on.
        Ctrl-C ends the waiting, and not the run.
        """
        if not self._done.wait(timeout):
            raise TimeoutError(f"the run has not ended within {timeout:g} s, and goes on: {self}")
        return self._outcome()

    def cancel(self) -> None:
        """End it as Ctrl-C would: nothing else begins, what can be stopped stops (recipes at their next
        moment, worker processes at once), what is done stays done. Returns at once; `wait` tells when it has
        ended.
        """
        self._is_cancelled = True
        self._run.stop.set()

    def __await__(self) -> Generator[Any, None, Report]:
        return self._awaited().__await__()

    async def _awaited(self) -> Report:
        loop = asyncio.get_running_loop()
        ended = loop.create_future()

        def tell() -> None:
            if not ended.done():
                ended.set_result(None)

        def wake() -> None:
            try:
                loop.call_soon_threadsafe(tell)
            except RuntimeError:  # the loop was closed meanwhile
                pass

        with self._lock:
            if self._done.is_set():
                tell()
            else:
                self._waiting.append(wake)
        await ended
        return self._outcome()

    def _outcome(self) -> Report:
        self._is_asked = True
        if self._error is not None:
            raise self._error
        assert self._result is not None
        return self._result

    def _work(self) -> None:
        try:
            self._result = self._call()
        except KeyboardInterrupt as stopped:  # by cancel
            report = getattr(stopped, "report", None)
            if isinstance(report, Report) and not report.failures:
                self._result = report
            elif isinstance(report, Report):
                self._error = RunError(report.explain_failures(), report)
            else:
                self._error = stopped
        except BaseException as error:
            self._error = error
        with self._lock:
            self._done.set()
            waiting, self._waiting = self._waiting, []
        for wake in waiting:
            wake()

    def __str__(self) -> str:
        return line_text(self.now, 200)

    def __repr__(self) -> str:
        return f"<Running: {self}>"

    def _repr_html_(self) -> str:
        from .notebook import snapshot_html

        report = self.report._repr_html_() if self.is_done else ""
        return snapshot_html(self.now) + report


_under_way: weakref.WeakSet[Running] = weakref.WeakSet()
_keeping = threading.Lock()
_is_kept = False


def _keep(running: Running) -> None:
    """Have it cancelled when the main thread ends."""
    global _is_kept
    with _keeping:
        _under_way.add(running)
        if not _is_kept:
            # Their pools are shut at the end as well, which waits for what runs in them: ours must be asked
            # first, and what was registered last is.
            import concurrent.futures.process
            import concurrent.futures.thread  # noqa: F401

            register = getattr(threading, "_register_atexit", atexit.register)
            register(_end_all)
            _is_kept = True


def _end_all() -> None:
    """End what is under way as soon as it can be stopped, and wait for that."""
    for running in list(_under_way):
        if running._error is not None and not running._is_asked:
            kind, first = type(running._error).__name__, str(running._error).partition("\n")[0]
            log.warning("a run that nobody waited for ended with %s: %s", kind, first)
        if not running.is_done:
            log.warning(
                "the script ended while a run was under way, so that is cancelled: what is done stays done. "
                "End a script with run.wait() to wait for it."
            )
            running.cancel()
    for running in list(_under_way):
        running._thread.join()
