"""Hands a graph of steps to Dask: in this thread, in threads, in processes, or on a cluster."""

from __future__ import annotations

import contextlib
import gc
import multiprocessing
import multiprocessing.context
import os
import signal
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from typing import Any

from .channel import cancel, cluster_channel, process_channel, task_names
from .kinds import Stop, kind_of
from .report import failure_of
from .step import perform
from .task import Outcome, Step
from .watch import use_pipe

__all__ = ["Stop", "WorkerDied", "execute", "parallelism"]

Graph = Mapping[str, tuple[Step, Sequence[str]]]


def execute(
    graph: Graph,
    scheduler: Any,
    ended: Callable[[Outcome], None],
    stop: Stop,
    workers: int | None,
    heard: Callable[[list[Any]], None],
) -> None:
    """Run the graph, parents before children; ``ended`` gets each outcome, in this thread, as it arrives, and
    ``heard`` what steps in other processes tell meanwhile, in another.

    Ctrl-C sets ``stop``, lets steps end that can't be interrupted, and goes on as KeyboardInterrupt.
    """
    kind = kind_of(scheduler)
    if kind == "cluster":
        _on_cluster(graph, scheduler, ended, stop, heard)
    else:
        _here(graph, kind, ended, stop, workers, heard)


def _tasks(graph: Graph, names: dict[str, str]) -> dict[str, Any]:
    """Dask's low-level graph; ``names`` are those of its tasks by the keys of the steps."""
    from dask._task_spec import Task, TaskRef

    return {
        names[key]: Task(names[key], perform, step, *(TaskRef(names[parent]) for parent in parents))
        for key, (step, parents) in graph.items()
    }


def _here(
    graph: Graph,
    kind: str,
    ended: Callable[[Outcome], None],
    stop: Stop,
    workers: int | None,
    heard: Callable[[list[Any]], None],
) -> None:
    if kind == "single-threaded":
        _in_turn(graph, ended)
        return
    from dask.callbacks import Callback

    # Where Dask has a choice it goes by name: by these, in order of definition.
    names = {key: f"{place:09d}" for place, key in enumerate(graph)}
    tasks = _tasks(graph, names)
    steps = {name: graph[key][0] for key, name in names.items()}
    under_way: dict[str, Step] = {}

    def sent(key: Any, *rest: Any) -> None:
        under_way[key] = steps[key]

    def arrived(key: Any, outcome: Any, *rest: Any) -> None:
        under_way.pop(key, None)
        ended(outcome)

    # Every outcome passes through `arrived`; Dask need hold none that nobody waits for.
    inner = {parent for _, parents in graph.values() for parent in parents}
    keys = [name for key, name in names.items() if key not in inner]
    with _settled(), Callback(pretask=sent, posttask=arrived):
        count = workers or os.cpu_count() or 1
        pool: Executor
        if kind == "threads":
            import dask.threaded

            with _stopping(ThreadPoolExecutor(count, thread_name_prefix="dagtree"), stop) as pool:
                dask.threaded.get(tasks, keys, pool=pool)
        else:
            import dask.multiprocessing

            spawn = _Spawn()
            try:
                with (
                    process_channel(spawn, _watched_by(graph), heard) as pipe,
                    _stopping(_process_pool(count, spawn, pipe), stop) as pool,
                    stop.calls(lambda: _end_processes(pool)),
                ):
                    dask.multiprocessing.get(tasks, keys, pool=pool, optimize_graph=False, chunksize=1)
            except BrokenProcessPool:
                for step in under_way.values():
                    ended(_died(step))
                raise WorkerDied from None


def _in_turn(graph: Graph, ended: Callable[[Outcome], None]) -> None:
    """In this thread. A chain, each step of which only the next one waits for, is one task: Dask has no
    choice there, and asking it costs as much as a cheap recipe.
    """
    from dask._task_spec import Task, TaskRef
    from dask.local import get_sync

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


class WorkerDied(Exception):
    """A worker process is gone, and its pool with it; what was under way has failed, the rest has not
    begun.
    """


def _died(step: Step, cause: BaseException | None = None) -> Outcome:
    """The outcome of a step whose process didn't live to tell it."""
    if cause is None:
        said = "Others that were under way then are counted as failed too; the next run tries them again."
    else:
        said = f"The cluster says {type(cause).__name__}."
    error = RuntimeError(
        "its worker process died while this was under way: killed by a signal, out of memory, or crashed in "
        f"native code. {said}"
    )
    outcome = Outcome(step.node.key)
    outcome.failures.append(failure_of(error, step.node.key, step.label()))
    outcome.statuses = {node.key: "failed" for node in step.nodes()}
    return outcome


def _skipped(step: Step) -> Outcome:
    outcome = Outcome(step.node.key)
    outcome.statuses = {node.key: "skipped" for node in step.nodes()}
    return outcome


@contextlib.contextmanager
def _stopping(pool: Executor, stop: Stop) -> Iterator[Executor]:
    """Close the pool at the end; on Ctrl-C, ask the steps to stop and start no other."""
    try:
        yield pool
    except BaseException:
        stop.set()
        if isinstance(pool, ProcessPoolExecutor):
            _end_processes(pool)
        pool.shutdown(wait=True, cancel_futures=True)
        raise
    pool.shutdown(wait=True)


def _process_pool(count: int, spawn: Any, pipe: Any) -> ProcessPoolExecutor:
    return ProcessPoolExecutor(
        count, mp_context=spawn, initializer=_begin_worker, initargs=(list(sys.path), pipe)
    )


def _end_processes(pool: Any) -> None:
    """What such a process has finished is on disk; what it was at will be made again."""
    for process in list((pool._processes or {}).values()):
        process.terminate()


def _begin_worker(path: list[str], pipe: Any) -> None:
    """Ctrl-C in a terminal reaches all processes of a run; the driver alone decides what it means."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.path[:] = path
    use_pipe(pipe)


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


class _SpawnProcess(multiprocessing.context.SpawnProcess):
    """A fresh process that doesn't run the user's script again: its code travels by value, so it isn't needed
    there.
    """

    @staticmethod
    def _Popen(process_obj: Any) -> Any:
        main = sys.modules["__main__"]
        hidden = {name: vars(main)[name] for name in ("__file__", "__spec__") if name in vars(main)}
        with _hiding:
            for name in hidden:
                delattr(main, name)
            main.__spec__ = None
            try:
                return multiprocessing.context.SpawnProcess._Popen(process_obj)
            finally:
                for name, value in hidden.items():
                    setattr(main, name, value)


_hiding = threading.Lock()


class _Spawn(multiprocessing.context.SpawnContext):
    Process = _SpawnProcess


def _on_cluster(
    graph: Graph,
    scheduler: Any,
    ended: Callable[[Outcome], None],
    stop: Stop,
    heard: Callable[[list[Any]], None],
) -> None:
    from distributed import Client

    names = task_names({key: step.node.name for key, (step, _) in graph.items()})
    tasks = _tasks(graph, names)
    own = None
    client = scheduler
    if getattr(scheduler, "asynchronous", False):  # its own loop must go on, so that it can be awaited
        inner: Any = scheduler.scheduler if isinstance(scheduler, Client) else scheduler
        address = getattr(inner, "address", None) or inner.scheduler_address
        client = own = Client(address, security=scheduler.security, set_as_default=False)
    elif not isinstance(scheduler, Client):
        client = own = Client(scheduler, set_as_default=False)
    try:
        with cluster_channel(client, _watched_by(graph), heard):
            _gather(graph, client, tasks, names, ended, stop)
    finally:
        if own is not None:
            own.close()


def _gather(
    graph: Graph,
    client: Any,
    tasks: Mapping[str, Any],
    names: Mapping[str, str],
    ended: Callable[[Outcome], None],
    stop: Stop,
) -> None:
    from distributed import as_completed

    futures = client.get(tasks, list(names.values()), sync=False)
    try:
        with stop.calls(lambda: cancel(client, futures)):
            lost: dict[str, BaseException] = {}
            for future in as_completed(futures, loop=client.loop):
                try:
                    outcome = future.result()
                except KeyboardInterrupt:
                    raise
                except BaseException as error:  # its worker died, or the cluster gave it up
                    if stop():
                        raise KeyboardInterrupt from None
                    lost[future.key] = error
                else:
                    ended(outcome)
                future.release()  # the cluster keeps it for those that wait for it, and no longer
            gone: set[str] = set()
            for key, (step, parents) in graph.items():
                if names[key] in lost:
                    below = any(parent in gone for parent in parents)
                    gone.add(key)
                    ended(_skipped(step) if below else _died(step, lost[names[key]]))
    finally:
        for future in futures:
            future.release()
