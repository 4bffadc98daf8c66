"""The chains with Dask alone: one low-level graph, the single-threaded scheduler, nothing kept.

define   the graph as a dict of `Task`; a key is a tuple, nothing is hashed
cold     define, then `dask.local.get_sync` of the ends; there is no cache, so a second run would cost as much

Dask is imported before the clock starts.
"""

from __future__ import annotations

from typing import Any

# What Dask turns the older tuples into before it runs them; given at once it costs a fifth less.
from dask._task_spec import Task, TaskRef
from dask.local import get_sync

from .chains import Clock, Phase, Shape, check


def root() -> dict[str, int]:
    return {"x": 0}


def add(parent: dict[str, int], i: int) -> dict[str, int]:
    return {"x": parent["x"] + i}


def graph_of(shape: Shape) -> tuple[dict[Any, Any], list[Any]]:
    graph: dict[Any, Any] = {"root": Task("root", root)}
    ends = []
    for chain in range(shape.chains):
        last: Any = "root"
        for i in shape.steps(chain):
            key = ("add", i)
            graph[key] = Task(key, add, TaskRef(last), i)
            last = key
        ends.append(last)
    return graph, ends


def define(shape: Shape) -> dict[str, float]:
    clock = Clock()
    with clock("define_s"):
        graph, _ = graph_of(shape)
    check("tasks", len(graph), shape.nodes + 1)
    return clock.times


def cold(shape: Shape) -> dict[str, float]:
    clock = Clock()
    with clock("total_s"):
        with clock("define_s"):
            graph, ends = graph_of(shape)
        with clock("run_s"):
            states = get_sync(graph, ends)
    check("x at the ends", [state["x"] for state in states], shape.expected())
    return clock.times


PHASES: dict[str, Phase] = {"define": define, "cold": cold}
