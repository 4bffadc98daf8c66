"""Plan → Dask → report."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from ..definition.tree import Asked, ExperimentStatePromise, Tree
from ..errors import RunError, RunInterrupted
from ..storage.store import Store
from .assemble import assemble
from .current import current
from .environment import commit
from .generators import preserved
from .output import listening
from .plan import Plan, make_plan
from .progress import Progress, log
from .report import Failure, Report
from .schedulers import Stop, WorkerDied, execute, is_shared, kind_of
from .task import Outcome

__all__ = ["Run"]

MOST_ROUNDS = 20


class Run:
    """One run: computes what is missing of ``targets``, and what the functions of ``asked`` want.

    A parent that turns out to be damaged is forgotten and made again, together with what waited for it, in
    another round; everything else is done once.
    """

    def __init__(
        self,
        tree: Tree,
        store: Store,
        targets: Sequence[ExperimentStatePromise],
        *,
        asked: Sequence[Asked] = (),
        scheduler: Any = "single-threaded",
        workers: int | None = None,
        progress: bool | None = None,
        taken: ExperimentStatePromise | None = None,
    ) -> None:
        self.tree = tree
        self.store = store
        self.targets = targets
        self.asked = asked
        self.scheduler = scheduler
        self.kind = kind_of(scheduler)
        self.workers = workers
        self.progress = progress
        self.taken = taken
        self.statuses: dict[str, str] = {}
        self.failures: dict[tuple[str, str | None], Failure] = {}
        self.called: list[tuple[str, str]] = []
        self.noted_elsewhere = False
        self.damaged: list[str] = []
        self.content: dict[str, object] | None = None
        self._git: Any = ...

    def __call__(self) -> Report:
        """Do it. Raises RunError when something failed, RunInterrupted after Ctrl-C; both hold the report."""
        started = time.perf_counter()
        interrupted = False
        store = self.store
        store.refresh()
        for problem in store.problems():
            self._found_damaged(problem)
        self.targets = current(self.tree, self.targets, store.keys())
        asked = list(self.asked)
        plan = make_plan(self.targets, store.keys(), asked, self._results)
        self._remember_definitions(plan.cached)
        try:
            for _ in range(MOST_ROUNDS):
                if not plan.units:
                    break
                with preserved():
                    damaged, is_cut = self._round(plan)
                if not damaged and not is_cut:
                    break
                for key, reason in damaged.items():
                    self._found_damaged(reason)
                    store.mark_damaged(key, reason)
                called = set(self.called)
                asked = [asking for asking in asked if (asking.promise.key, asking.name) not in called]
                again = [self.tree.promises[key] for key in damaged if key in self.tree.promises]
                plan = make_plan([*again, *self._waiting(plan)], store.keys(), asked, self._results)
        except KeyboardInterrupt:
            interrupted = True
        report = self._report(time.perf_counter() - started, interrupted)
        if interrupted:
            raise RunInterrupted(
                f"interrupted; {report}. What is done is kept; the next run goes on from there.", report
            ) from None
        if report.failures:
            raise RunError(report.explain_failures(), report) from None
        return report

    def _waiting(self, plan: Plan) -> list[ExperimentStatePromise]:
        """What this round left undone and another can do: all that doesn't hang below a failure of this
        run.
        """
        lost = {key for key, status in self.statuses.items() if status == "failed"}
        waiting = []
        for promise in sorted(plan.missing, key=lambda promise: promise.position):
            if self.statuses.get(promise.key) in ("done", "failed"):
                continue
            above = (
                promise.parents[0].parents if promise.kind == "moment" else (*promise.parents, *promise.links)
            )
            if any(parent.key in lost for parent in above):
                lost.add(promise.key)
                self.statuses[promise.key] = "skipped"
            else:
                waiting.append(promise)
        return waiting

    def _round(self, plan: Plan) -> tuple[dict[str, str], bool]:
        """Run the plan; what was found damaged, by key, and whether it ended before its time."""
        computes = any(unit.computes for unit in plan.units.values())
        git = self._commit() if computes else None
        graph = assemble(plan, self.tree, self.store, git, shared=is_shared(self.kind), taken=self.taken)
        damaged: dict[str, str] = {}
        is_cut = False
        total = len(plan.missing)
        stop = Stop()
        context = next(iter(graph.values()))[0].context
        context.stopping = stop
        steps = {key: step for key, (step, _) in graph.items()}
        with Progress(total, len(plan.cached), visible=self.progress) as progress, listening():
            context.started = progress.start

            def ended(outcome: Outcome) -> None:
                self._account(outcome)
                damaged.update(outcome.damaged)
                for line in outcome.lines:
                    self.store.adopt(line)
                made = sum(status == "done" for status in outcome.statuses.values())
                failed = sum(status == "failed" for status in outcome.statuses.values())
                if made or failed:
                    progress.end(steps[outcome.unit], made, failed, outcome.seconds, outcome.metrics)
                if self.taken is not None and self.taken.key in outcome.handles:
                    self.content = outcome.handles[self.taken.key].take()

            try:
                execute(graph, self.scheduler, ended, stop, self.workers)
            except WorkerDied:
                is_cut = True
            finally:
                if self.noted_elsewhere:
                    self.store.refresh()
        return damaged, is_cut

    def _commit(self) -> Any:
        if self._git is ...:
            self._git = commit()
        return self._git

    def _account(self, outcome: Outcome) -> None:
        for failure in outcome.failures:
            self.failures[failure.key, failure.function] = failure
        self.called.extend(outcome.called)
        self.noted_elsewhere |= outcome.foreign and outcome.noted
        self.statuses.update(outcome.statuses)

    def _remember_definitions(self, cached: Sequence[ExperimentStatePromise]) -> None:
        """Note new tags of nodes that are there, and that this is the code that counts where there is code of
        several ages.
        """
        records = self.store.records()
        latest: dict[str, str] = {}
        several = False
        for key, record in records.items():
            other = latest.setdefault(record.address, key)
            if other != key:
                several = True
                if record.defined >= records[other].defined:
                    latest[record.address] = key
        now = time.time()
        for promise in cached:
            record = records[promise.key]
            new_tags = tuple(tag for tag in promise.tags if tag not in record.tags) if promise.tags else ()
            superseded = several and latest.get(record.address) != promise.key
            if new_tags or superseded:
                self.store.note(promise.key, tags=new_tags or None, defined=now if superseded else None)

    def _results(self, key: str) -> Mapping[str, Any]:
        record = self.store.records().get(key)
        return record.more.get("results", {}) if record is not None else {}

    def _found_damaged(self, problem: str) -> None:
        if problem not in self.damaged:
            self.damaged.append(problem)
            log.warning("damaged: %s", problem)

    def _report(self, seconds: float, interrupted: bool) -> Report:
        statuses = dict(self.statuses)
        computed = [key for key, status in statuses.items() if status == "done"]
        failed = [key for key, status in statuses.items() if status == "failed"]
        skipped = [key for key, status in statuses.items() if status in ("skipped", "blocked", "planned")]
        wanted = {promise.key for promise in self.targets}
        there = self.store.keys()
        if interrupted:
            skipped = [key for key in wanted if key not in there and key not in failed]
        cached = [key for key in wanted if key in there and key not in statuses]
        failed_calls = sum(function is not None for _, function in self.failures)
        return Report(
            computed=len(computed),
            cached=len(cached),
            failed=len(failed),
            skipped=len(skipped),
            seconds=seconds,
            functions=len(self.called) - failed_calls,
            failures=tuple(self.failures.values()),
            damaged=tuple(self.damaged),
            computed_keys=tuple(computed),
            skipped_keys=tuple(skipped),
            interrupted=interrupted,
        )
