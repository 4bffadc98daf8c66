"""The chains with dagger, whose package lies where DAGGER_AT says (dill has to be importable).

cold      from an empty directory to the end of `run`, on the single-threaded scheduler
warm      the same program in a fresh process: every state is loaded
threads   `cold` with Dask's threads

dagger and Dask are imported before the clock starts.
"""

from __future__ import annotations

import os
import sys
from typing import Any

from .chains import Clock, Phase, Shape, check

sys.path.insert(0, os.environ.get("DAGGER_AT", "."))
tool: Any = __import__("dagger")
computed = 0


class Number(tool.ExperimentState):  # type: ignore[misc]
    PROPERTIES: list[str] = []  # noqa: RUF012 - how its users write it
    NONHASHED_ATTRIBUTES = ["x"]  # noqa: RUF012

    def initialize_state(self, **properties: object) -> None:
        self.x = 0


class Add(tool.Recipe):  # type: ignore[misc]
    PROPERTIES = ["i"]  # noqa: RUF012

    def __init__(self, i: int) -> None:
        self.i = i

    def run(self, state: Any) -> Any:
        global computed
        computed += 1
        state.x += self.i
        return state


def run_chains(shape: Shape, scheduler: str) -> dict[str, float]:
    clock = Clock()
    with clock("total_s"):
        experiment = tool.Experiment(directory=str(shape.directory), state_class=Number)
        root = experiment.spawn_new_tree()
        for chain in range(shape.chains):
            last = root
            for i in shape.steps(chain):
                last = Add(i=i)(last)
        experiment.run(scheduler=scheduler)
    return clock.times


def cold(shape: Shape, scheduler: str = "single-threaded") -> dict[str, float]:
    times = run_chains(shape, scheduler)
    check("steps computed", computed, shape.nodes)
    return times


def threads(shape: Shape) -> dict[str, float]:
    return cold(shape, "threads")


def warm(shape: Shape) -> dict[str, float]:
    times = run_chains(shape, "single-threaded")
    check("steps computed", computed, 0)
    return times


PHASES: dict[str, Phase] = {"cold": cold, "warm": warm, "threads": threads}
