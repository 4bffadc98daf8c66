"""A tree with something to ask about, and the questions of `bench_select.py`, timed in this process."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sized
from typing import Any

import dagtree as dg

from .chains import Phase, Shape, check

REPEATS = 7
RATES = (0.001, 0.01, 0.1)


class State(dg.ExperimentState):
    PROPERTIES = ("dataset",)
    NONHASHED_ATTRIBUTES = ("x",)

    def initialize_state(self, **properties: Any) -> None:
        self.x = 0


class Train(dg.Recipe):
    lr: float
    seed: int
    epochs: int = 2

    def run(self, state: Any) -> Any:
        for epoch in self.steps(range(self.epochs)):
            yield {"loss": ((self.seed * 7919 + epoch) % 100_003) / 100_003}


class Prune(dg.Recipe):
    fraction: float
    seed: int

    def run(self, state: Any) -> Any:
        return state


@dg.function(cached=True)
def evaluate(state: Any) -> dict[str, float]:
    return {"accuracy": hash(state.key) % 100_003 / 100_003}


def make(shape: Shape) -> dict[str, float]:
    """Chains of ten edges, as many as the nodes allow."""
    exp = dg.Experiment(shape.directory, state_class=State)
    root = exp.spawn_new_tree(dataset="digits")
    left = shape.nodes - 1
    seed = 0
    while left > 0:
        parent = root
        for depth in range(min(10, left)):
            seed += 1
            if depth % 2:
                parent = Prune(fraction=(0.5, 0.8, 0.9)[seed % 3], seed=seed // 10)(parent)
            else:
                lr = RATES[seed // 2 % 3]
                with exp.tag(f"lr:{lr}"):
                    parent = Train(lr=lr, seed=seed // 10)(parent)
            evaluate(parent)
            left -= 1
    exp.run(progress=False)
    return {"nodes": float(len(exp.graph.nodes))}


def ask(shape: Shape) -> dict[str, float]:
    """Each question in the tree as it was reopened, first and again; and a check of the answers."""
    nodes = dg.Experiment.restore(shape.directory).graph.nodes
    check("nodes of the tree", shape.nodes, len(nodes))
    chosen, others = nodes.where(lr=0.1), nodes.where(recipe="Train")
    nodes = dg.Experiment.restore(shape.directory).graph.nodes
    questions: dict[str, Callable[[], Sized]] = {
        "filter": lambda: nodes.filter("lr:0.1"),
        "value": lambda: nodes.where(lr=0.1),
        "set": lambda: nodes.where(recipe="Prune", fraction={0.5, 0.9}),
        "range": lambda: nodes.where(seed=range(100)),
        "between": lambda: nodes.where(lr=dg.between(0.05, 1)),
        "test": lambda: nodes.where(seed=lambda seed: seed % 7 == 0),
        "path_property": lambda: nodes.where({"Train.lr": 0.1}),
        "turn": lambda: nodes.where({"Train[2].lr": 0.1}),
        "metric": lambda: nodes.where(loss=lambda loss: loss < 0.5),
        "result": lambda: nodes.where(accuracy=dg.between(0.5)),
        "path": lambda: nodes.path("Train/(Prune/Train)*"),
        "path_conditions": lambda: nodes.path("**/Prune[fraction>=0.6]/Train[lr=0.1]"),
        "not": lambda: ~chosen,
        "and": lambda: chosen & others,
    }
    found: dict[str, float] = {}
    sizes: dict[str, int] = {}
    for name, question in questions.items():
        seconds = []
        for _ in range(1 + REPEATS):
            began = time.process_time()
            answer = question()
            seconds.append(time.process_time() - began)
            sizes[name] = len(answer)
        found[f"{name}_first_s"] = max(seconds[0], 1e-9)
        found[f"{name}_again_s"] = max(statistics.median(seconds[1:]), 1e-9)
    check("the same by tag and by property", sizes["filter"], sizes["value"])
    check("what is not chosen", shape.nodes - len(chosen), sizes["not"])
    return found


PHASES: dict[str, Phase] = {"make": make, "ask": ask}
