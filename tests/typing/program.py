"""A program that must type-check: `mypy --strict` reads it, nobody runs it.

Each line with `type: ignore[...]` must be an error for a type checker. Were it none, the ignore would be
unused, which --strict reports: so those lines test that the types can say no.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import dagtree as dg


class Listed(dg.ExperimentState):
    """Names in lists."""

    PROPERTIES: ClassVar[list[str]] = ["dataset", "model_name"]
    NONHASHED_ATTRIBUTES = ["train_set", "model"]

    def initialize_state(self, **properties: Any) -> None:
        self.train_set = [1.0, 2.0]
        self.model = {"w": 0.0}


class Annotated(dg.ExperimentState):
    """Annotated fields."""

    seed: int
    dataset: str = "digits"

    NONHASHED_ATTRIBUTES = ["weights"]

    def initialize_state(self, **properties: Any) -> None:
        self.weights = [float(self.seed)]


class Built(dg.ExperimentState):
    """An own __init__."""

    PROPERTIES = ["width"]

    def __init__(self, width: int) -> None:
        self.width = width


class Train(dg.Recipe):
    epochs: int
    lr: float = 0.1

    def run(self, state: Annotated) -> Any:
        for epoch in self.steps(range(self.epochs)):
            state.weights = [w - self.lr * epoch for w in state.weights]
            yield {"loss": sum(state.weights)}


class Prune(dg.Recipe):
    PROPERTIES = ["fraction"]

    def __init__(self, fraction: float) -> None:
        self.fraction = fraction

    def run(self, state: Annotated) -> Annotated:
        state.weights = state.weights[: int(self.fraction * len(state.weights))]
        return state


class Average(dg.Recipe):
    def run(self, state: Annotated, other: Annotated) -> Annotated:
        state.weights = [(a + b) / 2 for a, b in zip(state.weights, other.weights, strict=True)]
        return state


@dg.function
def show(state: Annotated) -> None:
    print(state.weights)


@dg.function(cached=True)
def norm(state: Annotated) -> dict[str, float]:
    return {"norm": sum(w * w for w in state.weights)}


total = dg.Function(lambda state: sum(state.weights), cached=True)


def define(exp: dg.Experiment) -> dg.ExperimentStatePromise:
    root: dg.ExperimentStatePromise = exp.spawn_new_tree(seed=1, dataset="digits")
    with exp.tag("trained", "lr:0.1"):
        trained: dg.ExperimentStatePromise = Train(epochs=3)(root)
    with exp.tag(["pruned"]):
        pruned = Prune(0.5)(trained.at(1))
    merged: dg.ExperimentStatePromise = total(norm(show(Average()(trained, pruned))))
    return merged


def compute(directory: Path) -> None:
    exp = dg.Experiment(directory, state_class=Annotated)
    merged = define(exp)
    report = exp.run()
    exp.run(scheduler="threads")
    seconds: float = report.seconds
    counts: list[int] = [report.computed, report.cached, report.failed, report.skipped]
    print(seconds, counts)
    key: str = merged.key
    print(key, merged.tags, merged.get(scheduler="processes"))
    try:
        exp.run()
    except dg.RunError as error:
        print(error.report.failed, [failure.key for failure in error.failures])


def look(directory: str) -> list[str]:
    exp = dg.Experiment.restore(directory, slim=True)
    chosen = exp.graph.nodes.filter("lr:*") & exp.graph.nodes.where(recipe="Train", lr=0.1)
    first = chosen[0]
    some = chosen[1:3] | exp.graph.leaves - exp.graph.nodes_at_distance(2)
    paths: list[str] = [node.path for node in some]
    numbers: dict[str, Any] = {**first.metrics, **first.results, **first.properties}
    print(numbers, first.status, first.recipe, first.seconds, first.size_bytes)
    print(exp.graph.node(first.key) == first)
    for node in chosen.iterator:
        print(node.key)
    with first.lazy_load() as state:
        print(state.weights)
    drawing = exp.graph.draw("tree", format="svg")
    print(drawing, exp.graph.root, exp.graph.to_networkx(), exp.graph.to_graphviz())
    again: dg.ExperimentStatePromise = Train(epochs=1)(first.to_promise())
    print(again)
    return paths


class Losses(dg.Listener):
    def report(self, event: dg.Event) -> None:
        loss: float = event.metrics["loss"]
        print(event.label, event.moment, loss)


async def watch(exp: dg.Experiment) -> list[str]:
    running = exp.run("threads", wait=False, listeners=[Losses()], progress="log")
    kinds: list[str] = [event.kind for event in running.events()]
    seconds: float | None = running.now.left_s
    computed: int = (await running).computed + running.wait(1.0).computed
    running.cancel()
    stop = exp.listen(Losses())
    stop()
    where: list[str] = [node.host for node in exp.status().running]
    plan = exp.plan(workers=4)
    print(seconds, computed, plan.seconds, plan.size_bytes, [cost.key for cost in plan.critical_path])
    return [*kinds, *where]


def mistakes(exp: dg.Experiment, state: Annotated) -> None:
    Train(epochs="three")  # type: ignore[arg-type]
    Train(epochs=3, rate=0.1)  # type: ignore[call-arg]
    Train()  # type: ignore[call-arg]
    Prune(0.5)(3)  # type: ignore[arg-type]
    Prune(0.5)(exp.spawn_new_tree()).at("one")  # type: ignore[arg-type]
    exp.graph.root.tags = ("other",)  # type: ignore[misc]
    exp.tag(3)  # type: ignore[arg-type]
    exp.graph.nodes[0] = exp.graph.root  # type: ignore[index]
    exp.graph.nodes & [1]  # type: ignore[operator]
    state.seed = "one"  # type: ignore[assignment]
    dg.Experiment()  # type: ignore[call-arg]
    exp.run(progress="bar")  # type: ignore[call-overload]
    exp.run(wait=False).computed  # type: ignore[attr-defined]
    dg.function(cached="yes")  # type: ignore[call-overload]
