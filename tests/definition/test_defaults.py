"""A property that equals its default, and one that is left out, are the same, however it is declared."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import dagtree as dg
from study import Number

KEYS = tuple[str, str, str]


def run(self: Any, state: Any) -> Any:
    return state


def annotated(default: Any) -> Any:
    body = {"__annotations__": {"lr": "float", "epochs": "int"}, "lr": default, "epochs": 1, "run": run}
    return type("Step", (dg.Recipe,), body)


def listed(default: Any) -> Any:
    return type("Step", (dg.Recipe,), {"PROPERTIES": ["lr"], "lr": default, "run": run})


def inherited(default: Any) -> Any:
    base = type("Base", (dg.Recipe,), {"PROPERTIES": ["lr"], "run": run})
    return type("Step", (annotated("hidden"), base), {"lr": default})


def mixed_in(default: Any) -> Any:
    mixin = type("Mixin", (), {"lr": default})
    return type(
        "Step", (type("Base", (dg.Recipe, mixin), {"PROPERTIES": ["lr"], "run": run}),), {"lr": default}
    )


def given_to_init(default: Any) -> Any:
    class Step(dg.Recipe):
        PROPERTIES = ["lr"]

        def __init__(self, lr: Any = default) -> None:
            self.lr = lr

        def run(self, state: Any) -> Any:
            return state

    return Step


def keys(recipe: Any, tmp_path: Path) -> KEYS:
    """With nothing said, with 0.1 and with 0.2."""
    root = dg.Experiment(tmp_path / "tree", Number).spawn_new_tree(start=1)
    return recipe()(root).key, recipe(lr=0.1)(root).key, recipe(lr=0.2)(root).key


ALL = [annotated, listed, inherited, mixed_in, given_to_init]


@pytest.mark.parametrize("declare", ALL)
def test_left_out_is_the_same_as_the_default(declare: Any, tmp_path: Path) -> None:
    left_out, said, other = keys(declare(0.1), tmp_path)
    assert left_out == said != other


@pytest.mark.parametrize("declare", ALL[:-1])
def test_another_default_changes_what_left_it_out_and_not_what_said_it(declare: Any, tmp_path: Path) -> None:
    before, after = keys(declare(0.1), tmp_path), keys(declare(0.2), tmp_path)
    assert before[0] != after[0]
    assert before[1:] == after[1:]
    assert after[0] == after[2]


def test_the_default_of_an_own_init_is_code_of_the_recipe(tmp_path: Path) -> None:
    """More is computed than needs be, never less."""
    before, after = keys(given_to_init(0.1), tmp_path), keys(given_to_init(0.2), tmp_path)
    assert not set(before) & set(after)


@pytest.mark.parametrize("declare", ALL)
def test_a_default_that_can_change_is_the_same_as_an_equal_value(declare: Any, tmp_path: Path) -> None:
    default = {"milestones": [1, 2]}
    recipe = declare(default)
    root = dg.Experiment(tmp_path / "tree", Number).spawn_new_tree(start=1)
    before = recipe()(root).key
    assert recipe(lr={"milestones": [1, 2]})(root).key == before
    if declare is not given_to_init:  # where Python itself shares it between calls
        recipe().lr["milestones"].append(3)
        assert recipe()(root).key == before


def test_the_default_is_a_property_like_one_that_was_said(tmp_path: Path) -> None:
    promise = annotated(0.1)()(dg.Experiment(tmp_path / "tree", Number).spawn_new_tree(start=1))
    assert promise.properties == {"lr": 0.1, "epochs": 1}


# -- what spawn_new_tree is given --------------------------------------------------------------------------


def field(default: Any) -> Any:
    return type("State", (dg.ExperimentState,), {"__annotations__": {"size": "int"}, "size": default})


def named(default: Any) -> Any:
    return type("State", (dg.ExperimentState,), {"PROPERTIES": ["size"], "size": default})


def argument(default: Any) -> Any:
    class State(dg.ExperimentState):
        NONHASHED_ATTRIBUTES = ["cells"]

        def initialize_state(self, size: Any = default, *, other: int = 3, **more: Any) -> None:
            self.cells = size

    return State


def init_argument(default: Any) -> Any:
    class State(dg.ExperimentState):
        PROPERTIES = ["area"]

        def __init__(self, size: Any = default, *, other: int = 3) -> None:
            self.area = size

    return State


ROOTS = [field, named, argument, init_argument]


def roots(state: Any, tmp_path: Path, *values: Any) -> list[str]:
    def key(**arguments: Any) -> str:
        return str(dg.Experiment(tmp_path / "tree", state).spawn_new_tree(**arguments).key)

    return [key(), *(key(size=value) for value in values)]


@pytest.mark.parametrize("declare", ROOTS)
def test_an_argument_that_is_left_out_is_the_same_as_its_default(declare: Any, tmp_path: Path) -> None:
    left_out, said, other = roots(declare(1), tmp_path, 1, 2)
    assert left_out == said != other


@pytest.mark.parametrize("declare", ROOTS[:2])
def test_another_default_changes_the_root_that_left_it_out(declare: Any, tmp_path: Path) -> None:
    before, after = roots(declare(1), tmp_path, 1, 2), roots(declare(2), tmp_path, 1, 2)
    assert before[0] != after[0]
    assert before[1:] == after[1:]


@pytest.mark.parametrize("declare", ROOTS)
def test_an_argument_whose_default_can_change_is_the_same_as_an_equal_one(
    declare: Any, tmp_path: Path
) -> None:
    left_out, said = roots(declare([1, 2]), tmp_path, [1, 2])
    assert left_out == said


@pytest.mark.parametrize("declare", ROOTS[2:])
def test_an_argument_that_is_left_out_is_recorded_and_given(declare: Any, tmp_path: Path) -> None:
    exp = dg.Experiment(tmp_path / "tree", declare(1))
    root = exp.spawn_new_tree()
    assert {"size": 1, "other": 3}.items() <= root.properties.items()
    assert exp.experiment_arguments == {}
    state = root.get()
    assert (state.cells if declare is argument else state.area) == 1


@pytest.mark.parametrize("declare", ROOTS[2:])
def test_a_default_that_nobody_could_give_is_no_property(declare: Any, tmp_path: Path) -> None:
    import threading

    root = dg.Experiment(tmp_path / "tree", declare(threading.Lock)).spawn_new_tree()
    assert "size" in root.properties
    if declare is argument:
        root = dg.Experiment(tmp_path / "tree", declare(threading.Lock())).spawn_new_tree()
        assert "size" not in root.properties
