"""Experiment: the face of dagtree. Each method is a few lines that call one room."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any, Literal, cast, overload

from .definition.promise import ExperimentStatePromise
from .definition.recipe import HasPromise
from .definition.replicate import Replicates
from .definition.state import ExperimentState, state_with
from .definition.tree import Tree
from .errors import DamagedError, DefinitionError, NotComputedError, TreeError
from .handing import Handing
from .loading import GraphLoader
from .reopening import kept_state_class, missing_code, planned
from .replication import Replication
from .safety import SafePointsFace
from .storage.mapping import Check
from .storage.notes import Note
from .storage.opening import open_store
from .storage.record import Record
from .truth import Truth
from .upkeep import Upkeep
from .watching import Watching

if TYPE_CHECKING:
    from .analysis.graph import Graph
    from .execution.explain import Explanation, Explanations
    from .execution.kinds import Shown
    from .execution.report import Report
    from .execution.run import Run
    from .execution.running import Running

__all__ = ["Experiment"]


class Experiment(Replication, SafePointsFace, Handing, Truth, Upkeep, Watching):
    """A tree of states in a directory, or at a URL: ``s3://bucket/run``, whatever fsspec reaches.

    Takes the directory or URL (made when the first node is kept, not before) and the class of its states.
    Define the tree with ``spawn_new_tree`` and recipes, compute what is missing with ``run``, and look at all
    of it through ``graph``. ``check`` says when large tensors that are restored are compared with their
    digests: when this process does it first, "always", or "never". ``moments`` says how often safe points of
    recipes that yield are kept: "auto", "all", every n-th step, a time like "10min", or "none".

    Raises StorageError when the directory is a file or the URL can't be reached, FormatVersionError when
    another format of dagtree wrote it.
    """

    def __init__(
        self,
        directory: str | os.PathLike[str],
        state_class: type[ExperimentState] = ExperimentState,
        *,
        check: Check = "first",
        moments: Any = "auto",
    ) -> None:
        if not (isinstance(state_class, type) and issubclass(state_class, ExperimentState)):
            raise DefinitionError(f"state_class must be a subclass of ExperimentState, not {state_class!r}.")
        self._store = open_store(directory, check=check)
        self._tree = Tree(self, state_class)
        self.moments = moments
        self._statuses: dict[str, str] = {}
        self._graph: tuple[Any, Graph] | None = None
        self._named: set[str] = set()

    @classmethod
    def restore(
        cls,
        directory: str | os.PathLike[str],
        state_class: type[ExperimentState] | None = None,
        slim: bool = True,
        *,
        check: Check = "first",
    ) -> Experiment:
        """Open an experiment again, to look at and to extend. Writes nothing and unpickles nothing.

        With ``slim`` the class of the states is looked for only when a state is restored or a recipe is
        applied to a node; without, now. ``check`` is the class's. Nodes of ``graph`` are parents like any
        promise.

        Raises NotAnExperimentError when no experiment was ever kept there.
        """
        experiment = cls.__new__(cls)
        experiment._store = open_store(directory, read_only=True, must_exist=True, check=check)
        experiment._tree = Tree(experiment, state_class, lambda: kept_state_class(experiment._store))
        experiment._statuses = {}
        experiment._graph = None
        experiment._named = set()
        if not slim:
            _ = experiment.state_class
        return experiment

    # What the script says

    @property
    def state_class(self) -> type[ExperimentState]:
        """The class of the states."""
        return self._tree.state_class

    def spawn_new_tree(self, **arguments: Any) -> ExperimentStatePromise:
        """The root of the tree: a state of ``state_class`` with these properties. Computes nothing. Within a
        block that replicates one of the properties, a root for each of its values.

        The same arguments again give the same promise. Raises PropertyError for a wrong, missing or unknown
        name, TreeError when this experiment has a root with other arguments.
        """
        return cast("ExperimentStatePromise", self._tree.spawn_each(arguments))

    def tag(self, *tags: str | Sequence[str]) -> contextlib.AbstractContextManager[None]:
        """Tag every node that is defined within the block: ``with exp.tag("lr:0.1", "baseline"):``. Blocks
        nest.
        """
        flat: list[str] = []
        for group in tags:
            flat.extend([group] if isinstance(group, str) or not isinstance(group, Sequence) else group)
        return self._tree.tag(flat)

    @property
    def tags(self) -> list[str]:
        """The tags that a node defined now would get."""
        return list(self._tree.tags)

    @property
    def root(self) -> ExperimentStatePromise | None:
        """The promise of the root; None before ``spawn_new_tree``. Of a restored experiment, that of its
        latest tree.
        """
        if self._tree.root is None and self._tree.restored and self.graph.roots:
            self._tree.root = self._promise(self.graph.root.key)
        return self._tree.root

    @property
    def leaves(self) -> tuple[ExperimentStatePromise, ...]:
        """The promises that nothing grows from yet."""
        return self._tree.leaves()

    @property
    def experiment_arguments(self) -> dict[str, Any] | None:
        """What ``spawn_new_tree`` was given."""
        return self._tree.arguments

    # What is done

    @overload
    def run(
        self,
        scheduler: Any = "single-threaded",
        *,
        workers: int | None = None,
        progress: Shown = None,
        wait: Literal[True] = True,
        listeners: Sequence[Any] = (),
        moments: Any = None,
        resources: Mapping[str, Any] | None = None,
    ) -> Report: ...
    @overload
    def run(
        self,
        scheduler: Any = "single-threaded",
        *,
        workers: int | None = None,
        progress: Shown = None,
        wait: Literal[False],
        listeners: Sequence[Any] = (),
        moments: Any = None,
        resources: Mapping[str, Any] | None = None,
    ) -> Running: ...
    def run(
        self,
        scheduler: Any = "single-threaded",
        *,
        workers: int | None = None,
        progress: Shown = None,
        wait: bool = True,
        listeners: Sequence[Any] = (),
        moments: Any = None,
        resources: Mapping[str, Any] | None = None,
    ) -> Report | Running:
        """Compute what is missing, keep it, and call the functions that were asked for.

        ``scheduler`` is "single-threaded", "threads", "processes", a ``distributed.Client`` or cluster, or
        the address of a scheduler; ``workers`` is how many threads or processes (by default one for each
        core). ``progress`` shows or hides how far it is; by default that is shown where somebody can see it,
        and ``"log"`` writes a line a node instead. ``listeners`` hear what happens; see `dagtree.Listener`.
        ``moments`` says for this run how often safe points are kept; by default as the experiment's `moments`
        do. ``resources`` says what this machine has for recipes that ask, where that isn't what is found:
        ``{"GPU": 2, "memory": "64GB", "licence": 1}``.

        Returns a Report. A recipe that fails costs its own node and what hangs below it; when all that can be
        done is done, RunError names each failure. Ctrl-C raises RunInterrupted. Either way what is computed
        is kept. With ``wait=False`` it returns a `Running` at once, and the run goes on in the background;
        BusyError while such a one is under way.
        """
        from .execution.policy import policy_of
        from .execution.run import Run

        if not self._tree.promises:
            raise DefinitionError("There is no tree to run yet: begin with root = exp.spawn_new_tree(…).")
        if moments is not None:
            policy_of(moments)  # what can't be meant is an error here, not in the background
        self._alone()
        self._writable()
        run = Run(
            self._tree,
            self._store,
            list(self._tree.promises.values()),
            asked=self._tree.asked(),
            scheduler=scheduler,
            workers=workers,
            progress=progress,
            listeners=(*self._listeners, *listeners),
            in_background=not wait,
            named=self._named,
            resources=resources,
        )
        return self._do(run, moments) if wait else self._in_background(run, lambda: self._do(run, moments))

    def _do(self, run: Run, moments: Any) -> Report:
        try:
            with self._store.batched(), self._moments_of_run(moments):
                return run()
        finally:
            ended = ("skipped", "failed")
            self._statuses = {key: status for key, status in run.statuses.items() if status in ended}
            self._graph = None

    def get(self, promise: ExperimentStatePromise | Replicates, scheduler: Any = "single-threaded") -> Any:
        """The state of a node, of replicates a list; computed if missing: what ``promise.get()`` gives."""
        from .execution.run import Run

        if isinstance(promise, Replicates):
            return promise.get(scheduler)
        if promise.tree is not self._tree:
            raise TreeError(f"{promise!r} belongs to another experiment: {promise.tree.experiment}.")
        there = self._store.keys()
        if promise.key not in there:
            self._alone()
            self._writable()
        for _ in range(2):
            run = Run(
                self._tree,
                self._store,
                [promise],
                scheduler=scheduler,
                taken=promise,
                listeners=self._listeners,
                named=self._named,
            )
            with self._store.batched():
                run()
            self._graph = None
            if run.content is not None:
                break
            try:
                run.content = self._store.restore(promise.key).load(copy=False)
                break
            except DamagedError as error:
                self._writable()
                run.found_damaged(promise.key, str(error))
        else:
            raise NotComputedError(
                f"{promise.label} [{promise.key[:8]}] was computed twice and could not be read back.",
                promise.key,
            )
        return state_with(self.state_class, run.content, promise.key, promise.tags)

    @overload
    def explain(self) -> Explanations: ...
    @overload
    def explain(self, node: HasPromise) -> Explanation: ...
    def explain(self, node: HasPromise | None = None) -> Explanations | Explanation:
        """Why a node (a promise, or a node of the graph) would be computed: what is kept of it, or the
        closest node that is kept and what differs; of a cached one, when and where it was computed and what
        its key covers. Without a node, all that are defined; of a restored experiment, all of its graph.
        Computes nothing, and changes nothing.
        """
        from .analysis.node import Node
        from .execution.explain import Explanations
        from .execution.reasons import Reasons

        self._store.refresh()
        reasons = Reasons(self._store, self._store.problems())
        if node is not None:
            loader = getattr(getattr(node, "_tree", None), "loader", None)
            if isinstance(loader, GraphLoader) and loader.experiment is self and isinstance(node, Node):
                return reasons.explain(self._seen(node.key))
            promise = node.to_promise()
            if promise.tree is not self._tree:
                raise TreeError(f"{promise!r} belongs to another experiment: {promise.tree.experiment}.")
            return reasons.explain(promise)
        promises = list(self._tree.promises.values())
        if self._tree.restored:
            kept = [node.key for node in self.graph.nodes if node.key not in self._tree.promises]
            promises = [*map(self._seen, kept), *promises]
        return Explanations([reasons.explain(promise) for promise in promises])

    # What there is

    @property
    def graph(self) -> Graph:
        """Everything that is kept here and everything that is defined: nodes to filter, compare, restore and
        draw.
        """
        self._store.refresh()
        records, there = self._store.records(), self._store.keys()
        version = (len(records), len(there), self._tree.revision, self._store.revision)
        if self._graph is None or self._graph[0] != version:
            self._graph = version, self._new_graph(records, there)
        return self._graph[1]

    def _new_graph(self, records: Mapping[str, Record], there: Any) -> Graph:
        from .analysis.graph import Graph

        absent = records.keys() - there if len(there) < len(records) else ()
        statuses = {key: "damaged" for key in absent if records[key].status == "done"}
        statuses.update(dict.fromkeys(self._store.evicted(), "evicted"))
        statuses.update({key: status for key, status in self._statuses.items() if key not in there})
        shown = dict(records)
        if not self._tree.restored:
            now = time.time()
            taken = {record.address: key for key, record in records.items()}
            for key, promise in self._tree.promises.items():
                known = records.get(key)
                if known is None:
                    shown[key] = planned(promise, now)
                    statuses.setdefault(key, "planned")
                elif taken.get(promise.address) != key:
                    shown[key] = known.noted([Note(key, (), {}, now, now)])
        else:
            for key, promise in self._tree.promises.items():
                if key not in records:
                    shown[key] = planned(promise, time.time())
                    statuses.setdefault(key, "planned")
        return Graph(
            shown.values(), GraphLoader(self), statuses, title=self.location.rstrip("/").rpartition("/")[2]
        )

    def _writable(self) -> None:
        if self._store.read_only:
            self._store = self._store.writable()

    def _promise(self, key: str) -> ExperimentStatePromise:
        """The promise of a node that may be known from disk only."""
        found = self._tree.promises.get(key)
        if found is not None:
            return found
        if not self._tree.first_position and key in (records := self._store.records()):
            self._tree.first_position = 1 + max(record.position for record in records.values())
        return self._tree.adopt(lambda tree: self._from_record(key), key)

    def _seen(self, key: str) -> ExperimentStatePromise:
        """The same, without making it a node of the tree: for those who only look."""
        found = self._tree.promises.get(key)
        return self._from_record(key) if found is None else found

    def _from_record(self, key: str) -> ExperimentStatePromise:
        from .execution.kept import promise_of

        records = self._store.records()
        record = records.get(key)
        if record is None:
            raise NotComputedError(f"No node {key[:8]} is kept in {self.location}.", key)
        return promise_of(self._tree, record, records)

    def _restored_state(self, key: str) -> Any:
        """The state of a node, read and unpickled."""
        record = self._store.records().get(key)
        there = self._store.keys()
        if key in self._store.evicted():
            return self.get(self._promise(key))
        if record is None or (record.status != "done" and key not in there):
            known = self._tree.promises.get(key)
            what = known.label if known is not None else record.recipe if record is not None else "the node"
            why = "it failed when it was last run" if record is not None else "it is not computed yet"
            raise NotComputedError(
                f"{what} [{key[:8]}] has no state to restore: {why}. Call exp.run() or promise.get().", key
            )
        try:
            payload = self._store.restore(key).checked()
        except DamagedError as error:
            if not self._store.read_only:
                self._store.mark_damaged(key, str(error))
            self._graph = None
            raise
        except NotComputedError:
            if key in self._store.evicted():  # since we looked
                return self.get(self._promise(key))
            raise
        cls = self._tree.known_state_class or kept_state_class(self._store, record)
        with missing_code(
            f"{record.recipe} [{key[:8]}] holds objects whose classes can't be imported here",
            "Put the module on sys.path. What needs no such code (metrics, tags, properties, drawing) works "
            "without.",
        ):
            return state_with(cls, payload.load(copy=False), key, record.tags)

    def __repr__(self) -> str:
        defined, kept = len(self._tree.promises), len(self._store.keys())
        return f"<Experiment {self.location}: {defined} defined, {kept} kept>"

    def _repr_html_(self) -> str:
        where = escape(self.location)
        return f"<div><b>Experiment</b> <code>{where}</code></div>{self.graph._repr_html_()}"
