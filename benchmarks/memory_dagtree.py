"""One run of a tree of large states, and the most memory that a process of it ever held:
`python -m benchmarks.memory_dagtree SHAPE SCHEDULER TENSORS TENSOR_BYTES DIRECTORY`.

SHAPE is "chain" (50 steps) or "fan" (20 children of the root). A state is TENSORS arrays; each step changes
one of them, in place, so that the disk holds the tree. SCHEDULER is "single-threaded", "threads" (2),
"processes" (2) or "cluster" (2 workers of one thread). `peak_bytes` is what the kernel saw resident at most
in this process or, with the last two, in the largest of the others.
"""

from __future__ import annotations

import json
import resource
import sys
from pathlib import Path
from typing import Any

import numpy as np

import dagtree as dg

from .chains import check

STEPS = {"chain": 50, "fan": 20}


class Layers(dg.ExperimentState):
    PROPERTIES = ["tensors", "tensor_bytes"]  # noqa: RUF012 - how users write it
    NONHASHED_ATTRIBUTES = ["layers"]  # noqa: RUF012

    def initialize_state(self, **properties: object) -> None:
        self.layers = [np.ones(self.tensor_bytes // 8) for _ in range(self.tensors)]


class Change(dg.Recipe):
    place: int

    def run(self, state: Any) -> Any:
        state.layers[self.place] += 1.0
        return state


def tree(shape: str, tensors: int, tensor_bytes: int, directory: Path) -> tuple[dg.Experiment, list[Any]]:
    experiment = dg.Experiment(directory, state_class=Layers)
    nodes = [experiment.spawn_new_tree(tensors=tensors, tensor_bytes=tensor_bytes)]
    for step in range(STEPS[shape]):
        nodes.append(Change(place=step % tensors)(nodes[-1] if shape == "chain" else nodes[0]))
    return experiment, nodes


def measure(shape: str, scheduler: str, tensors: int, tensor_bytes: int, directory: Path) -> dict[str, float]:
    experiment, nodes = tree(shape, tensors, tensor_bytes, directory)
    if scheduler == "cluster":
        from distributed import Client, LocalCluster

        with (
            LocalCluster(
                n_workers=2, threads_per_worker=1, dashboard_address=":0", memory_limit=0
            ) as cluster,
            Client(cluster, set_as_default=False) as client,
        ):
            report: Any = experiment.run(client)
    else:
        report = experiment.run(scheduler, workers=2)
    others = scheduler in ("processes", "cluster")
    who = resource.RUSAGE_CHILDREN if others else resource.RUSAGE_SELF
    peak_kib = resource.getrusage(who).ru_maxrss
    check("nodes computed", report.computed, STEPS[shape] + 1)
    ends = [float(layer[0]) for layer in nodes[-1].get().layers]
    total = STEPS[shape] if shape == "chain" else 1
    check("sum of the first numbers", sum(ends), float(tensors + total))
    return {"peak_bytes": peak_kib * 1024.0}


if __name__ == "__main__":
    shape, scheduler, tensors, tensor_bytes, directory = sys.argv[1:]
    print(json.dumps(measure(shape, scheduler, int(tensors), int(tensor_bytes), Path(directory))))
