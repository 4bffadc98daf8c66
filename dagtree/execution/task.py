"""The work on one edge as it travels to a worker, and what comes back: values only."""

from __future__ import annotations

import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import cloudpickle

from ..definition.demands import NONE, Demands
from ..definition.promise import label_of
from ..definition.recipe import Recipe
from ..definition.state import ExperimentState
from ..errors import DefinitionError, WorkerError
from ..identity.key import digest
from ..storage.claims import Claims, claims_of
from ..storage.local import LocalStore
from ..storage.record import Record
from ..storage.scripts import offer, packed, teach_modules
from ..storage.store import Store
from ..version import VERSION
from .environment import Commit, environment
from .generators import part_from_engine
from .handle import Handle
from .policy import AUTO, Policy
from .report import Failure
from .watch import Place, Watch, Wire

if TYPE_CHECKING:
    from .budget import Solitude
    from .marks import MarkPlace, Marks

__all__ = ["Context", "Job", "LinkedNode", "NodeFacts", "Outcome", "Step"]


class NodeFacts(NamedTuple):
    """What a record says of a node before it is computed."""

    key: str
    address: str
    kind: str
    name: str
    parents: tuple[str, ...]
    tags: tuple[str, ...]
    position: int
    moment: int | None
    spelling: str = ""  # what it is called, where that isn't its address

    def record(self, status: str, more: dict[str, Any]) -> Record:
        """Its record as of now."""
        return Record.make(
            key=self.key,
            address=self.address,
            kind=self.kind,
            recipe=self.name,
            parents=self.parents,
            tags=self.tags,
            status=status,
            moment=self.moment,
            position=self.position,
            ended=round(time.time(), 6),
            more=more,
        )


class Job(NamedTuple):
    """A function to call with a node's state, by its index in the context."""

    key: str
    name: str
    function: int
    code: str
    moment: int | None


class Context:
    """What all steps of a run share. It travels to another process once for each run, by value where it
    must.
    """

    def __init__(
        self,
        store: Store,
        state_class: type[ExperimentState],
        recipes: tuple[type[Recipe], ...],
        functions: tuple[Callable[..., Any], ...],
        git: Commit,
        state_facts: dict[str, Any],
        *,
        shared: bool,
        torch_threads: int | None = None,
        script_classes: Mapping[str, str] | None = None,
        moments: Policy = AUTO,
        watched_by: str = "",
        marks: MarkPlace | None = None,
    ) -> None:
        self.store = store
        self.state_class = state_class
        self.recipes = recipes
        self.functions = functions
        self.git = git
        self.state_facts = state_facts
        self.shared = shared
        self.is_crowded = shared  # whether another thread of this process may run a recipe meanwhile
        self.torch_threads = torch_threads
        self.script_classes = script_classes or {}
        self.moments = moments
        self.watched_by = watched_by  # the name by which the run hears of steps elsewhere, empty for nobody
        self.marks = marks
        self.at_work: Marks | None = None
        self.solitude: Solitude | None = None
        self.stopping: Callable[[], bool] = _never
        self.watch = Watch()
        self.claims: Claims | None = None
        self.is_abroad = False
        self.broken: Exception | None = None
        self._packed: tuple[str, bytes, str] | None = None
        self._environment: str | None = None

    def environment(self) -> str:
        """The digest of this process's environment; it is written down when it is first asked for."""
        if self._environment is None:
            name, content = environment(self.git())
            self.store.write_once("environments", name, content)
            self._environment = name
        return self._environment

    def __reduce__(self) -> tuple[Any, ...]:
        if self._packed is None:
            from .luggage import with_modules

            teach_modules()
            try:
                content = with_modules(packed({name: getattr(self, name) for name in SHIPPED}))
            except Exception as error:
                raise DefinitionError(
                    f"This tree can't be sent to other processes: {type(error).__name__}: {error}. What a "
                    f"script's own classes mention travels with them: put them in a module that workers can "
                    f"import, or make what can't be pickled inside of `run`."
                ) from error
            self._packed = digest(content), content, VERSION
        return _unpack_context, self._packed


SHIPPED = (
    "store", "state_class", "recipes", "functions", "git", "state_facts", "shared", "torch_threads",
    "script_classes", "moments", "watched_by", "marks",
)  # fmt: skip


def _never() -> bool:
    return False


_contexts: dict[str, Context] = {}
_unpacking = threading.Lock()
_KEPT_CONTEXTS = 8


def _unpack_context(name: str, content: bytes, version: str = "") -> Context:
    """The context in another process, unpacked once for all of its steps. Never raises: a worker that can't
    unpack its task ends, and so would all of them in turn, while the run waits."""
    from .budget import Solitude
    from .luggage import unpack_modules

    with _unpacking:
        context = _contexts.get(name)
        if context is None:
            try:
                if version != VERSION:
                    theirs = version or "(an older one)"
                    raise WorkerError(
                        f"{_here()} runs dagtree {VERSION}, and the driver dagtree {theirs}. Install one "
                        f"version on all machines of the cluster, and start the workers again."
                    )
                context = Context(**cloudpickle.loads(unpack_modules(content)))
                context._packed = (name, content, version)
                context.is_abroad = True
                context.is_crowded = context.shared and not _is_only_thread()
                if context.marks is not None:
                    if isinstance(context.store, LocalStore) and not context.marks.is_seen():
                        raise WorkerError(
                            f"{_here()} doesn't see {context.store.location} as the driver does. Workers "
                            f"need the experiment's directory under the same path (a shared file system), "
                            f"or a URL like s3://bucket/run."
                        )
                    from .marks import Marks

                    context.at_work = Marks(context.marks)
                context.solitude = Solitude(_memory_bytes())
                context.store.refresh()  # what was evicted since this process last worked there
                context.watch = Wire(context.watched_by)
                context.stopping = context.watch.stopping
                context.claims = claims_of(context.store, lazy=True, telling=context.watch.telling)
                part_from_engine()
                offer(context.script_classes, (context.state_class, *context.recipes, *context.functions))
            except Exception as error:
                context = Context.__new__(Context)
                context.broken, context.watch, context.claims = error, Watch(), None
                context._packed = (name, content, version)  # a scheduler hands it on to workers that can
                return context
            while len(_contexts) >= _KEPT_CONTEXTS:
                old = _contexts.pop(next(iter(_contexts)))
                if old.at_work is not None:
                    old.at_work.close()
            _contexts[name] = context
        return context


def _here() -> str:
    return f"The worker on {socket.gethostname()} (process {os.getpid()})"


def _only_worker() -> Any:
    """The cluster's worker that this process is, if it is one and no more. `distributed.get_worker` doesn't
    know while it unpacks a task."""
    distributed = sys.modules.get("distributed.worker")
    workers = list(getattr(getattr(distributed, "Worker", None), "_instances", ()))
    return workers[0] if len(workers) == 1 else None


def _is_only_thread() -> bool:
    """Whether this process is a worker that does one task at a time."""
    return getattr(getattr(_only_worker(), "state", None), "nthreads", 0) == 1


def _memory_bytes() -> float:
    """What the worker that this process is may use."""
    from .budget import machine_memory_bytes

    limit = getattr(getattr(_only_worker(), "memory_manager", None), "memory_limit", None)
    return float(limit) if limit else machine_memory_bytes()


class Step(NamedTuple):
    """The work on one edge, ready to travel. ``recipe`` is an index into the context's classes, None for a
    root. ``seed`` is the key that its generators are seeded from; ``extends`` says that others can go on from
    its end, ``extended`` are the edges whose ends it can go on from, the best first. ``alone`` says that
    nothing may run beside it in its process: it may be what kills it. ``spelled`` are the digests of
    those properties that have code behind their values, with that code by its name.
    """

    context: Context
    node: NodeFacts
    recipe: int | None
    properties: Mapping[str, Any]
    links: tuple[str, ...]
    module: str
    code: str
    sources: str
    final: bool
    moments: dict[int, NodeFacts]
    jobs: list[Job]
    takers: int
    seed: str = ""
    extends: bool = False
    extended: tuple[str, ...] = ()
    demands: Demands = NONE
    alone: bool = False
    spelled: Mapping[str, str] = {}

    def label(self, moment: int | None = None) -> str:
        """The recipe as one would write it."""
        return label_of(self.node.name, self.properties, moment)

    def moment_keys(self) -> Sequence[str]:
        """The keys of the moments that this step makes."""
        return [node.key for node in self.moments.values()] if self.moments else ()

    def nodes(self) -> list[NodeFacts]:
        """The nodes that this step makes."""
        if not self.moments:
            return [self.node] if self.final else []
        return [*([self.node] if self.final else ()), *self.moments.values()]


class Outcome:
    """What became of a step: the status of each of its nodes, and what the driver has to know.

    ``found`` says that another process had made its nodes since the plan; ``elsewhere`` who makes them now,
    ``ours`` that this is a worker of the same run, which its cluster has given up; ``unwritten`` that it
    failed, and nobody was left, or able, to write that down.
    """

    def __init__(self, unit: str) -> None:
        self.unit = unit
        self.statuses: dict[str, str] = {}
        self.handles: dict[str, Handle] = {}
        self.records: list[Record] = []
        self.lines: list[bytes] = []
        self.failures: list[Failure] = []
        self.damaged: list[tuple[str, str]] = []
        self.found = False
        self.elsewhere: str | None = None
        self.ours = False
        self.unwritten = False
        self.called: list[tuple[str, str]] = []
        self.metrics: dict[str, Any] = {}
        self.moments = 0
        self.place: Place | None = None
        self.seconds = 0.0
        self.noted = False
        self.foreign = False

    @classmethod
    def of(cls, step: Step, status: str) -> Outcome:
        """Of a step all of whose nodes have that status."""
        outcome = cls(step.node.key)
        outcome.statuses = dict.fromkeys((node.key for node in step.nodes()), status)
        return outcome

    def __sizeof__(self) -> int:
        # Dask asks what a task gave, and looks no deeper than this.
        return 500 + sum([handle.__sizeof__() for handle in self.handles.values()])

    def __getstate__(self) -> dict[str, Any]:
        lines = [record.encode() for record in self.records] or self.lines
        return {**self.__dict__, "records": [], "lines": lines, "foreign": True}


class LinkedNode:
    """A promise among a recipe's properties, as it travels."""

    def __init__(self, key: str, label: str) -> None:
        self.key = key
        self.label = label

    @property
    def __dagtree_key__(self) -> str:
        return self.key

    def __deepcopy__(self, memo: object) -> LinkedNode:
        return self

    def __repr__(self) -> str:
        return f"<node {self.key[:8]} {self.label}>"
