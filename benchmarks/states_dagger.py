"""The states with dagger, which pickles the whole of each with dill; given where its package and dill lie."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

from .chains import check
from .states import Size, disk_bytes, firsts

__all__ = ["dagger"]

STARTED: list[float] = []


def dagger(phase: str, size: Size, directory: Path, location: str) -> dict[str, float]:
    sys.path.insert(0, location)
    import dask  # type: ignore[import-untyped]

    tool: Any = __import__("dagger")
    made: dict[str, Any] = {}

    class Layers(tool.ExperimentState):  # type: ignore[misc]
        PROPERTIES: list[str] = []  # noqa: RUF012 - how its users write it
        NONHASHED_ATTRIBUTES = ["layers"]  # noqa: RUF012

        def initialize_state(self, **properties: object) -> None:
            self.layers = size.state()

    class Add(tool.Recipe):  # type: ignore[misc]
        PROPERTIES = ["names", "step"]  # noqa: RUF012

        def __init__(self, names: list[str], step: int) -> None:
            self.names, self.step = names, step

        def run(self, state: Any) -> Any:
            if self.step == 0:
                STARTED.append(time.perf_counter())
            for name in self.names:
                state.layers[name].add_(1.0)
            made["last"] = state.layers
            return state

    experiment = tool.Experiment(directory=str(directory), state_class=Layers)
    last = experiment.spawn_new_tree()
    for step, names in enumerate(size.changes(phase)):
        last = Add(names=names, step=step)(last)
    with dask.config.set(scheduler="single-threaded"):
        experiment.run()
    chain_s = time.perf_counter() - STARTED[0]
    check("first numbers", firsts(made["last"]), size.expected(phase))
    return {"chain_s": chain_s, "disk_bytes": float(disk_bytes(directory))}
