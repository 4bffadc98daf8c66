"""The chains with redun, its records in SQLite: the ends are asked for, and it does what they need.

cold   from an empty database to the last result; making the scheduler included
warm   the same program in a fresh process: every call is looked up

redun is imported before the clock starts. Its steps are handed the parent as an expression, as its users do.
"""

from __future__ import annotations

import logging
from typing import Any

from redun import Scheduler, task  # type: ignore[import-not-found]
from redun.config import Config  # type: ignore[import-not-found]

from .chains import Clock, Phase, Shape, check

redun_namespace = "chains"
computed = 0


@task()  # type: ignore[untyped-decorator]
def root() -> dict[str, int]:
    return {"x": 0}


@task()  # type: ignore[untyped-decorator]
def add(parent: dict[str, int], i: int) -> dict[str, int]:
    global computed
    computed += 1
    return {"x": parent["x"] + i}


def run_chains(shape: Shape) -> dict[str, float]:
    logging.disable(logging.INFO)
    clock = Clock()
    shape.directory.mkdir(parents=True, exist_ok=True)
    with clock("total_s"):
        config = Config({"backend": {"db_uri": f"sqlite:///{shape.directory}/redun.db"}})
        scheduler = Scheduler(config=config)
        scheduler.load()
        ends: list[Any] = []
        for chain in range(shape.chains):
            last = root()
            for i in shape.steps(chain):
                last = add(last, i)
            ends.append(last)
        states = scheduler.run(ends)
    check("x at the ends", [state["x"] for state in states], shape.expected())
    return clock.times


def cold(shape: Shape) -> dict[str, float]:
    times = run_chains(shape)
    check("steps computed", computed, shape.nodes)
    return times


def warm(shape: Shape) -> dict[str, float]:
    times = run_chains(shape)
    check("steps computed", computed, 0)
    return times


PHASES: dict[str, Phase] = {"cold": cold, "warm": warm}
