"""How runs are watched and foreseen: the face of `Experiment` for what is under way and what is to come."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from .errors import BusyError
from .storage.local import LocalStore

if TYPE_CHECKING:
    from .analysis.graph import Graph
    from .definition.tree import Tree
    from .execution.forecast import Forecast
    from .execution.run import Run
    from .execution.running import Running
    from .execution.status import Status
    from .storage.remote import RemoteStore

__all__ = ["Watching"]


class Watching:
    """What an Experiment can say about its runs; a part of `Experiment`."""

    _store: LocalStore | RemoteStore
    _tree: Tree
    _listeners: tuple[Any, ...] = ()
    _running: Running | None = None

    if TYPE_CHECKING:

        @property
        def location(self) -> str: ...
        @property
        def graph(self) -> Graph: ...

    def listen(self, listener: Any) -> Callable[[], None]:
        """Have a listener hear all runs of this experiment to come, ``get`` included; see `dagtree.Listener`.
        Returns what ends that when it is called.

        Raises DefinitionError for what has none of a listener's methods.
        """
        from .execution.listener import check_listener

        check_listener(listener)
        self._listeners = (*(one for one in self._listeners if one is not listener), listener)

        def stop() -> None:
            self._listeners = tuple(one for one in self._listeners if one is not listener)

        return stop

    def status(self) -> Status:
        """What is under way in this experiment, in any process and on any machine: which node runs where,
        since when, at which moment with which metrics, and how far each run is.

        Reads what processes write where the experiment lies, about once a second; needs no code and writes
        nothing. Processes that died, or are silent, are told apart. Of an experiment at a URL it says what is
        done, and not what runs, since nothing is written there between nodes.

        Returns a Status, which prints as a table and holds the same as data.
        """
        from .execution.status import status_of

        self._store.refresh()
        return status_of(self._store, self._tree.promises)

    def plan(self, workers: int = 1) -> Forecast:
        """What `run` would do now: the nodes that it would compute, each with the reason, and how many are
        cached; how long that takes in all and on ``workers`` workers, how many bytes it writes, and the
        critical path, going by records of the same recipes. Computes nothing, writes nothing.

        Raises DefinitionError where `run` would: when code changed since the tree was defined.
        """
        from .execution.again import spared_nodes
        from .execution.current import current
        from .execution.explain import Explanations
        from .execution.forecast import Forecast, costs_of
        from .execution.kinds import check_workers
        from .execution.news import code_news
        from .execution.plan import make_plan, results_of
        from .execution.reasons import Reasons

        check_workers(workers)
        self._store.refresh()
        there = self._store.keys()
        promises, asked = list(self._tree.promises.values()), self._tree.asked()
        results = results_of(self._store)
        spared, left = spared_nodes(self._tree, self._store, promises, asked, results)
        plan = make_plan(current(self._tree, promises, left), there, asked, results, spared)
        problems = self._store.problems()
        reasons = Reasons(self._store, problems)
        cached = {promise.key for promise in plan.cached}
        if self._tree.restored:
            cached.update(node.key for node in self.graph.nodes if node.key in there)
        missing = sorted(plan.missing, key=lambda promise: promise.position)
        return Forecast(
            missing=Explanations([reasons.explain(promise, is_needed=True) for promise in missing]),
            cached=len(cached),
            functions=sum(len(unit.functions) for unit in plan.units.values()),
            code_news=code_news(missing, self._store, problems, reasons),
            workers=workers,
            costs=costs_of(plan, self._store.records()),
        )

    # How

    def _alone(self) -> None:
        """BusyError while a run of this experiment is under way in this process."""
        running = self._running
        if running is not None and not running.is_done:
            raise BusyError(
                f"a run of {self.location} is under way in this process ({running}). Wait for it with "
                f"run.wait(), or end it with run.cancel(), and try again."
            )

    def _in_background(self, run: Run, call: Callable[[], Any]) -> Running:
        from .execution.running import Running

        self._running = Running(run, call)
        return self._running
