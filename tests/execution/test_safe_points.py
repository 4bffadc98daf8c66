"""Whatever interrupts a run, the next one goes on from its last safe point, to the same bits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

import dagtree as dg
import trained
from trained import BEGINNING, RESUMING, Momentum, bits, define, steps_done


def reference(recipe: Any, tmp_path: Path, **options: Any) -> tuple[list[str], Any]:
    exp, promise = define(tmp_path / "reference", recipe, tmp_path / "undisturbed", **options)
    exp.run()
    return bits(promise.get()), exp.graph.node(promise.key)


def series(node: Any) -> list[Any]:
    return [(entry["moment"], entry["values"]) for entry in node.history]


@pytest.mark.parametrize("at", [1, 3])
@pytest.mark.parametrize("recipe", RESUMING)
def test_a_run_that_was_interrupted_goes_on_to_the_same_bits(recipe: Any, at: int, tmp_path: Path) -> None:
    place = tmp_path / "place"
    expected, undisturbed = reference(recipe, tmp_path)
    place.write_text(f"ctrl-c {at}")
    exp, promise = define(tmp_path / "tree", recipe, place)
    with pytest.raises(dg.RunInterrupted):
        exp.run()
    exp, promise = define(tmp_path / "tree", recipe, place)
    exp.run()
    assert bits(promise.get()) == expected
    node = exp.graph.node(promise.key)
    assert series(node) == series(undisturbed)
    done = steps_done(place)
    assert done == [*range(at + 1), *range(at, len(done) - 1)], (
        "no step is done twice but the interrupted one"
    )
    assert not list((tmp_path / "tree").glob("safepoints/*"))


@pytest.mark.parametrize("recipe", BEGINNING)
def test_what_cant_be_taken_up_begins_at_its_start(recipe: Any, tmp_path: Path) -> None:
    place = tmp_path / "place"
    expected, _ = reference(recipe, tmp_path)
    place.write_text("ctrl-c 3")
    exp, promise = define(tmp_path / "tree", recipe, place)
    with pytest.raises(dg.RunInterrupted):
        exp.run()
    exp, promise = define(tmp_path / "tree", recipe, place)
    exp.run()
    assert bits(promise.get()) == expected
    assert steps_done(place)[-6:] == list(range(6))


def test_of_two_loops_the_first_has_safe_points(tmp_path: Path) -> None:
    place = tmp_path / "place"
    expected, undisturbed = reference(trained.Twice, tmp_path)
    place.write_text("ctrl-c 4")
    exp, promise = define(tmp_path / "tree", trained.Twice, place)
    with pytest.raises(dg.RunInterrupted):
        exp.run()
    exp.run()
    assert bits(promise.get()) == expected
    assert series(exp.graph.node(promise.key)) == series(undisturbed)
    assert steps_done(place) == [0, 1, 2, 3, 4, 2, 3, 4, 5]


@pytest.mark.parametrize("scheduler", ["threads", "processes", "cluster"])
def test_on_every_scheduler(scheduler: Any, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    if scheduler == "cluster":
        scheduler = request.getfixturevalue("client")
    place = tmp_path / "place"
    expected, _ = reference(Momentum, tmp_path)
    place.write_text("fails 3")
    exp, promise = define(tmp_path / "tree", Momentum, place)
    with pytest.raises(dg.RunError):
        exp.run(scheduler, workers=2)
    exp.run(scheduler, workers=2)
    assert bits(promise.get()) == expected
    assert steps_done(place) == [0, 1, 2, 3, 3, 4, 5]


def test_after_the_death_of_a_worker(tmp_path: Path) -> None:
    place = tmp_path / "place"
    expected, _ = reference(Momentum, tmp_path)
    place.write_text("exit 3")
    exp, promise = define(tmp_path / "tree", Momentum, place)
    with pytest.raises(dg.RunError, match="died"):
        exp.run("processes", workers=1)
    exp, promise = define(tmp_path / "tree", Momentum, place)
    exp.run("processes", workers=1)
    assert bits(promise.get()) == expected
    done = steps_done(place)
    assert done[:4] == [0, 1, 2, 3]
    assert 0 not in done[4:], "it goes on from a safe point"
