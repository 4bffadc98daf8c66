"""The chains with exca: a step is a model with a cached method, and takes its parent's result as a setting.

cold   from an empty folder to the last result
warm   the same program in a fresh process: every result is found and read

exca is imported before the clock starts.
"""

from __future__ import annotations

import logging
from typing import Any

import exca  # type: ignore[import-not-found]
import pydantic

from .chains import Clock, Phase, Shape, check

computed = 0


class Add(pydantic.BaseModel):
    x: int
    i: int
    infra: exca.TaskInfra = exca.TaskInfra()

    @infra.apply  # type: ignore[untyped-decorator]
    def run(self) -> int:
        global computed
        computed += 1
        return self.x + self.i


def run_chains(shape: Shape) -> dict[str, float]:
    logging.disable(logging.INFO)
    clock = Clock()
    ends = []
    how: Any = {"folder": shape.directory}
    with clock("total_s"):
        shape.directory.mkdir(parents=True, exist_ok=True)
        for chain in range(shape.chains):
            x = 0
            for i in shape.steps(chain):
                x = Add(x=x, i=i, infra=how).run()
            ends.append(x)
    check("x at the ends", ends, shape.expected())
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
