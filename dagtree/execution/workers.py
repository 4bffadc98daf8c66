"""The workers of a cluster: whether there are any, whether they have what recipes ask for, and who died."""

from __future__ import annotations

import inspect
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from distributed.diagnostics.plugin import SchedulerPlugin

from ..amounts import size_text
from ..definition.demands import Demands
from ..errors import WorkerError
from .budget import asked_in_words
from .progress import log
from .report import duration
from .task import Step

if TYPE_CHECKING:
    from distributed import Client

__all__ = ["Few", "Watch"]

_QUIET_S = 1.0  # after so long without a word from the cluster it is asked whom it has
_SURE_S = 5.0  # what no worker can do is given up when none has come that can, and none is to come
PATIENCE = "dagtree.wait-for-workers"
"""The setting of Dask that says how long to wait for workers that may still come; by default as long as it
takes."""


class Few(SchedulerPlugin):
    """Has the scheduler give up a task of one run as soon as two workers died at it, and what one died at
    before as soon as another did."""

    def __init__(self, run: str) -> None:
        self.name = f"dagtree-{run}"
        self._run = run

    def update_graph(self, scheduler: Any, *, tasks: Iterable[Any], **rest: Any) -> None:
        for task in tasks:
            state = scheduler.tasks.get(getattr(task, "key", task))
            name = str(getattr(state, "key", ""))
            if state is not None and f"-{self._run}" in name:
                spared = 0 if name.endswith("-once") else 1
                state.suspicious = max(state.suspicious, scheduler.allowed_failures - spared)


class Watch:
    """Looks at a cluster that has been silent for a while: says that it has no worker yet, and gives up what
    none of them can do.

    ``pending`` gives the tasks that wait or run, by name; ``refuse`` is called, in a thread, with the name of
    one that nobody will do; why is in ``refusals``. ``now_and_then`` is called in that thread once a second.
    """

    def __init__(
        self,
        client: Client,
        say: Callable[[str], None],
        refuse: Callable[[str], None],
        pending: Callable[[], Mapping[str, Step]],
        now_and_then: Callable[[Watch], None],
    ) -> None:
        self.refusals: dict[str, WorkerError] = {}
        self._client = client
        self._say = say
        self._refuse = refuse
        self._pending = pending
        self._now_and_then = now_and_then
        self._heard = time.monotonic()
        self._without: dict[Demands | None, float] = {}  # since when nobody can do what asks for this
        self._known: dict[str, Any] = {}
        self._seen: set[str] = set()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look_now_and_then, name="dagtree-watch", daemon=True)

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._ended.set()
        self._thread.join()

    def heard(self) -> None:
        """Something came back."""
        self._heard = time.monotonic()

    def check(self, steps: Iterable[Step]) -> None:
        """WorkerError when there are workers, none has what a step asks for, and none is to come."""
        workers = self._workers()
        asked = {step.demands: step for step in steps if step.demands.resources}
        if not asked or not workers or self._may_grow(workers):
            return
        for demands, step in asked.items():
            if not any(_has(worker, demands) for worker in workers.values()):
                raise WorkerError(f"{self._lack(step, workers)} Nothing was begun.")

    def threads(self) -> int:
        """How many steps the cluster can do at once, now."""
        return sum(int(worker.get("nthreads", 1)) for worker in self._workers().values())

    def has_lost(self) -> bool:
        """Whether a worker is gone that was there."""
        return not self._seen <= self._workers().keys()

    def large_enough(self, memory_bytes: float) -> tuple[str, ...]:
        """The addresses of the workers that have so much memory; none when all have, or it isn't known."""
        workers = self._workers() if memory_bytes else {}
        fit = [
            address
            for address, worker in workers.items()
            if not worker.get("memory_limit") or worker["memory_limit"] >= memory_bytes
        ]
        return () if len(fit) == len(workers) else tuple(sorted(fit))

    def _look_now_and_then(self) -> None:
        while not self._ended.wait(_QUIET_S):
            try:
                self._now_and_then(self)
                if time.monotonic() - self._heard < _QUIET_S:
                    self._without.clear()
                else:
                    self._look()
            except Exception as error:  # the cluster is going away, and says so elsewhere
                log.debug("the cluster can't be asked for its workers: %s", error)

    def _look(self) -> None:
        workers = self._workers()
        grows = self._may_grow(workers)
        now = time.monotonic()
        pending = self._pending()
        if not workers and pending:
            since = self._without.setdefault(None, self._heard)
            waited = now - since
            self._say(f"waiting for workers: {self._address()} has none yet")
            if waited > self._patience(grows if self._knows_its_size() else None):
                text = (
                    f"{self._address()} has had no worker for {duration(waited)}"
                    f"{'' if grows else ', and none is to come'}. Start workers (cluster.scale(2), dask "
                    f"worker {self._address()}), and run again."
                )
                for name in pending:
                    self._give_up(name, WorkerError(text))
            return
        self._without.pop(None, None)
        for name, step in pending.items():
            if not step.demands.resources or any(_has(worker, step.demands) for worker in workers.values()):
                self._without.pop(step.demands, None)
                continue
            waited = now - self._without.setdefault(step.demands, now)
            self._say(f"waiting for a worker with {asked_in_words(dict(step.demands.resources))}")
            if waited > self._patience(grows):
                self._give_up(name, WorkerError(self._lack(step, workers)))

    def _give_up(self, name: str, why: WorkerError) -> None:
        if name not in self.refusals:
            self.refusals[name] = why
            self._refuse(name)

    def _patience(self, grows: bool | None) -> float:
        """How many seconds to wait for workers; ``grows`` is None where nobody can know."""
        import dask
        from dask.utils import parse_timedelta

        said = dask.config.get(PATIENCE, None)
        if said is not None:
            return float(parse_timedelta(said, "s"))
        return _SURE_S if grows is False else float("inf")

    def _workers(self) -> dict[str, Any]:
        """Those that there are now; when the scheduler doesn't answer, those that there were."""
        ask = self._client.scheduler_info
        every = {"n_workers": -1} if "n_workers" in inspect.signature(ask).parameters else {}
        try:
            self._known = dict(ask(**every).get("workers", {}))
        except OSError as error:  # what becomes of the run is told by its tasks
            log.debug("the scheduler doesn't say what workers it has: %s", error)
        self._seen.update(self._known)
        return self._known

    def _knows_its_size(self) -> bool:
        return getattr(self._client, "cluster", None) is not None

    def _may_grow(self, workers: Mapping[str, Any]) -> bool:
        """Whether more workers were asked for, or would be: an adaptive cluster, a queue of jobs."""
        cluster = getattr(self._client, "cluster", None)
        if cluster is None:
            return False
        adaptive = getattr(cluster, "_adaptive", None)
        if adaptive is not None and getattr(adaptive, "maximum", 1) > len(workers):
            return True
        try:
            return len(cluster.requested) > len(workers)
        except Exception:
            return False

    def _address(self) -> str:
        scheduler = getattr(self._client, "scheduler", None)
        return str(getattr(scheduler, "address", "the cluster"))

    def _lack(self, step: Step, workers: Mapping[str, Any]) -> str:
        asked = asked_in_words(dict(step.demands.resources))
        offers = {
            ", ".join(
                [
                    f"{name}: {amount:g}"
                    for name, amount in worker.get("resources", {}).items()
                    if name != "memory"
                ]
                + [f"memory: {size_text(int(worker.get('memory_limit') or 0))}"]
            )
            for worker in workers.values()
        }
        count = f"the {len(workers)} workers" if len(workers) != 1 else "the one worker"
        start = ""
        if step.demands.countable:
            wanted = " ".join(f"{name}={amount:g}" for name, amount in step.demands.countable.items())
            start = (
                f' A worker has what it is started with: dask worker … --resources "{wanted}", or '
                f"LocalCluster(resources={step.demands.countable})."
            )
        return (
            f"{step.label()} asks for {asked}, and of {count} of {self._address()} none has that; they have "
            f"{'; '.join(sorted(offers)[:3])}.{start}"
        )


def _has(worker: Mapping[str, Any], demands: Demands) -> bool:
    """Whether a worker could do what asks for this, when it is idle."""
    offered = worker.get("resources", {})
    if any(offered.get(name, 0) < amount for name, amount in demands.countable.items()):
        return False
    return not worker.get("memory_limit") or demands.memory_bytes <= worker["memory_limit"]
