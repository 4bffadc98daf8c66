"""The chains with ai2-tango in a local workspace: a step takes its parent step.

cold   from an empty workspace to the last result; each step is asked for after its parent
warm   the same program in a fresh process: the ends are asked for, and found

tango is imported before the clock starts.
"""

from __future__ import annotations

import logging
import os
from typing import Any

import tango  # type: ignore[import-not-found]
from tango.workspaces import LocalWorkspace  # type: ignore[import-not-found]

from .chains import Clock, Phase, Shape, check

computed = 0


@tango.Step.register("chains-root")  # type: ignore[untyped-decorator]
class Root(tango.Step):  # type: ignore[misc]
    def run(self) -> Any:
        return {"x": 0}


@tango.Step.register("chains-add")  # type: ignore[untyped-decorator]
class Add(tango.Step):  # type: ignore[misc]
    def run(self, parent: Any, i: int) -> Any:
        global computed
        computed += 1
        return {"x": parent["x"] + i}


def run_chains(shape: Shape, all_of_them: bool) -> dict[str, float]:
    logging.disable(logging.WARNING)
    clock = Clock()
    ends = []
    shape.directory.mkdir(parents=True, exist_ok=True)
    os.chdir(shape.directory)  # it asks the current directory's git repository where it came from
    with clock("total_s"):
        workspace = LocalWorkspace(shape.directory)
        for chain in range(shape.chains):
            last: Any = Root()
            for i in shape.steps(chain):
                last = Add(parent=last, i=i)
                if all_of_them:
                    last.result(workspace)
            ends.append(last.result(workspace)["x"])
    check("x at the ends", ends, shape.expected())
    return clock.times


def cold(shape: Shape) -> dict[str, float]:
    times = run_chains(shape, all_of_them=True)
    check("steps computed", computed, shape.nodes)
    return times


def warm(shape: Shape) -> dict[str, float]:
    times = run_chains(shape, all_of_them=False)
    check("steps computed", computed, 0)
    return times


PHASES: dict[str, Phase] = {"cold": cold, "warm": warm}
