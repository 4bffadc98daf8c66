"""Trees of trivial steps beside Dask alone running the same low-level graph on the same scheduler.

`python -m benchmarks.engine_dask SCHEDULER NODES CHAINS TASK_MS REPEATS DIRECTORY`: in this process, on one
warmed scheduler ("single-threaded", "threads" with 2, or "cluster", 2 workers of one thread each), REPEATS
times in turns: Dask (the graph's making included) and dagtree (definition and `run()`, into a directory that
isn't there). As many chains as nodes are a fan-out. A step adds a number, after sleeping TASK_MS
milliseconds. Prints the seconds of each, in order.
"""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

# On a cluster tasks run that were not defined in `__main__`.
from dask._task_spec import Task, TaskRef

import dagtree as dg

from . import chains_dagtree
from .chains import Shape, check

WARMING = 20  # nodes that go unmeasured first, so that every process has imported what it needs


class SlowAdd(dg.Recipe):
    i: int
    task_ms: float

    def run(self, state: Any) -> Any:
        time.sleep(self.task_ms / 1000)
        state.x += self.i
        return state


def root() -> dict[str, int]:
    return {"x": 0}


def add(parent: dict[str, int], i: int, task_ms: float) -> dict[str, int]:
    if task_ms:
        time.sleep(task_ms / 1000)
    return {"x": parent["x"] + i}


Get = Callable[[dict[Any, Any], list[Any]], list[Any]]


def with_dask(shape: Shape, task_ms: float, get: Get, mark: str) -> float:
    started = time.perf_counter()
    graph: dict[Any, Any] = {f"root-{mark}": Task(f"root-{mark}", root)}
    ends = []
    for chain in range(shape.chains):
        last = f"root-{mark}"
        for i in shape.steps(chain):
            name = f"add-{i}-{mark}"
            graph[name] = Task(name, add, TaskRef(last), i, task_ms)
            last = name
        ends.append(last)
    states = get(graph, ends)
    took_s = time.perf_counter() - started
    check("x at the ends", [state["x"] for state in states], shape.expected())
    return took_s


def with_dagtree(shape: Shape, task_ms: float, scheduler: Any) -> float:
    started = time.perf_counter()
    experiment = dg.Experiment(shape.directory, state_class=chains_dagtree.Number)
    first = experiment.spawn_new_tree()
    ends = []
    for chain in range(shape.chains):
        last = first
        for i in shape.steps(chain):
            last = SlowAdd(i=i, task_ms=task_ms)(last) if task_ms else chains_dagtree.Add(i=i)(last)
        ends.append(last)
    report = experiment.run(scheduler, workers=2)
    took_s = time.perf_counter() - started
    check("nodes computed", report.computed, shape.nodes + 1)
    check("x at the end", ends[-1].get().x, shape.expected()[-1])
    return took_s


@contextlib.contextmanager
def opened(scheduler: str) -> Iterator[tuple[Any, Get]]:
    """What dagtree's `run` takes, and how Dask alone is asked."""
    if scheduler == "single-threaded":
        from dask.local import get_sync

        yield scheduler, get_sync
    elif scheduler == "threads":
        import dask.threaded

        yield scheduler, partial(dask.threaded.get, num_workers=2)
    else:
        from distributed import Client, LocalCluster

        with (
            LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0") as cluster,
            Client(cluster, set_as_default=False) as client,
        ):
            yield client, client.get


def main() -> None:
    scheduler, nodes, chains, task_ms, repeats, directory = sys.argv[1:]
    times: dict[str, list[float]] = {"dask_s": [], "dagtree_s": []}
    with opened(scheduler) as (taken, get):
        small = Shape(WARMING, WARMING // 2, Path(directory) / "warming")
        with_dask(small, float(task_ms), get, "warming")
        with_dagtree(small, float(task_ms), taken)
        for repeat in range(int(repeats)):
            shape = Shape(int(nodes), int(chains), Path(directory) / str(repeat))
            turns: list[tuple[str, Callable[[], float]]] = [
                ("dask_s", partial(with_dask, shape, float(task_ms), get, str(repeat))),
                ("dagtree_s", partial(with_dagtree, shape, float(task_ms), taken)),
            ]
            for what, turn in turns if repeat % 2 else reversed(turns):
                times[what].append(turn())
    print(json.dumps(times))


if __name__ == "__main__":
    from benchmarks.engine_dask import main as imported  # by its name, so that it is not of `__main__`

    imported()
