"""A function given as a property counts with all that it calls, methods of state and recipe included."""

from __future__ import annotations

import functools
import operator
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import dagtree as dg


class Chosen:
    """A class of the user's whose instances are called."""

    def __call__(self, state: Any) -> Any:
        return state.half()


def measure(state: Any) -> Any:
    return state.half()


FUNCTIONS: dict[str, Callable[..., Any] | type] = {
    "a function": measure,
    "a lambda": lambda state: state.half(),
    "a partial": functools.partial(measure),
    "a partial of a partial": functools.partial(functools.partial(measure)),
    "a class": Chosen,
    "methodcaller": operator.methodcaller("half"),
    "attrgetter": operator.attrgetter("half"),
}


def define(directory: Path, function: Any) -> tuple[dg.Experiment, Callable[[], str], Any]:
    """An experiment, what defines its node and gives the key, and the classes to change."""

    class State(dg.ExperimentState):
        NONHASHED_ATTRIBUTES = ["value"]

        def initialize_state(self) -> None:
            self.value = 12

        def half(self) -> float:
            return self.value / 2

        def plot(self) -> None:
            pass

    class Apply(dg.Recipe):
        function: Any

        def run(self, state: Any) -> Any:
            state.value = self.function(state)
            return state

        def tune(self) -> int:
            return 1

    exp = dg.Experiment(directory, State)
    root = exp.spawn_new_tree()
    return exp, lambda: Apply(function=function)(root).key, (State, Apply)


@pytest.mark.parametrize("kind", list(FUNCTIONS))
def test_methods_of_the_state_that_it_calls_count_and_no_others(tmp_path: Path, kind: str) -> None:
    _, key, (state, recipe) = define(tmp_path, FUNCTIONS[kind])
    before = key()
    state.plot = lambda self: 1
    recipe.tune = lambda self: 2
    assert key() == before
    state.half = lambda self: self.value / 3
    assert key() != before


def test_methods_of_the_recipe_that_it_calls_count(tmp_path: Path) -> None:
    _, key, (state, recipe) = define(tmp_path, [lambda recipe: recipe.tune()])
    before = key()
    state.half = lambda self: self.value / 3
    assert key() == before
    recipe.tune = lambda self: 2
    assert key() != before


def test_a_run_refuses_a_function_whose_code_changed_since_it_was_given(tmp_path: Path) -> None:
    exp, key, (state, _) = define(tmp_path, measure)
    key()
    state.half = lambda self: self.value / 3
    with pytest.raises(dg.DefinitionError, match="was defined with code that has changed since"):
        exp.run()
    fresh, again, _ = define(tmp_path, measure)
    again()
    fresh.run()


class Schedule:
    """Lies in a state, and asks the recipe that it is given."""

    def step(self, recipe: Any) -> Any:
        return recipe.rate()


def test_methods_of_a_recipe_that_hands_itself_to_what_lies_in_a_state_count(tmp_path: Path) -> None:
    class State(dg.ExperimentState):
        NONHASHED_ATTRIBUTES = ["schedule", "value"]

        def initialize_state(self) -> None:
            self.schedule, self.value = Schedule(), 0

    class Step(dg.Recipe):
        def run(self, state: Any) -> Any:
            state.value = state.schedule.step(self)
            return state

        def rate(self) -> int:
            return 1

    class Alone(Step):
        def run(self, state: Any) -> Any:
            state.value = self.run.__name__
            return state

    root = dg.Experiment(tmp_path, State).spawn_new_tree()
    before = Step()(root).key, Alone()(root).key
    Step.rate = lambda self: 2  # type: ignore[method-assign]
    assert Step()(root).key != before[0]
    assert Alone()(root).key == before[1], "it keeps itself to itself"


SCRIPT = """
    import dataclasses, numpy, sys
    from numpy.random import rand
    from pathlib import Path
    from random import choice, random, shuffle
    import dagtree as dg
    from dagtree.identity.source import recipe_code

    @dataclasses.dataclass(frozen=True)
    class Point:
        x: int
    class Thing:
        def __init__(self, held): self.held = held

    PATHS = {Path("a"), Path("b"), Path("c"), Path("d")}
    POINTS = frozenset(map(Point, range(5)))
    THINGS = {Thing(number) for number in range(5)}
    NESTED = {Thing(frozenset({Thing(1), Thing(2)})), Thing(frozenset({Thing(3)}))}
    SELF = set()
    SELF.add(Thing(SELF))
    FUNCTIONS = {lambda x: x + 1, lambda x: x + 2, lambda x: x + 3}
    class Step(dg.Recipe):
        def run(self, state):
            shuffle(state.x)
            return random(), choice, rand, PATHS, POINTS, THINGS, NESTED, SELF, FUNCTIONS
    print(recipe_code(Step, dg.ExperimentState).digest)
    random(), numpy.random.rand()
    print(recipe_code(Step, dg.ExperimentState).digest)
    THINGS.pop().held = 9
    print(recipe_code(Step, dg.ExperimentState).digest)
"""


def test_sets_and_everybodys_generators_give_one_key_in_every_process(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(textwrap.dedent(SCRIPT))
    said = []
    for seed in ("1", "2", "3"):
        done = subprocess.run(
            [sys.executable, str(script)],
            capture_output=True,
            text=True,
            env={**os.environ, "PYTHONHASHSEED": seed},
            check=False,
        )
        assert done.returncode == 0, done.stderr
        said.append(done.stdout.split())
    assert len({first for first, *_ in said}) == 1
    assert all(first == after_drawing != changed for first, after_drawing, changed in said)
