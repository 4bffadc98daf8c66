"""What a run is at: counts, the steps under way, the time that is left. It tells views and listeners."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from .report import Failure, Report
from .teller import Teller
from .watch import Live, Place, Watch

if TYPE_CHECKING:
    from ..storage.store import Store
    from .estimate import Estimator
    from .progress import View
    from .snapshots import Snapshot
    from .task import Step

__all__ = ["Monitor"]

_REFRESH_S = 0.1
_ESTIMATE_S = 1.0
_FEW_STEPS = 2_000

Graph = Mapping[str, tuple["Step", Sequence[str]]]


class Monitor:
    """Follows one run. Its methods are called from any thread."""

    def __init__(self, listeners: Iterable[Any] = (), keeps_events: bool = False) -> None:
        self.total = self.cached = self.done = self.failed = self.skipped = 0
        self.note = ""
        self.ended = ""
        self.workers = 1
        self.statuses: dict[str, str] = {}
        self.failures: list[Failure] = []
        self.teller = Teller(listeners, keeps_events)
        self.view: View | None = None
        self._graph: Graph = {}
        self._live: dict[str, Live] = {}
        self._over: set[str] = set()
        self._told: set[str] = set()  # what other processes said is done, before its outcome came
        self._lock = threading.Lock()
        self._hearing = threading.Lock()
        self._began = time.monotonic()
        self._end: float | None = None
        self._stop = threading.Event()
        self._is_shown = False
        self._thread: threading.Thread | None = None
        self._store: Store | None = None
        self._estimator: Estimator | None = None
        self._left: tuple[float, float | None] | None = None
        self._busy_s = 0.0

    @property
    def is_watched(self) -> bool:
        """Whether anybody wants to know what is under way, and not only what has ended."""
        is_shown = self.view is not None and self.view.is_live
        return is_shown or self.teller.is_heard

    # The run

    def begin(self, total: int, cached: int, store: Store | None = None) -> None:
        """So many nodes are to be computed, so many are there."""
        self.total, self.cached, self._store = total, cached, store
        self.teller.begin(total, cached)

    def show(self) -> None:
        """Show it, until `hide`."""
        if self.view is not None and self.view.is_live:
            self.view.begin(self.snapshot())
            self._thread = threading.Thread(target=self._refresh, name="dagtree-progress", daemon=True)
            self._thread.start()

    def hide(self) -> None:
        """Show no more, until the last picture, of how it ended."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        if self.view is not None and self.view.is_live:
            self.view.pause()
            self._is_shown = True

    def end(self, report: Report | None) -> tuple[str, ...]:
        """The run has ended; what listeners did wrong. Returns when they have heard all."""
        self._end = time.monotonic()
        self._live.clear()
        self.ended = "ended" if report is None else _how(report)
        if self.view is not None and self._is_shown:
            self.view.end(self.snapshot(estimates=False))
        return self.teller.end(report)

    def round(self, graph: Graph, missing: int) -> None:
        """Another round: so many nodes are left; what is not among them and wasn't done here, others did."""
        self._graph = graph
        self._over.clear()
        self._told.clear()
        total = self.done + self.failed + missing
        self.cached += max(self.total - total, 0)
        self.total = total

    def wait(self, text: str) -> None:
        """Others compute what is left."""
        if text != self.note:
            self.note = text
            if self.view is not None:
                self.view.note(text)

    # The steps

    def watch(self) -> Watch:
        """What the steps of this process tell that they do."""
        return _Here(self) if self.is_watched else Watch()

    def heard(self, event: list[Any]) -> None:
        """An event that came from another process; what isn't one is left out."""
        try:
            kind, key, *rest = event
            with self._hearing:
                if key in self._over or key not in self._graph:
                    return
                if kind == "start":
                    since, (host, process, worker) = float(rest[0]), rest[1]
                    self.began(self._graph[key][0], since, (str(host), int(process), str(worker)))
                elif kind in ("report", "peek"):
                    number, at, metrics = int(rest[0]), float(rest[1]), dict(rest[2])
                    self.moment(key, number, at, metrics, is_told=kind == "report")
                elif kind == "done":
                    seconds, metrics, (host, process, worker) = float(rest[0]), dict(rest[1]), rest[2]
                    place = str(host), int(process), str(worker)
                    step = self._graph[key][0]
                    statuses = {node.key: "done" for node in step.nodes()}
                    self.ended_step(step, statuses, seconds, metrics, (), list, 0, place)
                    self._live.pop(key, None)
                    self._over.add(key)
                    self._told.add(key)
        except (ValueError, TypeError):
            return

    def began(self, step: Step, since: float, place: Place) -> None:
        live = Live(step, since, place)
        self._live[live.key] = live
        self.teller.began(step, since, place)

    def moment(
        self, key: str, number: int, at: float, metrics: Mapping[str, Any], is_told: bool = True
    ) -> None:
        live = self._live.get(key)
        if live is None:
            return
        live.moment, live.metrics = number, metrics
        if is_told:
            self.teller.report(live.step, number, at, metrics, live.place)

    def under_way(self) -> list[str]:
        """The keys of the nodes that steps under way make."""
        return [node.key for live in list(self._live.values()) for node in live.step.nodes()]

    def left(self, key: str) -> None:
        """A step is under way no more."""
        if self.view is None and not self.teller.is_heard:
            return
        with self._hearing:  # what still comes of it is in its record
            self._live.pop(key, None)
            self._over.add(key)

    def ended_step(
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
        """A step has ended, anywhere: what became of its nodes. ``history`` gives its record's moments."""
        if step.node.key in self._told:
            return
        ended = tuple(statuses.values())
        done = ended.count("done")
        failed = 0
        with self._lock:
            self.done += done
            if done != len(ended):
                failed = ended.count("failed")
                self.failed += failed
                self.skipped += ended.count("skipped")
            self._busy_s += seconds
            if self.teller.keeps_events:
                self.statuses.update(statuses)
                self.failures.extend(failures)
        if self._estimator is not None and not failed and step.final:
            node = step.node
            self._estimator.learn(node.name, node.key, step.properties, seconds, moments)
        if self.view is not None and (done or failed):
            left = None
            if self.view.counts_down:
                left = self.left_s()
            self.view.ended(step, failed > 0, seconds, metrics, self.done + self.failed, self.total, left)
        if self.teller.is_heard:
            self.teller.ended(step, statuses, seconds, metrics, failures, history, moments, place)

    # What it looks like

    def snapshot(self, estimates: bool = True) -> Snapshot:
        """The run at this instant."""
        from .snapshots import Running, Snapshot

        running = sorted(self._live.values(), key=lambda live: live.since)
        estimator = self._estimator
        return Snapshot(
            self.total,
            self.cached,
            self.done,
            self.failed,
            self.skipped,
            tuple(
                Running(
                    live.step.label(), live.key, live.since, live.moment,
                    estimator.moments_of(live.step.node.name, live.step.properties) if estimator else None,
                    live.metrics, *live.place,
                )
                for live in running[:64]
            ),
            (self._end or time.monotonic()) - self._began,
            self.left_s() if estimates and not self.ended else None,
            self.note,
            self.ended,
        )  # fmt: skip

    def left_s(self) -> float | None:
        """The seconds that the run will still take, going by records of the same recipes, this run's
        included; None where one of them has none."""
        now = time.monotonic()
        pause_s = _ESTIMATE_S if len(self._graph) < _FEW_STEPS else 5 * _ESTIMATE_S
        if self._left is not None and now - self._left[0] < pause_s:
            then, left = self._left
            return None if left is None else max(0.0, left - (now - then))
        left = self._estimate()
        self._left = now, left
        return left

    def _estimate(self) -> float | None:
        from .estimate import Estimator, time_on  # a run that finds everything there doesn't need it

        graph = self._graph
        if not graph or self._store is None:
            return None
        if self._estimator is None:
            names = {step.node.name for step, _ in list(graph.values())}
            self._estimator = Estimator(dict(self._store.records()), names)
        work: dict[str, tuple[float, Sequence[str]]] = {}
        now = time.time()
        for key, (step, after) in list(graph.items()):
            if key in self._over or not step.nodes():
                continue
            last = 0 if step.final else max(step.moments, default=0)
            found = self._estimator.of(step.node.name, key, step.properties, last)
            live = self._live.get(key)
            seconds = found.seconds
            if live is not None:
                spent = now - live.since
                moments = self._estimator.moments_of(step.node.name, step.properties)
                if live.moment and moments and live.moment <= moments:
                    seconds = spent * moments / live.moment
                if seconds is not None:
                    seconds = max(0.0, seconds - spent)
            if seconds is None:
                return None
            work[key] = seconds, after
        if not work:
            return 0.0
        workers = self._parallelism()
        if len(work) < _FEW_STEPS:
            return time_on(work, workers)[0]
        return sum(seconds for seconds, _ in work.values()) / workers

    def _parallelism(self) -> int:
        """How many steps run at once: the workers; fewer where the run has been seen to keep fewer busy."""
        seconds = time.monotonic() - self._began
        if self.done < 5 or seconds < 2:
            return self.workers
        busy_s = self._busy_s + sum(time.time() - live.since for live in list(self._live.values()))
        return max(1, min(self.workers, round(busy_s / seconds)))

    def _refresh(self) -> None:
        assert self.view is not None
        while not self._stop.wait(_REFRESH_S):
            try:
                self.view.draw(self.snapshot())
            except Exception as error:
                # Nobody sees more of it; the run is worth more than its picture.
                self.view.give_up(error)
                return


class _Here(Watch):
    """The steps of the driver's own process."""

    def __init__(self, monitor: Monitor) -> None:
        from .generators import generators

        super().__init__()
        self._monitor = monitor
        self._generators = generators

    def began(self, step: Step) -> None:
        super().began(step)
        live = self.running[step.node.key]
        self._monitor.began(step, live.since, live.place)

    def moment(self, step: Step, number: int, metrics: Mapping[str, Any]) -> None:
        super().moment(step, number, metrics)
        self._monitor.moment(step.node.key, number, time.time(), metrics)
        self._generators.rest()

    def left(self, step: Step) -> None:
        super().left(step)
        self._monitor._live.pop(step.node.key, None)


def _how(report: Report) -> str:
    return "interrupted" if report.interrupted else "failed" if report.failures else "done"
