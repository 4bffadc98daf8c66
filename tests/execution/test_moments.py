"""Moments: metrics while a recipe runs, and states in its middle that can be parents."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import dagtree as dg
from study import Add, Count, Number, Touch


@pytest.fixture
def exp(tmp_path: Path) -> dg.Experiment:
    return dg.Experiment(tmp_path / "tree", Number)


def test_metrics_that_a_recipe_yields_are_recorded_in_order(exp: dg.Experiment) -> None:
    counted = Count(3)(exp.spawn_new_tree(start=1))
    exp.run()
    node = exp.graph.node(counted.key)
    assert [(entry["moment"], entry["values"]["value"]) for entry in node.history] == [(1, 2), (2, 3), (3, 4)]
    assert node.metrics == {"value": 4, "step": 2}


@pytest.mark.parametrize("k", [1, 2, 3])
def test_a_moment_is_the_state_after_that_many_yields(exp: dg.Experiment, k: int) -> None:
    counted = Count(3)(exp.spawn_new_tree(start=1))
    assert counted.at(k).get().value == 1 + k
    assert counted.at(k).get().seen == list(range(1, 2 + k))


def test_moments_are_made_while_their_edge_is_computed(exp: dg.Experiment, tmp_path: Path) -> None:
    class Counted(Count):
        log: str = ""

        def run(self, state: Any) -> Any:
            with Path(self.log).open("a") as file:
                file.write("run\n")
            yield from super().run(state)

    log = tmp_path / "log"
    counted = Counted(4, str(log))(exp.spawn_new_tree(start=1))
    first, third = Add(10)(counted.at(1)), Add(10)(counted.at(3))
    report = exp.run()
    assert report.computed == 6
    assert log.read_text() == "run\n"
    assert (counted.get().value, first.get().value, third.get().value) == (5, 12, 14)


def test_a_moment_asked_for_later_is_replayed_up_to_it_and_no_further(
    exp: dg.Experiment, tmp_path: Path
) -> None:
    class Noted(dg.Recipe):
        log: str

        def run(self, state: Any) -> Any:
            for step in self.steps(range(4)):
                state.value += 1
                with Path(self.log).open("a") as file:
                    file.write(f"{step} ")
                yield

    log = tmp_path / "log"
    noted = Noted(str(log))(exp.spawn_new_tree(start=1))
    exp.run()
    log.write_text("")
    assert noted.at(2).get().value == 3
    assert log.read_text() == "0 1 "
    assert exp.run().computed == 0


def test_only_the_wanted_moment_is_computed_not_the_end_of_its_edge(exp: dg.Experiment) -> None:
    counted = Count(1000)(exp.spawn_new_tree(start=1))
    Add(1)(counted.at(1)).get()
    done = {node.path for node in exp.graph.nodes.where(status="done")}
    assert done == {"root", "Count@1", "Count@1/Add"}


def test_what_comes_after_a_moment_does_not_change_it(exp: dg.Experiment) -> None:
    import numpy as np

    class Grow(dg.Recipe):
        def run(self, state: Any) -> Any:
            state.value = np.zeros(3)
            yield
            state.value += 1
            yield

    grown = Grow()(exp.spawn_new_tree(start=1))
    first = grown.at(1)
    exp.run()
    assert first.get().value.tolist() == [0, 0, 0]
    assert grown.get().value.tolist() == [1, 1, 1]


def test_a_recipe_may_yield_nothing_and_return_its_state(exp: dg.Experiment) -> None:
    class Both(dg.Recipe):
        def run(self, state: Any) -> Any:
            yield
            state.value = 7
            return state

    assert Both()(exp.spawn_new_tree(start=1)).get().value == 7


def test_metrics_of_numpy_and_torch_are_numbers(exp: dg.Experiment) -> None:
    import numpy as np

    class Metrics(dg.Recipe):
        def run(self, state: Any) -> Any:
            yield {"a": np.float32(0.5), "b": np.array(3), "nan": float("nan")}

    node = Metrics()(exp.spawn_new_tree(start=1))
    exp.run()
    metrics = exp.graph.node(node.key).metrics
    assert (metrics["a"], metrics["b"]) == (0.5, 3)
    assert metrics["nan"] != metrics["nan"]


def test_a_failure_after_a_moment_keeps_the_moment_and_its_children(exp: dg.Experiment) -> None:
    class Late(dg.Recipe):
        def run(self, state: Any) -> Any:
            state.value = 5
            yield
            raise RuntimeError("too late")

    late = Late()(exp.spawn_new_tree(start=1))
    child = Add(1)(late.at(1))
    lost = Add(2)(late)
    with pytest.raises(dg.RunError) as caught:
        exp.run()
    assert (caught.value.report.computed, caught.value.report.failed, caught.value.report.skipped) == (
        3,
        1,
        1,
    )
    assert child.get().value == 6
    assert exp.graph.node(lost.key).status == "skipped"


def test_threads_give_moments_too(exp: dg.Experiment, tmp_path: Path) -> None:
    root = exp.spawn_new_tree(start=1)
    ends = [Add(i)(Count(i)(Touch(file=str(tmp_path / "log"), name=str(i))(root)).at(1)) for i in range(1, 6)]
    exp.run("threads", workers=3)
    assert [end.get().value for end in ends] == [3 + i for i in range(1, 6)]


def test_functions_at_a_moment_read_the_moment_not_what_became_of_its_memory(exp: dg.Experiment) -> None:
    import numpy as np

    class Grow(dg.Recipe):
        def run(self, state: Any) -> Any:
            state.value = np.zeros(100_000)
            for _ in range(3):
                state.value += 1
                yield

    @dg.function
    def first(state: Any) -> float:
        return float(state.value[0])

    grown = first(Grow()(exp.spawn_new_tree(start=1)))
    early = first(grown.at(1))
    Add(0)(early)
    exp.run()
    found = [exp.graph.node(promise.key).results["first"] for promise in (early, grown)]
    assert found == [1.0, 3.0]
