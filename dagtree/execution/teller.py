"""What is told of each node, once and in order, whatever was lost on the way from where it is computed."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..storage.describe import describe, understand
from .listener import check_listener
from .report import Failure, Report
from .watch import Place, here

if TYPE_CHECKING:
    from .audience import Audience
    from .events import Event, Kind
    from .task import NodeFacts, Step

__all__ = ["Teller"]

_MOST_EVENTS = 10_000


class Teller:
    """Makes events of what becomes of steps, for listeners and for whoever iterates. Nobody there: nothing is
    made. Threads may share it."""

    def __init__(self, listeners: Iterable[Any] = (), keeps_events: bool = False) -> None:
        self._listeners = [check_listener(listener) for listener in listeners]
        self.keeps_events = keeps_events
        self.is_heard = bool(self._listeners) or keeps_events
        self._audience: Audience | None = None
        self._events: deque[Event] = deque(maxlen=_MOST_EVENTS)
        self._count = 0  # of all events, kept or not
        self._is_over = False
        self._changed = threading.Condition()
        self._lock = threading.Lock()
        self._begun: set[str] = set()
        self._told: dict[str, tuple[int, int]] = {}  # the last moment that was told, and the attempt

    def begin(self, total: int, cached: int) -> None:
        """A run begins: so many nodes are to be computed, so many are there."""
        if self._listeners:
            from .audience import Audience

            self._audience = Audience(self._listeners)
            self._audience.tell("begin_run", total, cached)

    def end(self, report: Report | None) -> tuple[str, ...]:
        """The run has ended; what listeners did wrong. Returns when they have heard all."""
        if self._audience is not None:
            if report is not None:
                self._audience.tell("end_run", report)
            self._audience.close()
        with self._changed:
            self._is_over = True
            self._changed.notify_all()
        return tuple(self._audience.warnings) if self._audience is not None else ()

    def _tell(self, event: Event) -> None:
        if self._audience is not None:
            self._audience.tell(event.kind, event)
        if self.keeps_events:
            with self._changed:
                self._events.append(event)
                self._count += 1
                self._changed.notify_all()

    def began(self, step: Step, since: float, place: Place) -> None:
        """A step is under way."""
        if self.is_heard:
            for node in step.nodes():
                self._start(step, node, since, place)

    def _start(self, step: Step, node: NodeFacts, at: float, place: Place) -> None:
        with self._lock:
            if node.key in self._begun:
                return
            self._begun.add(node.key)
        self._tell(_event("start", step, node, at, place))

    def report(self, step: Step, number: int, at: float, metrics: Mapping[str, Any], place: Place) -> None:
        """Its recipe yielded."""
        if not self.is_heard:
            return
        key = step.node.key
        last, attempt = self._told.get(key, (0, 1))
        if number <= last:
            attempt += 1
        self._told[key] = number, attempt
        self._tell(
            _event("report", step, _main(step), at, place, moment=number, metrics=metrics, attempt=attempt)
        )

    def ended(
        self,
        step: Step,
        statuses: Mapping[str, str],
        seconds: float,
        metrics: Mapping[str, Any],
        failures: Sequence[Failure],
        history: Callable[[], Any],
        moments: int,
        place: Place | None,
    ) -> None:
        """It has ended; ``history`` gives all moments of its record."""
        if not self.is_heard:
            return
        place = place or here()
        now = time.time()
        ended = {key for key, status in statuses.items() if status in ("done", "failed")}
        if ended:
            for node in step.nodes():
                self._start(step, node, now - seconds, place)
        if moments > self._told.get(step.node.key, (0, 1))[0]:
            last = self._told.get(step.node.key, (0, 1))[0]
            for entry in history():
                if entry[0] > last:
                    self.report(step, entry[0], entry[2], entry[1], place)
        attempt = self._told.get(step.node.key, (0, 1))[1]
        of_nodes = {failure.key: failure for failure in failures if failure.function is None}
        for node in step.nodes():
            status = statuses.get(node.key)
            if status == "done":
                shown = metrics if node is _main(step) else {}
                self._tell(
                    _event("end", step, node, now, place, metrics=shown, attempt=attempt, seconds=seconds)
                )
            elif status == "failed":
                failure = of_nodes.get(node.key) or next(iter(of_nodes.values()), None)
                self._tell(
                    _event("error", step, node, now, place, attempt=attempt, seconds=seconds, failure=failure)
                )
        for failure in failures:
            if failure.function is not None:
                node = next((one for one in step.nodes() if one.key == failure.key), step.node)
                self._tell(
                    _event("error", step, node, now, place, failure=failure, function=failure.function)
                )

    def events(self) -> Iterator[Event]:
        """Those that are kept, then each as it happens, until the run ends."""
        given = 0
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._count > given or self._is_over)  # noqa: B023
                fresh = min(self._count - given, len(self._events))
                batch = [self._events[place] for place in range(len(self._events) - fresh, len(self._events))]
                given = self._count
                if not batch and self._is_over:
                    return
            yield from batch


def _main(step: Step) -> NodeFacts:
    """The node that a step's moments are told of: the end of the edge, or the last moment that is wanted."""
    return step.node if step.final or not step.moments else step.moments[max(step.moments)]


def _event(kind: Kind, step: Step, node: NodeFacts, at: float, place: Place, **more: Any) -> Event:
    from .events import Event  # which a run that nobody listens to doesn't need

    more.setdefault("moment", node.moment)
    return Event(
        kind=kind,
        key=node.key,
        label=step.label(node.moment),
        recipe=step.node.name,
        at=at,
        properties={name: understand(describe(value)) for name, value in step.properties.items()},
        parents=step.node.parents,
        tags=node.tags,
        host=place[0],
        process=place[1],
        worker=place[2],
        **more,
    )
