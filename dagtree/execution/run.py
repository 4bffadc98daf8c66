"""Plan → Dask → report."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterable, Mapping, Sequence, Set
from functools import cached_property
from typing import TYPE_CHECKING, Any

from ..definition.promise import ExperimentStatePromise
from ..definition.spelling import may_hold_code
from ..definition.tree import Asked, Tree
from ..errors import DefinitionError, RunError, RunInterrupted, StorageError
from ..storage.leftovers import remove_overtaken
from ..storage.local import LocalStore
from ..storage.store import Store
from .again import spared_nodes
from .current import current
from .kinds import (
    Shown,
    Stop,
    check_progress,
    check_reach,
    check_resources,
    check_waits,
    check_workers,
    kind_of,
)
from .listener import check_listener
from .output import is_recording
from .plan import Plan, make_plan, results_of
from .report import Failure, Report

if TYPE_CHECKING:
    from ..storage.claims import Claims
    from .explain import CodeNews
    from .monitor import Monitor
    from .rounds import Round, Rounds

__all__ = ["Run"]


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
        progress: Shown = None,
        listeners: Sequence[Any] = (),
        in_background: bool = False,
        taken: ExperimentStatePromise | None = None,
        named: set[str] | None = None,
        own: Set[str] = frozenset(),
        resources: Mapping[str, Any] | None = None,
    ) -> None:
        self.tree = tree
        self.store = store
        self.targets = targets
        self.asked = asked
        self.scheduler = scheduler
        kind = kind_of(scheduler)
        if not in_background:
            check_waits(scheduler)
        check_workers(workers)
        check_resources(resources, kind)
        check_reach(scheduler, store.only_here, store.location)
        if kind == "threads" and is_recording():
            raise DefinitionError(
                "A run within a recipe, or a function, can't use threads: the outer one has this process's "
                "random generators, and the inner ones would wait for them for ever. Use the default there."
            )
        self.workers = workers
        self.progress = progress
        check_progress(progress)
        self.listeners = [check_listener(listener) for listener in listeners]
        self.in_background = in_background
        self.stop = Stop()
        self.taken = taken
        self.beside = own  # whoever asked for these compares them, and says what differs
        self.own = own if taken is None else own | {taken.key}  # computed for their own sake, also if evicted
        self.resources = resources
        self.statuses: dict[str, str] = {}
        self.failures: dict[tuple[str, str | None], Failure] = {}
        self.called: list[tuple[str, str]] = []
        self.damaged: list[str] = []
        self.spared: set[str] = set()
        self.were_evicted: frozenset[str] = frozenset()
        self.named = named if named is not None else set()
        self.content: dict[str, object] | None = None
        self.claims: Claims | None = None
        self.code_news: CodeNews | None = None

    def __call__(self) -> Report:
        """Do it. Raises RunError when something failed, RunInterrupted after Ctrl-C; both hold the report."""
        report = None
        try:
            report = self._report_of()
        finally:
            warnings = self.monitor.end(report) if "monitor" in vars(self) else ()
        report = dataclasses.replace(report, warnings=warnings) if warnings else report
        if report.interrupted:
            raise RunInterrupted(
                f"interrupted; {report}. What is done is kept; the next run goes on from there.", report
            ) from None
        if report.failures:
            raise RunError(report.explain_failures(), report) from None
        return report

    @cached_property
    def monitor(self) -> Monitor:
        """What follows it; a run that finds everything there, and tells nobody, has none."""
        from .monitor import Monitor

        return Monitor(self.listeners, keeps_events=self.in_background)

    def _report_of(self) -> Report:
        """Do it; what was done."""
        started = time.perf_counter()
        interrupted = False
        store = self.store
        store.refresh()
        self._name(store.problems())
        before = frozenset(store.keys())
        asked, left = list(self.asked), store.keys()
        if store.evicted():
            self.were_evicted = frozenset(store.evicted())
            self.spared, left = spared_nodes(
                self.tree, store, self.targets, asked, results_of(store), self.own
            )
        self.targets = current(self.tree, self.targets, left)
        plan = make_plan(self.targets, store.keys(), asked, results_of(store), self.spared)
        self._remember_definitions((*plan.cached, *plan.evicted))
        if plan.units or (isinstance(store, LocalStore) and not store.read_only):
            remove_overtaken(store)
        if plan.missing and self.taken is None:
            self._announce(plan)
        if plan.units or self.listeners or self.in_background:
            self.monitor.begin(len(plan.missing), len(plan.cached), store)
        try:
            if plan.units:
                self._work(plan, asked)
            elif isinstance(store, LocalStore) and not store.read_only and store.is_somebody_there():
                from ..storage.claims import remove_the_dead

                remove_the_dead(store)
        except KeyboardInterrupt:
            interrupted = True
            store.refresh()
            # What was under way when it came has ended since, and nobody has heard of it.
            there = store.keys()
            for promise in self.targets:
                if promise.key in there and promise.key not in before and self._is_ours(promise):
                    self.statuses[promise.key] = "done"
        report = self._report(time.perf_counter() - started, interrupted, before)
        if report.computed_keys:
            self._check_kept(report)
        store.write_index()
        return report

    def _work(self, plan: Plan, asked: list[Asked]) -> None:
        """Do what the plan says, in as many rounds as it takes."""
        # A run that finds everything cached needs none of what computes.
        from .rounds import Rounds
        from .views import log_on_stderr, view_of

        store, left = self.store, len(self.tree.promises) + 10
        self.monitor.view = view_of(self.progress)
        with log_on_stderr(self.progress), Rounds(
            plan, self.tree, store, self.scheduler, self.workers, self.progress, self.taken, self.monitor,
            self.stop, self.resources,
        ) as rounds:  # fmt: skip
            self.claims = rounds.claims
            while plan.units and left:
                this = self._round(plan, rounds)
                if this.damaged:
                    left -= 1  # each of these rounds but the last does or drops something
                elif this.elsewhere:
                    rounds.wait(this.elsewhere)
                    this.take_back()
                    self.statuses.update(
                        (key, status) for key, status in this.statuses.items() if status == "done"
                    )
                else:
                    break
                for key, reason in this.damaged.items():
                    self.found_damaged(key, reason)
                called = set(self.called)
                asked = [asking for asking in asked if (asking.promise.key, asking.name) not in called]
                again = [self.tree.promises[key] for key in this.damaged if key in self.tree.promises]
                waiting = [*again, *self._waiting(plan)]
                plan = make_plan(waiting, store.keys(), asked, results_of(store), self.spared)
            store.write_index()

    def _is_ours(self, promise: ExperimentStatePromise) -> bool:
        """Whether this run made a node that is there by now; when it went to other processes, as far as it
        knows."""
        if self.claims is None or kind_of(self.scheduler) in ("processes", "cluster"):
            return True
        return promise.edge.key in self.claims.begun

    def _announce(self, plan: Plan) -> None:
        """Say what is computed again because code changed, before it starts."""
        done = {record.address for record in self.store.records().values() if record.status == "done"}
        # What else looks for older code is not imported where there is none to be found.
        if not done or not (
            any(promise.address in done for promise in plan.missing)
            or may_hold_code(self.tree.promises.values())
        ):
            return
        from .news import code_news
        from .progress import announce

        self.code_news = code_news(plan.missing, self.store, self.store.problems() + tuple(self.damaged))
        if self.code_news is not None:
            announce(str(self.code_news), self.progress)

    def _check_kept(self, report: Report) -> None:
        """What was reported done is there; somebody may have removed the directory meanwhile."""
        self.store.refresh()
        there = self.store.keys()
        lost = [key for key in report.computed_keys if key not in there]
        if lost:
            first = f" The first failure: {report.failures[0]}" if report.failures else ""
            raise StorageError(
                f"{len(lost)} of {report.computed} nodes that were computed are not in {self.store.location} "
                f"any more: was the directory removed, or its file system unmounted, during the run? "
                f"Run again to compute them.{first}"
            )

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

    def _round(self, plan: Plan, rounds: Rounds) -> Round:
        """Run the plan; what became of it."""
        from .rounds import Round

        this = Round(plan, rounds)
        try:
            this()
        finally:
            # What others compute has no status here: if they leave it, it is done in another round.
            left = {key for key, status in this.statuses.items() if status == "elsewhere"}
            self.statuses.update((key, status) for key, status in this.statuses.items() if key not in left)
            for key in left:
                self.statuses.pop(key, None)
            self.failures.update(this.failures)
            self.called.extend(this.called)
            self.content = this.content
        return this

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

    def found_damaged(self, key: str, reason: str) -> None:
        """A node's bytes are not what was written: say so, and forget them."""
        self._name([reason])
        self.spared.discard(key)
        self.store.mark_damaged(key, reason)
        self.named.update(self.store.problems())

    def _name(self, problems: Iterable[str]) -> None:
        """Say what is damaged, each thing once."""
        new = [problem for problem in problems if problem not in self.named]
        if not new:
            return
        import logging

        for problem in new:
            logging.getLogger("dagtree").warning("damaged: %s", problem)
        self.named.update(new)
        self.damaged.extend(new)
        self.store.acknowledge()

    def _report(self, seconds: float, interrupted: bool, before: Set[str]) -> Report:
        statuses = dict(self.statuses)
        computed = [key for key, status in statuses.items() if status == "done"]
        failed = [key for key, status in statuses.items() if status == "failed"]
        skipped = [key for key, status in statuses.items() if status in ("skipped", "blocked", "planned")]
        wanted = {promise.key for promise in self.targets}
        there = self.store.keys()
        if interrupted:
            skipped = [
                key for key in wanted if key not in there and key not in failed and key not in self.spared
            ]
        cached = [key for key in wanted if key in there and key not in statuses]
        failed_calls = sum(function is not None for _, function in self.failures)
        return Report(
            computed=len(computed),
            cached=len(cached),
            elsewhere=sum(key not in before for key in cached),
            failed=len(failed),
            skipped=len(skipped),
            seconds=seconds,
            functions=len(self.called) - failed_calls,
            failures=tuple(self.failures.values()),
            damaged=tuple(self.damaged),
            computed_keys=tuple(computed),
            skipped_keys=tuple(skipped),
            interrupted=interrupted,
            code_news=self.code_news,
            evicted=len([key for key in wanted if key in self.spared and key not in there]),
            differing=self._differing(computed),
        )

    def report_so_far(self, seconds: float) -> Report:
        """What has been done by now, while it runs."""
        statuses = dict(self.monitor.statuses)
        done = tuple(key for key, status in statuses.items() if status == "done")
        skipped = tuple(key for key, status in statuses.items() if status == "skipped")
        return Report(
            computed=len(done),
            cached=self.monitor.cached,
            failed=sum(status == "failed" for status in statuses.values()),
            skipped=len(skipped),
            seconds=seconds,
            failures=tuple(self.monitor.failures),
            computed_keys=done,
            skipped_keys=skipped,
            code_news=self.code_news,
        )

    def _differing(self, computed: Iterable[str]) -> tuple[str, ...]:
        """What was evicted and computed again, and isn't what it was, in words; each is said aloud."""
        found = []
        for key in computed:
            if key not in self.were_evicted or key in self.beside:
                continue
            record = self.store.records()[key]
            differs = record.more.get("differs")
            if differs:
                names = ", ".join(map(str, differs[:5])) + (", …" if len(differs) > 5 else "")
                found.append(
                    f"{record.recipe} node {key} was evicted and computed again, and isn't what it was: "
                    f"{names} differ{'s' * (len(differs) == 1)}. Was a seed, a library, a device or a file "
                    f"another one?"
                )
        if found:
            import logging

            for one in found:
                logging.getLogger("dagtree").warning("differs: %s", one)
        return tuple(found)
