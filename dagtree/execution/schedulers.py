"""Hands a graph of steps to Dask: in this thread, in threads, in processes, or on a cluster."""

from __future__ import annotations

import contextlib
import gc
import heapq
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from ..errors import WorkerError
from .kinds import Stop, kind_of
from .step import perform
from .task import Outcome, Step

if TYPE_CHECKING:
    from .budget import Budget
    from .marks import MarkPlace

__all__ = ["Means", "execute", "parallelism"]

Graph = Mapping[str, tuple[Step, Sequence[str]]]


class Means(NamedTuple):
    """What a graph is done with: the scheduler, how many threads or processes, what this machine has
    (``resources``; None: what is found), where processes say what they are at, how long recipes took of late,
    by name, ``say``, to which a run turns when it waits, and ``heard``, which gets what steps in other
    processes tell meanwhile, in another thread."""

    scheduler: Any
    workers: int | None
    resources: Mapping[str, Any] | None
    marks: MarkPlace | None
    seconds: Callable[[], Mapping[str, float]]
    say: Callable[[str], None]
    heard: Callable[[list[Any]], None]


def execute(graph: Graph, means: Means, ended: Callable[[Outcome], None], stop: Stop) -> None:
    """Run the graph, parents before children; ``ended`` gets each outcome, in this thread, as it arrives.

    Ctrl-C sets ``stop``, lets steps end that can't be interrupted, and goes on as KeyboardInterrupt. Raises
    WorkerError, before anything is begun, when a step asks for what nobody has.
    """
    kind = kind_of(means.scheduler)
    if kind == "cluster":
        _on_cluster(graph, means, ended, stop)
        return
    budget = None
    if any(step.demands.resources for step, _ in graph.values()):
        from .budget import machine_budget

        budget = machine_budget(means.resources)
        _check(graph, budget)
    if kind == "single-threaded":
        _in_turn(graph, ended)
    else:
        _in_pool(graph, kind, means, budget, ended, stop)


def _check(graph: Graph, budget: Budget) -> None:
    from .budget import asked_in_words

    for step, _ in graph.values():
        if budget.lacks(step.demands):
            raise WorkerError(
                f"{step.label()} asks for {asked_in_words(dict(step.demands.resources))}, and this machine "
                f"has {asked_in_words(budget.amounts)}. What is not found by itself is said at the run: "
                f'exp.run("threads", resources={{"GPU": 2, "licence": 1}}). Nothing was begun.'
            )


def _in_pool(
    graph: Graph,
    kind: str,
    means: Means,
    budget: Budget | None,
    ended: Callable[[Outcome], None],
    stop: Stop,
) -> None:
    import dask.threaded
    from dask._task_spec import Task, TaskRef
    from dask.callbacks import Callback
    from dask.order import order

    from .budget import Budget
    from .channel import process_channel
    from .pools import Choosing
    from .processes import Processes, spawn

    processes = Processes(means.marks, stop) if kind == "processes" else None
    do = perform if processes is None else processes.perform
    # Where Dask has a choice it goes by name: by these, in order of definition.
    names = {key: f"{place:09d}" for place, key in enumerate(graph)}
    tasks = {
        names[key]: Task(names[key], do, step, *(TaskRef(names[parent]) for parent in parents))
        for key, (step, parents) in graph.items()
    }

    def arrived(key: Any, outcome: Any, *rest: Any) -> None:
        ended(outcome)

    # Every outcome passes through `arrived`; Dask need hold none that nobody waits for.
    inner = {parent for _, parents in graph.values() for parent in parents}
    keys = [name for key, name in names.items() if key not in inner]
    count = means.workers or os.cpu_count() or 1
    pool: Executor
    if budget is None and not any(step.demands.priority for step, _ in graph.values()):
        pool = ThreadPoolExecutor(count, thread_name_prefix="dagtree")
    else:
        places = order(cast(Any, tasks))
        demands = {names[key]: step.demands for key, (step, _) in graph.items()}
        rank = {name: (-each.priority, places[name]) for name, each in demands.items()}
        pool = Choosing(count, rank, demands, budget or Budget({}))
    with contextlib.ExitStack() as stack:
        stack.enter_context(_settled())
        if processes is not None:
            processes.pipe = stack.enter_context(process_channel(spawn, _watched_by(graph), means.heard))
        stack.enter_context(Callback(posttask=arrived))
        stack.enter_context(_stopping(pool, processes, stop))
        if processes is not None:
            stack.enter_context(stop.calls(processes.terminate))
        dask.threaded.get(tasks, keys, pool=pool)


def _in_turn(graph: Graph, ended: Callable[[Outcome], None]) -> None:
    """In this thread. A chain, each step of which only the next one waits for, is one task: Dask has no
    choice there, and asking it costs as much as a cheap recipe.
    """
    from dask._task_spec import Task, TaskRef
    from dask.local import get_sync

    if any(step.demands.priority for step, _ in graph.values()):
        _by_priority(graph, ended)
        return
    waiting = Counter(parent for _, parents in graph.values() for parent in parents)
    chains: dict[str, list[str]] = {}  # by the step that each now ends with
    for key, (_, parents) in graph.items():
        is_next = len(parents) == 1 and waiting[parents[0]] == 1 and parents[0] in chains
        chains[key] = [*chains.pop(parents[0]), key] if is_next else [key]
    # Where Dask has a choice it goes by name: by these, in order of definition.
    names = {end: f"{place:09d}" for place, end in enumerate(chains)}
    tasks = {}
    for end, chain in chains.items():
        steps = [graph[key][0] for key in chain]
        before = [TaskRef(names[parent]) for parent in graph[chain[0]][1]]
        tasks[names[end]] = Task(names[end], partial(_follow, steps, ended), *before)
    with _settled():
        get_sync(tasks, [names[end] for end in chains if not waiting[end]])


def _follow(steps: Sequence[Step], ended: Callable[[Outcome], None], *inputs: Outcome) -> Outcome:
    """Do the steps of a chain; the outcome of the last."""
    for step in steps:
        outcome = perform(step, *inputs)
        ended(outcome)
        inputs = (outcome,)
    return outcome


@contextlib.contextmanager
def _settled() -> Iterator[None]:
    """The graph is no garbage: the collector needn't look at its many objects again and again."""
    ours = gc.get_freeze_count() == 0
    if ours:
        gc.freeze()
    try:
        yield
    finally:
        if ours:
            gc.unfreeze()


def _by_priority(graph: Graph, ended: Callable[[Outcome], None]) -> None:
    """In this thread, of what is ready always the first by priority, then the one that was made ready last:
    depth first."""
    children: dict[str, list[str]] = {}
    waits = {key: len(set(parents)) for key, (_, parents) in graph.items()}
    for key, (_, parents) in graph.items():
        for parent in set(parents):
            children.setdefault(parent, []).append(key)
    takers = {key: len(below) for key, below in children.items()}
    outcomes: dict[str, Outcome] = {}
    turn = 0
    ready: list[tuple[float, int, str]] = []

    def make_ready(keys: Sequence[str]) -> None:
        nonlocal turn
        for key in reversed(keys):
            turn -= 1
            heapq.heappush(ready, (-graph[key][0].demands.priority, turn, key))

    make_ready([key for key, count in waits.items() if not count])
    while ready:
        _, _, key = heapq.heappop(ready)
        step, parents = graph[key]
        outcome = perform(step, *(outcomes[parent] for parent in parents))
        ended(outcome)
        for parent in set(parents):
            takers[parent] -= 1
            if not takers[parent]:
                del outcomes[parent]
        if key in takers:
            outcomes[key] = outcome
        for child in children.get(key, ()):
            waits[child] -= 1
        make_ready([child for child in children.get(key, ()) if not waits[child]])


@contextlib.contextmanager
def _stopping(pool: Executor, processes: Any, stop: Stop) -> Iterator[None]:
    """Close the pool at the end; on Ctrl-C, ask the steps to stop and start no other."""
    try:
        yield
    except BaseException:
        stop.set()
        if processes is not None:
            processes.terminate()
        pool.shutdown(wait=True, cancel_futures=True)
        raise
    else:
        pool.shutdown(wait=True)
    finally:
        if processes is not None:
            processes.close()


def _on_cluster(graph: Graph, means: Means, ended: Callable[[Outcome], None], stop: Stop) -> None:
    from distributed import Client

    from .channel import cluster_channel
    from .cluster import Flight

    own = None
    client = scheduler = means.scheduler
    address = scheduler
    try:
        if getattr(scheduler, "asynchronous", False):  # its own loop must go on, so that it can be awaited
            inner: Any = scheduler.scheduler if isinstance(scheduler, Client) else scheduler
            address = getattr(inner, "address", None) or inner.scheduler_address
            client = own = Client(address, security=scheduler.security, set_as_default=False)
        elif not isinstance(scheduler, Client):
            client = own = Client(scheduler, set_as_default=False)
    except OSError as error:
        raise WorkerError(
            f"The scheduler {address} can't be reached: {type(error).__name__}: {error}. Nothing was begun."
        ) from error
    try:
        with cluster_channel(client, _watched_by(graph), means.heard):
            Flight(graph, client, ended, means.say, means.marks, means.seconds(), stop)()
    finally:
        if own is not None:
            own.close()


def _watched_by(graph: Graph) -> str:
    return next(iter(graph.values()))[0].context.watched_by


def parallelism(scheduler: Any, workers: int | None) -> int:
    """How many steps may run at once; 1 where that can't be told without asking a cluster."""
    kind = kind_of(scheduler)
    if kind in ("threads", "processes"):
        return workers or os.cpu_count() or 1
    known: Any = getattr(scheduler, "scheduler_info", None)  # a cluster's is a dict; a client's a method
    try:
        found = known() if callable(known) and not getattr(scheduler, "asynchronous", False) else known
        return max(1, sum(int(worker["nthreads"]) for worker in found["workers"].values()))
    except Exception:
        return 1
