"""``extends``: more steps go on where fewer have ended, to the bits of a run that did them all."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

import dagtree as dg
from study import Add, Number


class Longer(dg.Recipe):
    """Appends its steps to a file, and remembers in a variable."""

    extends = "epochs"
    ignores = ("log",)
    epochs: int
    rate: float = 0.5
    log: str = ""

    def run(self, state: Any) -> Any:
        speed = 0.0
        for epoch in self.steps(range(self.epochs)):
            self.tell(epoch)
            speed = 0.9 * speed + self.rate * random.random()
            state.value += speed
            yield {"value": state.value}
        state.seen.append(speed)

    def tell(self, epoch: int) -> None:
        if self.log:
            with Path(self.log).open("a") as file:
                file.write(f"{epoch} ")


def grow(directory: Path, *epochs: int, run: bool = True, **options: Any) -> tuple[dg.Experiment, list[Any]]:
    exp = dg.Experiment(directory, Number)
    root = exp.spawn_new_tree(start=1)
    promises = [Longer(each, log=str(directory) + ".log", **options)(root) for each in epochs]
    if run:
        exp.run()
    return exp, promises


def told(directory: Path) -> list[int]:
    log = Path(f"{directory}.log")
    return [int(each) for each in log.read_text().split()] if log.exists() else []


def outcome(exp: dg.Experiment, promise: Any) -> Any:
    state, node = promise.get(), exp.graph.node(promise.key)
    return promise.key, state.value, state.seen, [(each["moment"], each["values"]) for each in node.history]


def test_it_goes_on_where_the_longest_has_ended_with_the_same_key_and_bits(tmp_path: Path) -> None:
    whole, (promise,) = grow(tmp_path / "whole", 20)
    expected = outcome(whole, promise)
    grow(tmp_path / "tree", 3)
    grow(tmp_path / "tree", 8)
    exp, (promise,) = grow(tmp_path / "tree", 20)
    assert outcome(exp, promise) == expected
    assert told(tmp_path / "tree") == list(range(20))


@pytest.mark.parametrize("scheduler", ["single-threaded", "threads"])
def test_of_those_that_one_run_makes_the_longer_waits_for_the_shorter(scheduler: str, tmp_path: Path) -> None:
    whole, promises = grow(tmp_path / "whole", 9, run=False)
    expected = outcome(whole, promises[0]) if promises[0].get() else None
    exp, promises = grow(tmp_path / "tree", 9, 2, 5, run=False)
    exp.run(scheduler)
    assert outcome(exp, promises[0]) == expected
    assert sorted(told(tmp_path / "tree")) == list(range(9))


def test_one_with_other_properties_or_parents_is_another(tmp_path: Path) -> None:
    grow(tmp_path / "tree", 3)
    exp, _ = grow(tmp_path / "tree", 5, rate=0.25)
    assert told(tmp_path / "tree") == [0, 1, 2, 0, 1, 2, 3, 4]
    Longer(5, log=str(tmp_path / "other.log"))(Add(1)(exp.root)).get()
    assert told(tmp_path / "other") == [0, 1, 2, 3, 4]


def test_a_moment_before_the_end_of_the_shorter_is_made_from_the_start(tmp_path: Path) -> None:
    exp, (whole,) = grow(tmp_path / "whole", 9)
    second, sixth = whole.at(2).get().value, whole.at(6).get().value
    exp, (_, promise) = grow(tmp_path / "tree", 4, 9, run=False)
    assert promise.at(2).get().value == second
    exp.run()
    assert promise.at(6).get().value == sixth
    assert promise.at(2).key != whole.at(3).key


def test_nothing_is_kept_to_go_on_from_where_no_safe_points_are(tmp_path: Path) -> None:
    exp = dg.Experiment(tmp_path / "tree", Number, moments="none")
    root = exp.spawn_new_tree(start=1)
    Longer(3, log=str(tmp_path / "tree.log"))(root)
    exp.run()
    assert not (tmp_path / "tree" / "safepoints").exists()
    Longer(5, log=str(tmp_path / "tree.log"))(root).get()
    assert told(tmp_path / "tree") == [0, 1, 2, 0, 1, 2, 3, 4]


def test_what_is_evicted_or_dropped_takes_the_end_that_was_kept_with_it(tmp_path: Path) -> None:
    exp, (promise,) = grow(tmp_path / "tree", 3)
    assert list((tmp_path / "tree" / "safepoints").iterdir())
    exp.drop(promise)
    assert not list((tmp_path / "tree" / "safepoints").iterdir())


def test_extending_counts_in_the_key(tmp_path: Path) -> None:
    def made(extends_: str | None) -> str:
        class Train(dg.Recipe):
            extends = extends_
            epochs: int

            def run(self, state: Any) -> Any:
                for _ in self.steps(range(self.epochs)):
                    yield

        exp = dg.Experiment(tmp_path / "tree", Number)
        return Train(3)(exp.spawn_new_tree(start=1)).key

    assert made("epochs") != made(None)


def helper(recipe: Any) -> Any:
    return recipe.epochs


class ReadsElsewhere(dg.Recipe):
    extends = "epochs"
    epochs: int = 3

    def run(self, state: Any) -> Any:
        for epoch in self.steps(range(self.epochs)):
            state.value += epoch / self.epochs
            yield


class ReadsBefore(dg.Recipe):
    extends = "epochs"
    epochs: int = 3

    def run(self, state: Any) -> Any:
        horizon = self.epochs
        for _ in self.steps(range(horizon)):
            yield


class ReadsInALambda(dg.Recipe):
    extends = "epochs"
    epochs: int = 3

    def run(self, state: Any) -> Any:
        schedule = lambda n: n / self.epochs  # noqa: E731
        for epoch in self.steps(range(self.epochs)):
            state.value += schedule(epoch)
            yield


class ReadsInAMethod(dg.Recipe):
    extends = "epochs"
    epochs: int = 3

    def rate(self, epoch: int) -> float:
        return epoch / self.epochs

    def run(self, state: Any) -> Any:
        for epoch in self.steps(range(self.epochs)):
            state.value += self.rate(epoch)
            yield


class HandsItselfOn(dg.Recipe):
    extends = "epochs"
    epochs: int = 3

    def run(self, state: Any) -> Any:
        for epoch in self.steps(range(self.epochs)):
            state.value += epoch / helper(self)
            yield


class LooksInsideItself(dg.Recipe):
    extends = "epochs"
    epochs: int = 3

    def run(self, state: Any) -> Any:
        for _ in self.steps(range(self.epochs)):
            state.value += len(self.__dict__)
            yield


class ReadsItsKey(dg.Recipe):
    extends = "epochs"
    epochs: int = 3

    def run(self, state: Any) -> Any:
        for _ in self.steps(range(self.epochs)):
            random.seed(state.key)
            yield


class CountsOtherwise(dg.Recipe):
    extends = "epochs"
    epochs: int = 3

    def run(self, state: Any) -> Any:
        for _ in self.steps(range(1, self.epochs)):
            yield


class NoSteps(dg.Recipe):
    extends = "epochs"
    epochs: int = 3

    def run(self, state: Any) -> Any:
        for _ in range(self.epochs):
            yield


class NoProperty(dg.Recipe):
    extends = "steps_wanted"
    epochs: int = 3

    def run(self, state: Any) -> Any:
        for _ in self.steps(range(self.epochs)):
            yield


@pytest.mark.parametrize(
    "recipe",
    [
        ReadsElsewhere, ReadsBefore, ReadsInALambda, ReadsInAMethod, HandsItselfOn, LooksInsideItself,
        ReadsItsKey, CountsOtherwise, NoSteps, NoProperty,
    ],
)  # fmt: skip
def test_what_could_know_how_long_it_will_be_is_refused(recipe: Any, tmp_path: Path) -> None:
    exp = dg.Experiment(tmp_path, Number)
    with pytest.raises(dg.DefinitionError, match=r"extends|reads|hands"):
        recipe()(exp.spawn_new_tree(start=1))
