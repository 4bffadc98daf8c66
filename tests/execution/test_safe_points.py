"""Whatever interrupts a run, the next one goes on from its last safe point, to the same bits."""

from __future__ import annotations

import contextlib
import random
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

import dagtree as dg
import trained
from dagtree.storage.snapshot import pack, seal, unpack
from trained import BEGINNING, RESUMING, Momentum, bits, define, steps_done
from warm import Warm, wait_until


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
    exp.run("processes", workers=1)
    assert bits(promise.get()) == expected
    done = steps_done(place)
    assert done[:4] == [0, 1, 2, 3]
    assert 0 not in done[4:], "another process goes on from a safe point, in the same run"


@pytest.mark.parametrize("scheduler", ["single-threaded", "processes"])
def test_a_retry_goes_on_at_the_last_safe_point(scheduler: str, tmp_path: Path) -> None:
    """Also behind a moment that was asked for, and is there by then."""
    place = tmp_path / "place"
    expected, undisturbed = reference(Momentum, tmp_path)
    place.write_text("fails 3")
    exp, promise = define(tmp_path / "tree", Momentum, place)
    early = promise.at(1)
    Momentum(place=str(place))(promise.parents[0], retries=1)
    report = exp.run(scheduler, workers=1)
    assert (report.computed, report.failed) == (3, 0)
    assert bits(promise.get()) == expected
    assert series(exp.graph.node(promise.key)) == series(undisturbed)
    assert steps_done(place) == [0, 1, 2, 3, 3, 4, 5]
    assert len(early.get().seen) == 1


@pytest.fixture(scope="module")
def warm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Warm]:
    started = Warm(tmp_path_factory.mktemp("warm"), "trained", "dagtree.execution.rounds", "dask.local")
    yield started
    started.close()


@pytest.mark.skipif(sys.platform != "linux", reason="the helper that starts processes needs Linux")
@pytest.mark.parametrize("recipe", ["Momentum", "AdamAndEverything"])
def test_killed_at_any_instant_it_goes_on_to_the_same_bits(recipe: str, tmp_path: Path, warm: Warm) -> None:
    made = getattr(trained, recipe)
    place = tmp_path / "place"
    expected, undisturbed = reference(made, tmp_path, steps_wanted=60)
    draw = random.Random(recipe)
    for _ in range(4):
        enough = len(steps_done(place)) + draw.randint(3, 20)
        child = warm.start("trained:train", tmp_path / "tree", recipe, place, 60)
        wait_until(
            lambda child=child, enough=enough: len(steps_done(place)) >= enough or not child.is_alive()
        )
        child.kill()
    warm.start("trained:train", tmp_path / "tree", recipe, place, 60).result()
    exp, promise = define(tmp_path / "tree", made, place, steps_wanted=60)
    assert exp.run().computed == 0
    assert bits(promise.get()) == expected
    assert series(exp.graph.node(promise.key)) == series(undisturbed)
    assert len(steps_done(place)) <= 60 + 3 * 4, "a kill costs the step that was under way, and little more"
    assert not [path for path in (tmp_path / "tree").rglob("*") if "safepoints/" in str(path)]


def interrupted(tmp_path: Path, recipe: Any = Momentum, at: int = 4, **options: Any) -> Any:
    place = tmp_path / "place"
    place.write_text(f"ctrl-c {at}")
    exp, _ = define(tmp_path / "tree", recipe, place, **options)
    with pytest.raises(dg.RunInterrupted):
        exp.run()
    Path(f"{place}.steps").unlink()
    return place


def test_a_moment_is_replayed_from_the_safe_point_before_it_and_no_further(tmp_path: Path) -> None:
    expected, _ = reference(Momentum, tmp_path)
    exp, promise = define(tmp_path / "reference", Momentum, tmp_path / "undisturbed")
    third, fifth = bits(promise.at(3).get()), bits(promise.at(5).get())
    place = interrupted(tmp_path)
    exp, promise = define(tmp_path / "tree", Momentum, place)
    assert bits(promise.at(5).get()) == fifth
    assert steps_done(place) == [4]
    Path(f"{place}.steps").unlink()
    assert bits(promise.at(3).get()) == third
    assert steps_done(place) == [0, 1, 2], "what is kept lies behind it"
    assert promise.key not in {node.key for node in exp.graph.nodes.where(status="done")}
    Path(f"{place}.steps").unlink()
    assert bits(promise.get()) == expected


def test_a_replay_leaves_no_safe_point_of_an_edge_that_is_done(tmp_path: Path) -> None:
    exp, promise = define(tmp_path / "tree", Momentum, tmp_path / "place")
    exp.run()
    promise.at(3).get()
    assert not list((tmp_path / "tree").glob("safepoints/*"))


def test_moments_that_were_asked_for_are_made_by_the_run_that_goes_on(tmp_path: Path) -> None:
    exp, promise = define(tmp_path / "reference", Momentum, tmp_path / "undisturbed")
    early, late = promise.at(2), promise.at(5)
    exp.run()
    expected = [bits(each.get()) for each in (early, late, promise)]
    place = tmp_path / "place"
    place.write_text("ctrl-c 4")
    for _ in range(2):
        exp, promise = define(tmp_path / "tree", Momentum, place)
        early, late = promise.at(2), promise.at(5)
        with contextlib.suppress(dg.RunInterrupted):
            exp.run()
    assert steps_done(place) == [0, 1, 2, 3, 4, 4, 5]
    assert [bits(each.get()) for each in (early, late, promise)] == expected


@pytest.mark.parametrize(
    ("moments", "first"), [("none", 0), (3, 3), ("all", 4), ("1 h", 0), ("auto", 0), ("0.001s", 4)]
)
def test_how_often_is_said_by_the_experiment_or_the_run(moments: Any, first: int, tmp_path: Path) -> None:
    place = tmp_path / "place"
    place.write_text("ctrl-c 4")
    exp, _ = define(tmp_path / "tree", Momentum, place)
    with pytest.raises(dg.RunInterrupted):
        exp.run(moments=moments)
    Path(f"{place}.steps").unlink()
    assert exp.moments == "all"
    exp.run()
    assert steps_done(place)[0] == first


@pytest.mark.parametrize("moments", [None, 0, -1, True, "often", "10 parsecs", 1.5, "0s", object()])
def test_what_says_no_time_is_refused(moments: Any, tmp_path: Path) -> None:
    with pytest.raises(dg.DefinitionError, match=r"moments=.*10min"):
        dg.Experiment(tmp_path, trained.Fitted, moments=moments)


def test_a_safe_point_that_is_damaged_is_named_and_not_used(tmp_path: Path) -> None:
    expected, _ = reference(Momentum, tmp_path)
    place = interrupted(tmp_path)
    exp, promise = define(tmp_path / "tree", Momentum, place)
    assert exp.verify().ok
    (path,) = (tmp_path / "tree").glob("safepoints/*")
    assert exp.storage().beyond["safepoints"] == path.stat().st_size
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    assert [path.name in problem for problem in exp.verify().beside] == [True]
    exp.run()
    assert steps_done(place) == list(range(6))
    assert bits(promise.get()) == expected


def test_what_a_kill_left_of_an_edge_that_is_done_is_removed_by_the_next_run(tmp_path: Path) -> None:
    place = interrupted(tmp_path)
    exp, _ = define(tmp_path / "tree", Momentum, place)
    (path,) = (tmp_path / "tree").glob("safepoints/*")
    content = path.read_bytes()
    exp.run()
    assert not path.exists()
    path.write_bytes(content)
    exp.run()
    assert not path.exists()


def test_safe_points_of_other_code_are_not_taken_up(tmp_path: Path) -> None:
    place = interrupted(tmp_path)
    (path,) = (tmp_path / "tree").glob("safepoints/*")
    found = unpack(path.read_bytes())
    assert found is not None
    exp, _ = define(tmp_path / "tree", Momentum, place)
    changed = pack({**found.facts, "made_by": {**found.facts["made_by"], "torch": "0.1"}}, found.payload)
    seal(changed)
    path.write_bytes(changed)
    exp.run()
    assert steps_done(place) == list(range(6))


def test_at_a_url_too(tmp_path: Path) -> None:
    expected, _ = reference(Momentum, tmp_path)
    place = tmp_path / "place"
    place.write_text("fails 3")
    url = f"memory://safe-points-{tmp_path.name}"
    exp, promise = define(url, Momentum, place)
    with pytest.raises(dg.RunError):
        exp.run()
    exp, promise = define(url, Momentum, place)
    exp.run()
    assert bits(promise.get()) == expected
    assert steps_done(place) == [0, 1, 2, 3, 3, 4, 5]


def test_what_was_printed_is_kept_once(tmp_path: Path) -> None:
    class Says(trained.Training):
        def run(self, state: Any) -> Any:
            print("begins")
            for step in self.steps(range(4)):
                print("step", step)
                self.trip(step)
                yield

    place = interrupted(tmp_path, Says, 2)
    exp, promise = define(tmp_path / "tree", Says, place)
    exp.run()
    # Of what was under way when it was interrupted, nothing is told.
    assert exp.graph.node(promise.key).output == "begins\nstep 0\nstep 1\nstep 2\nstep 3\n"


def test_a_run_that_fails_after_it_was_taken_up_is_tried_from_its_start(tmp_path: Path) -> None:
    place = interrupted(tmp_path)
    exp, _ = define(tmp_path / "tree", Momentum, place)
    place.write_text("fails 5")
    assert exp.run().computed == 1
    assert steps_done(place) == [4, 5, 0, 1, 2, 3, 4, 5]


def test_a_run_that_is_cancelled_stops_at_a_safe_point(tmp_path: Path) -> None:
    expected, _ = reference(Momentum, tmp_path, steps_wanted=30)
    place = tmp_path / "place"
    exp, promise = define(tmp_path / "tree", Momentum, place, steps_wanted=30)
    running = exp.run(wait=False, moments="1 h")
    wait_until(lambda: len(steps_done(place)) >= 5)
    running.cancel()
    assert running.wait(20).interrupted
    done = steps_done(place)
    assert len(done) < 30
    exp.run()
    assert bits(promise.get()) == expected
    assert steps_done(place) == list(range(30)), "it was kept where it stopped"


@pytest.mark.stress
def test_on_a_cluster_whose_worker_dies_the_same_run_goes_on(tmp_path: Path) -> None:
    from distributed import Client, LocalCluster

    expected, undisturbed = reference(Momentum, tmp_path)
    place = tmp_path / "place"
    place.write_text("exit 3")
    exp, promise = define(tmp_path / "tree", Momentum, place)
    with (
        LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=None, silence_logs=50) as cluster,
        Client(cluster) as client,
    ):
        exp.run(client)
    assert bits(promise.get()) == expected
    assert series(exp.graph.node(promise.key)) == series(undisturbed)
    done = steps_done(place)
    assert done[:4] == [0, 1, 2, 3]
    assert 0 not in done[4:]
