"""The rounds of a run: in each, a plan goes to Dask, and what becomes of it comes back."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from ..definition.promise import ExperimentStatePromise
from ..definition.tree import Tree
from ..storage.claims import Claims, claims_of
from ..storage.presence import Someone
from ..storage.store import Store
from .assemble import assemble
from .environment import Commit
from .fates import write_down
from .generators import part_from_engine, preserved
from .kinds import Shown, Stop, is_shared, kind_of
from .monitor import Monitor
from .output import listening
from .plan import Plan
from .progress import announce
from .report import Failure
from .schedulers import Means, execute, parallelism
from .task import Outcome

__all__ = ["Round", "Rounds"]

ABROAD = ("processes", "cluster")
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.01, 0.5


class Rounds:
    """What the rounds of one run share: that this process is at work there, and the progress line.

    Entering waits while somebody frees space there; it raises StorageError where nothing can be written.
    """

    def __init__(
        self,
        plan: Plan,
        tree: Tree,
        store: Store,
        scheduler: Any,
        workers: int | None,
        progress: Shown,
        taken: ExperimentStatePromise | None,
        monitor: Monitor,
        stop: Stop,
        resources: Mapping[str, Any] | None,
    ) -> None:
        self.tree = tree
        self.store = store
        self.scheduler = scheduler
        self.workers = workers
        self.taken = taken
        self.git = Commit()
        self._computes = bool(plan.missing)
        self.monitor = monitor
        self.stop = stop
        self.watch = monitor.watch()
        monitor.workers = parallelism(scheduler, workers)
        self.claims = claims_of(
            store, waiting=lambda other: _say_who_frees(other, store, progress), telling=self._telling
        )
        self.marks = None
        if kind_of(scheduler) in ABROAD:
            from .marks import place_for

            self.marks = place_for(store)
        self.means = Means(
            scheduler,
            workers,
            resources,
            self.marks,
            lambda: seconds_of(plan, store),
            monitor.wait,
            monitor.heard,
        )
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Rounds:
        with contextlib.ExitStack() as stack:
            if self._computes:
                stack.enter_context(self.git)
            if self.claims is not None:
                stack.enter_context(self.claims)
            if self.marks is not None:
                self.marks.begin()
                stack.callback(self.marks.remove)
            self.monitor.show()
            stack.callback(self.monitor.hide)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *exception: Any) -> None:
        self._stack.__exit__(*exception)

    def _telling(self) -> list[dict[str, Any]]:
        """What is under way in this process; and how far the run is, for those who look from elsewhere."""
        monitor = self.monitor
        if self.claims is not None:
            self.claims.about = {
                "scheduler": kind_of(self.scheduler), "total": monitor.total, "cached": monitor.cached,
                "done": monitor.done, "failed": monitor.failed, "skipped": monitor.skipped,
            }  # fmt: skip
        return self.watch.telling()

    def wait(self, elsewhere: Mapping[str, tuple[str, Sequence[str]]]) -> None:
        """Until one of the steps that others do may be done, or is left by them: by the keys of steps, who
        does it, and the nodes that it makes."""
        assert self.claims is not None
        who = Counter(other for other, _ in elsewhere.values())
        pause_s = _FIRST_PAUSE_S
        while True:
            # Others wait as well, and are not to come all at once; users' generators are left alone.
            time.sleep(pause_s * (0.5 + os.urandom(1)[0] / 256))
            if self.stop():
                raise KeyboardInterrupt
            held, there = self.claims.held(), self.store.keys()
            if any(
                key not in held or all(node in there for node in made) for key, (_, made) in elsewhere.items()
            ):
                return
            who = Counter(str(held[key]) for key in elsewhere)
            count = f"{len(elsewhere)} node{'' if len(elsewhere) == 1 else 's'}"
            self.monitor.wait(
                f"waiting for {count} that {_listed(who)} compute{'s' if len(who) == 1 else ''}"
            )
            pause_s = min(1.5 * pause_s, _LONGEST_PAUSE_S)


_LATEST = 5


def seconds_of(plan: Plan, store: Store) -> dict[str, float]:
    """How long recipes of the plan took when they were last computed: the longest of a few, by name."""
    wanted = {unit.promise.name for unit in plan.units.values()}
    seen: Counter[str] = Counter()
    found: dict[str, float] = {}
    for record in reversed(list(store.records().values())):
        name = record.recipe
        if name not in wanted or record.status != "done" or seen[name] >= _LATEST:
            continue
        seconds = record.more.get("seconds")
        record.forget_more()
        if isinstance(seconds, int | float):
            seen[name] += 1
            found[name] = max(found.get(name, 0.0), seconds)
    return found


def _listed(who: Mapping[str, int]) -> str:
    names = sorted(who)
    return ", ".join(names) if len(names) < 4 else f"{len(names)} other processes"


def _say_who_frees(other: Someone, store: Store, visible: Shown) -> None:
    announce(f"waiting for the end of {other}, which frees space in {store.location}", visible)


class Round:
    """What a plan needs to run, and then what became of it: statuses, failures, functions called, damage.

    ``content`` is that of the node in
    ``taken``, where its state was live; ``elsewhere`` has what others were found to compute, by the key of
    the step: who, and its nodes.
    """

    def __init__(self, plan: Plan, shared: Rounds) -> None:
        self.store = shared.store
        self.scheduler = shared.scheduler
        self.means = shared.means
        self.taken = shared.taken
        self.claims: Claims | None = shared.claims
        kind = kind_of(self.scheduler)
        self.graph = assemble(
            plan,
            shared.tree,
            self.store,
            shared.git,
            shared=is_shared(kind),
            travels=kind in ABROAD,
            taken=self.taken,
            marks=shared.marks,
            watched_by=os.urandom(8).hex() if shared.monitor.is_watched and kind in ABROAD else "",
        )
        self.watch = shared.watch
        self.stop = shared.stop
        self.monitor = shared.monitor
        self.monitor.round(self.graph, len(plan.missing))
        self.statuses: dict[str, str] = {}
        self.failures: dict[tuple[str, str | None], Failure] = {}
        self.called: list[tuple[str, str]] = []
        self.damaged: dict[str, str] = {}
        self.content: dict[str, object] | None = None
        self.elsewhere: dict[str, tuple[str, Sequence[str]]] = {}
        self.ours: set[str] = set()  # of these, the steps that are this run's own
        self._noted_elsewhere = False
        self._ends: deque[tuple[str, tuple[Any, ...]]] = deque()

    def __call__(self) -> None:
        """Do it. Ctrl-C goes on as KeyboardInterrupt when what was under way has ended."""
        stop = self.stop
        if "distributed" in sys.modules:
            part_from_engine()
        if self.claims is not None:
            self.claims.expect(
                {key: step.moment_keys() for key, (step, _) in self.graph.items() if step.nodes()}
            )
        with preserved(), listening():
            context = next(iter(self.graph.values()))[0].context
            context.stopping = stop
            context.watch = self.watch
            context.claims = self.claims
            try:
                execute(self.graph, self.means, self._ended, stop)
                if stop() and "planned" in self.statuses.values():
                    raise KeyboardInterrupt
            finally:
                if self._noted_elsewhere:
                    self.store.refresh()
                if self._ends:
                    with self.store.batched():  # at its end all is sent
                        pass
                    self._tell()

    def _tell(self) -> None:
        """Count what has ended and is kept: what is not sent yet isn't done."""
        while self._ends and not self.store.holds(self._ends[0][0]):
            self.monitor.ended_step(*self._ends.popleft()[1])

    def _end_of(self, outcome: Outcome) -> tuple[Any, ...]:
        """What the monitor has to know; not the outcome itself, which may hold live states."""
        statuses = {} if outcome.found else outcome.statuses
        return (
            self.graph[outcome.unit][0], statuses, outcome.seconds, outcome.metrics, outcome.failures,
            partial(self._history, (outcome.unit, *statuses)), outcome.moments, outcome.place,
        )  # fmt: skip

    def _history(self, keys: Sequence[str]) -> Any:
        """All moments of a step: in the record of the end of its edge, or of its last moment."""
        records = self.store.records()
        record = next((records[key] for key in (keys[0], *reversed(keys)) if key in records), None)
        return [] if record is None else record.more.get("history", [])

    def _ended(self, outcome: Outcome) -> None:
        for failure in outcome.failures:
            self.failures[failure.key, failure.function] = failure
        if outcome.unwritten:
            write_down(self.graph[outcome.unit][0], outcome, self.store)
        if outcome.elsewhere is not None:
            self.elsewhere[outcome.unit] = outcome.elsewhere, tuple(outcome.statuses)
            if outcome.ours:
                self.ours.add(outcome.unit)
        if not outcome.found:  # what others have done by now is as good as cached
            self.statuses.update(outcome.statuses)
        if outcome.called:
            self.called.extend(outcome.called)
        if outcome.damaged:
            self.damaged.update(outcome.damaged)
        self._noted_elsewhere |= outcome.foreign and outcome.noted
        for line in outcome.lines:
            self.store.adopt(line)
        self.monitor.left(outcome.unit)
        if (outcome.statuses and not outcome.found) or outcome.failures:
            key = next(reversed(outcome.statuses), outcome.unit)
            if self._ends or self.store.holds(key):
                self._ends.append((key, self._end_of(outcome)))
                self._tell()
            else:
                self.monitor.ended_step(*self._end_of(outcome))
        if self.taken is not None and self.taken.key in outcome.handles:
            self.content = outcome.handles[self.taken.key].take()

    def take_back(self) -> None:
        """What workers have done by now that their cluster had given up is this run's."""
        records = self.store.records()
        for unit in self.ours:
            made = self.elsewhere[unit][1]
            done = [records[key] for key in made if key in records and records[key].status == "done"]
            if len(done) == len(made):
                outcome = Outcome(unit)
                outcome.statuses = dict.fromkeys(made, "done")
                more = done[0].more
                outcome.seconds = more.get("seconds", 0.0)
                history = more.get("history", ())
                outcome.moments = len(history)
                outcome.metrics = history[-1][1] if history else {}
                self._ended(outcome)
