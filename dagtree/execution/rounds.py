"""One round of a run: a plan goes to Dask, and what becomes of it comes back."""

from __future__ import annotations

import sys
from collections import deque
from typing import Any

from ..definition.promise import ExperimentStatePromise
from ..definition.tree import Tree
from ..storage.store import Store
from .assemble import assemble
from .environment import commit
from .generators import part_from_engine, preserved
from .kinds import is_shared, kind_of
from .output import listening
from .plan import Plan
from .progress import Progress
from .report import Failure
from .schedulers import Stop, WorkerDied, execute
from .task import Outcome, Step

__all__ = ["Round"]


class Round:
    """What a plan needs to run, and then what became of it: statuses, failures, functions called, damage.

    ``is_cut`` says that it ended before its time, because a worker died; ``content`` is that of the node in
    ``taken``, where its state was live.
    """

    def __init__(
        self,
        plan: Plan,
        tree: Tree,
        store: Store,
        scheduler: Any,
        workers: int | None,
        progress: bool | None,
        taken: ExperimentStatePromise | None,
    ) -> None:
        self.store = store
        self.scheduler = scheduler
        self.workers = workers
        self.taken = taken
        kind = kind_of(scheduler)
        self.graph = assemble(
            plan,
            tree,
            store,
            commit() if plan.missing else None,
            shared=is_shared(kind),
            travels=kind in ("processes", "cluster"),
            taken=taken,
        )
        self.progress = Progress(len(plan.missing), len(plan.cached), visible=progress)
        self.statuses: dict[str, str] = {}
        self.failures: dict[tuple[str, str | None], Failure] = {}
        self.called: list[tuple[str, str]] = []
        self.damaged: dict[str, str] = {}
        self.content: dict[str, object] | None = None
        self.is_cut = False
        self._noted_elsewhere = False
        self._ends: deque[tuple[str, tuple[Step, int, int, float, dict[str, Any]]]] = deque()

    def __call__(self) -> None:
        """Do it. Ctrl-C goes on as KeyboardInterrupt when what was under way has ended."""
        stop = Stop()
        if "distributed" in sys.modules:
            part_from_engine()
        with preserved(), self.progress, listening():
            context = next(iter(self.graph.values()))[0].context
            context.stopping = stop
            context.started = self.progress.start
            try:
                execute(self.graph, self.scheduler, self._ended, stop, self.workers)
            except WorkerDied:
                self.is_cut = True
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
            self.progress.end(*self._ends.popleft()[1])

    def _ended(self, outcome: Outcome) -> None:
        for failure in outcome.failures:
            self.failures[failure.key, failure.function] = failure
        self.statuses.update(outcome.statuses)
        self.called.extend(outcome.called)
        self.damaged.update(outcome.damaged)
        self._noted_elsewhere |= outcome.foreign and outcome.noted
        for line in outcome.lines:
            self.store.adopt(line)
        ended = list(outcome.statuses.values())
        done, failed = ended.count("done"), ended.count("failed")
        if done or failed:
            step = self.graph[outcome.unit][0]
            end = step, done, failed, outcome.seconds, outcome.metrics
            self._ends.append((next(reversed(outcome.statuses)), end))
            self._tell()
        if self.taken is not None and self.taken.key in outcome.handles:
            self.content = outcome.handles[self.taken.key].take()
