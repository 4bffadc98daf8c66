"""The states with dagtree, as on the user's page; the phases are those of `states.py`."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path
from typing import Any

import torch
from xxhash import xxh3_128_digest

import dagtree as dg

from .chains import Clock, check
from .states import Size, disk_bytes, firsts, peak_bytes

__all__ = ["dagtree"]

STARTED = "DAGTREE_BENCHMARK_STARTED"


class Layers(dg.ExperimentState):
    PROPERTIES = ["tensors", "elements"]  # noqa: RUF012 - how users write it
    NONHASHED_ATTRIBUTES = ["layers"]  # noqa: RUF012

    def initialize_state(self, **properties: object) -> None:
        self.layers = Size(self.tensors, self.elements, 0).state()


class Add(dg.Recipe):
    names: list[str]
    step: int

    def run(self, state: Any) -> Any:
        if self.step == 0:
            os.environ[STARTED] = repr(time.perf_counter())
        for name in self.names:
            state.layers[name].add_(1.0)
        return state


def define(size: Size, phase: str, directory: Path) -> tuple[dg.Experiment, Any]:
    experiment = dg.Experiment(directory, Layers)
    last = experiment.spawn_new_tree(tensors=size.tensors, elements=size.elements)
    for step, names in enumerate(size.changes(phase)):
        last = Add(names=names, step=step)(last)
    return experiment, last


def dagtree(phase: str, size: Size, directory: Path) -> dict[str, float]:
    phase, _, how = phase.partition("-")
    if phase in ("one", "all"):
        return chain(phase, size, directory, resumed=how == "resumed")
    clock = Clock()
    experiment = dg.Experiment.restore(directory, Layers, check="never" if how == "never" else "first")
    nodes = experiment.graph.nodes
    last = nodes[-1]
    if phase == "verify":
        parts = [torch.rand(size.elements) for _ in range(size.tensors)]
        with clock("verify_s"):
            damaged = experiment.verify()
        check("damaged", damaged, ())
        with clock("hash_s"):
            for _ in range(size.steps + 1):
                for part in parts:
                    xxh3_128_digest(memoryview(part.numpy()).cast("B"))
        return clock.times
    warm_up(directory.parent / "small")
    if phase == "touch":
        with clock("touch_s"):
            total = sum(float(tensor.sum()) for tensor in last.restore().layers.values())
        check("a sum of all", total > 0, True)
        return clock.times
    for name in ("first_s", "again_s"):
        with clock(name):
            layers = last.tensors() if phase == "tensors" else last.restore().layers
            first = float(layers["layers.layer0" if phase == "tensors" else "layer0"][0])
        check("a number", first, 1.0)
    return clock.times


def warm_up(directory: Path) -> None:
    """Imports what is imported when it is first used."""
    experiment = dg.Experiment(directory, Layers)
    root = experiment.spawn_new_tree(tensors=1, elements=20_000)
    experiment.run()
    float(dg.Experiment.restore(directory, Layers).graph.node(root.key).restore().layers["layer0"][0])
    shutil.rmtree(directory)


def chain(phase: str, size: Size, directory: Path, resumed: bool) -> dict[str, float]:
    import dask.local  # noqa: F401 - as the others' libraries, before the clock starts

    before = peak_bytes()
    if resumed:
        experiment = dg.Experiment(directory, Layers)
        experiment.spawn_new_tree(tensors=size.tensors, elements=size.elements)
        check("nodes computed", experiment.run().computed, 1)
    experiment, last = define(size, phase, directory)
    started = time.perf_counter()
    report = experiment.run()
    chain_s = time.perf_counter() - (started if resumed else float(os.environ[STARTED]))
    peak = (peak_bytes() - before) / size.state_bytes
    check("nodes computed", report.computed, size.steps + (not resumed))
    check("first numbers", firsts(last.get().layers), size.expected(phase))
    return {"chain_s": chain_s, "peak": peak, "disk_bytes": float(disk_bytes(directory))}
