"""What a process knows of the steps that it does now, and how that reaches the run that gave them out.

Nothing here costs a step that is done in a moment: it is noted that it began and that it left. What takes
longer, or yields, is told some times a second, from a thread, many moments in one message. What is lost on
the way, or wasn't sent before its step ended, the driver takes from the node's record.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .task import Step

__all__ = ["TOPIC", "Live", "Place", "Watch", "Wire", "here", "read_event", "read_message", "use_pipe"]

TOPIC = "dagtree"
"""What the messages of all runs are called on a cluster; one name, since a scheduler keeps each for ever."""
TICK_S = 0.1
_CLUSTER_TICK_S = 0.25
_SLOW_S = 0.3  # what takes longer is worth telling before it has ended
_IDLE_S = 2.0
_MOST_TOLD = 64
_MOST_METRICS = 20
_LARGEST_BYTES = 4000  # a write to a pipe of no more than 4,096 bytes is never mixed with another's
_MOST_EVENTS = 500

Place = tuple[str, int, str]  # host, process, worker


class Live:
    """A step that is under way: since when (unix seconds), where, and at which moment."""

    __slots__ = ("is_cut", "metrics", "moment", "place", "since", "step", "told")

    def __init__(self, step: Step, since: float, place: Place) -> None:
        self.step = step
        self.since = since
        self.place = place
        self.moment = 0
        self.metrics: Mapping[str, Any] = {}
        self.told = False
        self.is_cut = False  # some of its moments were left out, as there were too many

    @property
    def key(self) -> str:
        return self.step.node.key


class Watch:
    """The steps that this process does now. Threads may share it."""

    def __init__(self) -> None:
        self.running: dict[str, Live] = {}
        self._home: Place = _host(), os.getpid(), ""

    def began(self, step: Step) -> None:
        self.running[step.node.key] = Live(step, time.time(), self._home)

    def moment(self, step: Step, number: int, metrics: Mapping[str, Any]) -> None:
        live = self.running.get(step.node.key)
        if live is not None:
            live.moment, live.metrics = number, metrics

    def left(self, step: Step) -> None:
        self.running.pop(step.node.key, None)

    def stopping(self) -> bool:
        """Whether the run was ended meanwhile."""
        return False

    def telling(self) -> list[dict[str, Any]]:
        """The steps that have taken a while, as JSON for others who look at the experiment."""
        slow = time.time() - _SLOW_S
        found = [live for live in list(self.running.values()) if live.since <= slow]
        return [_told(live) for live in found[:_MOST_TOLD]]


def _told(live: Live) -> dict[str, Any]:
    told: dict[str, Any] = {
        "key": live.key,
        "label": live.step.label()[:300],
        "since": round(live.since, 3),
    }
    if live.place[2]:
        told["worker"] = live.place[2]
    if live.moment:
        metrics = dict(list(live.metrics.items())[:_MOST_METRICS])
        told["moment"], told["metrics"] = live.moment, _small(metrics)
    return told


def _small(metrics: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name[:60]: value[:100] if isinstance(value, str) else value
        for name, value in metrics.items()
        if value is None or isinstance(value, bool | int | float | str)
    }


def here() -> Place:
    """This host, process, and worker of a cluster, if it is one."""
    worker = _worker()
    return _host(), os.getpid(), "" if worker is None else str(worker.name)


def _host(known: list[str] = []) -> str:  # noqa: B006  # asked once in a process
    if not known:
        known.append(socket.gethostname())
    return known[0]


def _worker() -> Any:
    """The cluster's worker that this thread works for, or None."""
    module = sys.modules.get("distributed.worker")
    if module is None:
        return None
    state = getattr(module.thread_state, "execution_state", None)
    return None if state is None else state.get("worker")


_pipe: Any = None


def use_pipe(connection: Any) -> None:
    """Where a worker of ``scheduler="processes"`` writes what it tells."""
    global _pipe
    _pipe = connection


class Wire(Watch):
    """The same in another process, which tells the driver of the run ``name``; one without a name tells
    nobody."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name
        self._unsent: deque[tuple[str, list[Any]]] = deque()
        self._ended: dict[str, list[Any]] = {}
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._worker: Any = None
        self._pid = os.getpid()

    def began(self, step: Step) -> None:
        self.running[step.node.key] = Live(step, time.time(), here())
        if not self.name:
            return
        if self._worker is None:
            self._worker = _worker()
        if self._thread is None:
            self._start()

    def moment(self, step: Step, number: int, metrics: Mapping[str, Any]) -> None:
        super().moment(step, number, metrics)
        if self.name:
            self._unsent.append((step.node.key, [number, round(time.time(), 6), dict(metrics)]))

    def ended(self, step: Step, seconds: float, metrics: Mapping[str, Any]) -> None:
        """A step of a chain is done, and the run hears of it with the rest of the chain; or now, should what
        follows take a while."""
        if self.name:
            self._ended[step.node.key] = ["done", step.node.key, seconds, _small(metrics), list(here())]

    def forget(self, steps: Iterable[Step]) -> None:
        """The chain of these has ended."""
        for step in steps if self._ended else ():
            self._ended.pop(step.node.key, None)

    def stopping(self) -> bool:
        """A cluster has cancelled a task that its worker still does."""
        worker = _worker()
        if worker is None:
            return False
        try:
            task = worker.state.tasks.get(sys.modules["distributed.worker"].thread_state.key)
        except AttributeError:
            return False
        return task is not None and task.state == "cancelled"

    def _start(self) -> None:
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._tell, name="dagtree-watch", daemon=True)
                self._thread.start()

    def _tell(self) -> None:
        """Tell what is new, as long as there is something to tell; in a thread."""
        idle = time.monotonic()
        while True:
            time.sleep(TICK_S if self._worker is None else _CLUSTER_TICK_S)
            try:
                is_busy = self._send_news() or bool(self.running)
            except Exception:  # who watches misses something, and the work goes on
                is_busy = bool(self.running)
            if is_busy:
                idle = time.monotonic()
            elif time.monotonic() - idle > _IDLE_S:
                with self._lock:
                    if not self.running:
                        self._thread = None
                        return

    def _send_news(self) -> bool:
        events: list[list[Any]] = []
        slow = time.time() - _SLOW_S
        for key, live in list(self.running.items()):
            if not live.told and (live.since <= slow or live.moment):
                live.told = True
                events.append(["start", key, live.since, list(live.place)])
        last: dict[str, list[Any]] = {}
        for number in range(len(self._unsent)):
            key, moment = self._unsent.popleft()
            found = self.running.get(key)
            if found is None:  # its record is there, or on the way
                continue
            found.is_cut |= number >= _MOST_EVENTS
            if found.is_cut:
                last[key] = ["peek", key, *moment]
            else:
                events.append(["report", key, *moment])
        events += last.values()
        if events:
            before = [self._ended.pop(key) for key in list(self._ended)]
            self._send([*before, *events])
        return bool(events)

    def _send(self, events: list[list[Any]]) -> None:
        if self._worker is not None:
            self._worker.log_event(TOPIC, {"run": self.name, "events": json.dumps(events)})
            return
        if _pipe is None:
            return
        for event in events:
            line = json.dumps([self.name, event]).encode()
            if len(line) <= _LARGEST_BYTES:
                _pipe.send_bytes(line)


def read_message(run: str, content: bytes | str, tell: Callable[[list[Any]], None]) -> None:
    """Hand on the events of a message from the pipe that are this run's; whatever else it is, is left out."""
    try:
        said = json.loads(content)
    except (ValueError, RecursionError):
        return
    if isinstance(said, list) and len(said) == 2 and said[0] == run and isinstance(said[1], list):
        tell(said[1])


def read_event(run: str, message: Any, tell: Callable[[list[Any]], None]) -> None:
    """The same for an event of a cluster."""
    if not isinstance(message, dict) or message.get("run") != run:
        return
    try:
        events = json.loads(message.get("events", "[]"))
    except (TypeError, ValueError, RecursionError):
        return
    for event in events if isinstance(events, list) else ():
        if isinstance(event, list):
            tell(event)
