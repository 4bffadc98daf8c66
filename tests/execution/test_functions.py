"""Functions: they read, their results are recorded, and they change nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import dagtree as dg
from study import Add, Number, doubled, value


@pytest.fixture
def exp(tmp_path: Path) -> dg.Experiment:
    return dg.Experiment(tmp_path / "tree", Number)


def counting(log: Path, *, cached: bool) -> dg.Function:
    def called(state: Any) -> int:
        with log.open("a") as file:
            file.write("called\n")
        return state.value

    return dg.Function(called, cached=cached)


def test_results_are_recorded_at_the_node(exp: dg.Experiment) -> None:
    added = doubled(value(Add(1)(exp.spawn_new_tree(start=1))))
    exp.run()
    assert exp.graph.node(added.key).results == {"value": {"value": 2}, "doubled": 4}
    again = dg.Experiment.restore(exp.directory)
    assert again.graph.node(added.key).results == {"value": {"value": 2}, "doubled": 4}


def test_a_function_runs_at_every_run_also_on_cached_nodes(exp: dg.Experiment, tmp_path: Path) -> None:
    log = tmp_path / "log"
    counting(log, cached=False)(Add(1)(exp.spawn_new_tree(start=1)))
    exp.run()
    report = exp.run()
    assert (report.computed, report.functions) == (0, 1)
    assert log.read_text().split() == ["called"] * 2


def test_a_cached_function_runs_once_for_each_node_and_code(exp: dg.Experiment, tmp_path: Path) -> None:
    log = tmp_path / "log"
    root = exp.spawn_new_tree(start=1)
    function = counting(log, cached=True)
    function(root)
    function(Add(1)(root))
    exp.run()
    exp.run()
    assert log.read_text().split() == ["called"] * 2

    @dg.function(cached=True)
    def called(state: Any) -> int:
        return -1

    called(root)
    assert exp.run().functions == 1
    assert exp.graph.node(root.key).results["called"] == -1


def test_a_function_that_changes_its_state_changes_nothing(exp: dg.Experiment) -> None:
    @dg.function
    def vandal(state: Any) -> None:
        state.value = 99
        state.seen.clear()

    added = value(vandal(Add(1)(exp.spawn_new_tree(start=1))))
    child = Add(1)(added)
    exp.run()
    assert exp.graph.node(added.key).results["value"] == {"value": 2}
    assert child.get().seen == [1, 2, 3]


def test_a_function_asked_for_twice_is_called_once(exp: dg.Experiment, tmp_path: Path) -> None:
    log = tmp_path / "log"
    root = exp.spawn_new_tree(start=1)
    counting(log, cached=False)(root)
    counting(log, cached=False)(root)
    exp.run()
    assert log.read_text().split() == ["called"]


def test_two_lambdas_at_one_node_are_two_functions(exp: dg.Experiment) -> None:
    root = exp.spawn_new_tree(start=1)
    dg.Function(lambda state: state.value + 1)(root)
    dg.Function(lambda state: state.value + 2)(root)
    exp.run()
    assert sorted(exp.graph.node(root.key).results.values()) == [2, 3]


def test_a_result_that_cannot_be_written_down_says_what_can(exp: dg.Experiment) -> None:
    dg.Function(lambda state: object())(exp.spawn_new_tree(start=1))
    with pytest.raises(dg.RunError, match="numbers"):
        exp.run()


def test_a_function_at_a_moment(exp: dg.Experiment) -> None:
    from study import Count

    counted = Count(3)(exp.spawn_new_tree(start=1))
    value(counted.at(2))
    exp.run()
    exp.run()
    assert exp.graph.node(counted.at(2).key).results == {"value": {"value": 3}}


def test_functions_draw_the_same_numbers_each_time(exp: dg.Experiment) -> None:
    import random

    root = exp.spawn_new_tree(start=1)
    dg.Function(lambda state: random.random())(root)
    exp.run()
    first = exp.graph.node(root.key).results
    exp.run()
    assert exp.graph.node(root.key).results == first


def test_functions_of_one_definition_with_other_values_are_two_functions(exp: dg.Experiment) -> None:
    import functools

    def top(state: Any, k: int) -> int:
        return k

    root = exp.spawn_new_tree(start=1)
    for k in (1, 5):
        dg.Function(functools.partial(top, k=k))(root)

        @dg.function
        def closed(state: Any, k: int = k) -> int:
            return k

        closed(root)
    exp.run()
    exp.run()
    assert exp.graph.node(root.key).results == {"top": 1, "closed": 1, "top#2": 5, "closed#2": 5}


def test_a_function_that_changes_arrays_changes_nothing(exp: dg.Experiment) -> None:
    import numpy as np

    class Ones(dg.Recipe):
        def run(self, state: Any) -> Any:
            state.value = np.ones(50_000)
            return state

    @dg.function
    def vandal(state: Any) -> None:
        state.value += 100

    ones = vandal(Ones()(exp.spawn_new_tree(start=1)))
    child = Add(0)(ones)
    exp.run()
    assert float(child.get().value[0]) == 1.0
    assert float(ones.get().value[0]) == 1.0
