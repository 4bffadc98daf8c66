"""No edit that changes a result is accepted, however little of it shows; what is accepted stays one run."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

import dagtree as dg

LAB = """
import math, os, time
import numpy as np
import torch
import dagtree as dg

class S(dg.ExperimentState):
    NONHASHED_ATTRIBUTES = ["first", "second", "rest"]
    def initialize_state(self, **properties):
        self.first, self.second, self.rest = torch.ones(4), torch.ones(4), None

class R(dg.Recipe):
    count: int = 3
    def run(self, state):
        {body}
        return state

class T(dg.Recipe):
    count: int = 3
    def run(self, state):
        for k in self.steps(range(self.count)):
            {body}

class E(T):
    extends = "count"
"""

Lab = Callable[[str], ModuleType]


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    """Gives a module whose recipes do what is said; each call gives an edit of the one before."""
    names: list[str] = []

    def write(body: str) -> ModuleType:
        name = f"accepted_lab_{len(names)}"
        path = tmp_path / f"{name}.py"
        path.write_text(LAB.replace("{body}", body))
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec is not None
        assert spec.loader is not None
        module = sys.modules[name] = importlib.util.module_from_spec(spec)
        names.append(name)
        spec.loader.exec_module(module)
        return module

    yield write
    for name in names:
        sys.modules.pop(name, None)


def edited(lab: Lab, place: Path, recipe: str, then: str, now: str, tolerance: float) -> Any:
    """What `accept` says after the edit."""
    for body in (then, now):
        module = lab(body)
        exp = dg.Experiment(place, module.S)
        getattr(module, recipe)()(exp.spawn_new_tree())
        if body is then:
            exp.run(progress=False)
    return exp.accept(tolerance=tolerance, progress=False)


DIFFERENT = {
    "a NaN behind a tensor that agrees": (
        "state.first += 1e-7", "state.first += 2e-7; state.second *= math.nan", 1e-3,
    ),
    "another number beside an infinity": (
        "state.first[0] = -math.inf", "state.first[0] = -math.inf; state.first[1:] = 55.0", 1e-3,
    ),
    "code in the state": ("state.rest = lambda x: x + 1", "state.rest = lambda x: x + 2", 0.0),
    "another type": ("state.rest = np.ones(3)", "state.rest = np.ones(3, np.float32)", 1e-3),
    "another number": ("state.rest = 1", "state.rest = 1 + 1", 0.5),
    "a tensor that is no longer tied": (
        "state.second = state.first", "state.second = state.first.clone()", 0.5,
    ),
    "one tensor less": ("state.rest = torch.ones(3)", "state.rest = None", 0.5),
}  # fmt: skip


@pytest.mark.parametrize(("then", "now", "tolerance"), DIFFERENT.values(), ids=list(DIFFERENT))
def test_another_state_is_not_accepted(
    lab: Lab, tmp_path: Path, then: str, now: str, tolerance: float
) -> None:
    accepted = edited(lab, tmp_path / "x", "R", then, now, tolerance)
    assert dict(accepted) == {}
    assert [one.verdict for one in accepted.reproduced] == ["not"]
    assert "likely cause: the edit" in str(accepted)


def test_what_is_too_large_to_be_compared_is_not_accepted(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Unless it is the same to the last byte."""
    monkeypatch.setattr("dagtree.storage.sameness._LARGEST_BYTES", 100)
    accepted = edited(
        lab, tmp_path / "x", "R", "state.rest = list(range(0, 99))", "state.rest = list(range(1, 100))", 0.0
    )
    assert dict(accepted) == {}
    assert "isn't known to be what it was" in str(accepted)
    same = edited(
        lab, tmp_path / "y", "R", "state.rest = list(range(0, 99))", "state.rest = [*range(99)]", 0.0
    )
    assert len(same) == 1


GROW = "state.first = state.first + {}; yield {{'loss': {}}}"
YIELDED = {
    "another value": (GROW.format(1, 1.0), GROW.format(1, 2.0), 0.0, "loss"),
    "another name": (GROW.format(1, 1.0), GROW.format(1, 1.0).replace("loss", "error"), 0.0, "loss, error"),
    "further than the tolerance": (GROW.format(1, 1.0), GROW.format(1, 1.01), 1e-3, "loss"),
    "other moments": (
        "state.first = state.first + 1; yield {'loss': 1.0}",
        "state.first = state.first + 1; yield {'loss': 1.0}; yield {'loss': 1.0}",
        0.0,
        "the number of moments (3 then, 6 now)",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("then", "now", "tolerance", "said"), YIELDED.values(), ids=list(YIELDED))
def test_the_same_state_with_other_metrics_is_not_accepted(
    lab: Lab, tmp_path: Path, then: str, now: str, tolerance: float, said: str
) -> None:
    """The older node would show the older numbers."""
    accepted = edited(lab, tmp_path / "x", "T", then, now, tolerance)
    assert dict(accepted) == {}
    assert f"what it yielded differs: {said}\n" in str(accepted)


def test_metrics_within_the_tolerance_and_seconds_are_no_hindrance(lab: Lab, tmp_path: Path) -> None:
    """What comes out otherwise each time tells nothing, and is named."""
    timed = "state.first = state.first + 1; yield {'loss': LOSS, 'now': time.perf_counter() % 1e-3}"
    accepted = edited(
        lab, tmp_path / "x", "T", timed.replace("LOSS", "1.0"), timed.replace("LOSS", "1.0 + 1e-9"), 1e-6
    )
    assert len(accepted) == 1
    assert accepted.reproduced[0].varying == ("now",)
    assert "comes out otherwise each time, and doesn't count: now" in str(accepted)


def test_a_metric_that_comes_out_otherwise_is_not_reproduced(lab: Lab, tmp_path: Path) -> None:
    (tmp_path / "number").write_text("1")
    path = str(tmp_path / "number")
    module = lab(f"yield {{'read': float(np.loadtxt({path!r})), 'now': time.perf_counter() % 1e-3}}")
    exp = dg.Experiment(tmp_path / "x", module.S)
    node = module.T()(exp.spawn_new_tree())
    exp.run(progress=False)
    assert exp.reproduce(node, progress=False).ok
    (tmp_path / "number").write_text("2")
    found = exp.reproduce(node, progress=False)[0]
    assert (found.verdict, found.yielded, found.varying) == ("not", ("read",), ("now",))
    assert "something that the key doesn't cover" in found.causes[0]


def chance(before: str, after: str) -> tuple[str, str]:
    draw = "state.first = {}; yield {{'mean': float(state.first.mean())}}"
    return draw.format(before), draw.format(after)


THEN, NOW = chance("state.first + torch.randn(4)", "torch.randn(4) + state.first")


def test_a_moment_that_is_asked_for_later_is_of_the_run_that_was_accepted(lab: Lab, tmp_path: Path) -> None:
    """It has the random numbers of the older node, as the end of its edge has."""
    exp = dg.Experiment(tmp_path / "x", lab(THEN).S)
    module = sys.modules["accepted_lab_0"]
    history = [moment["values"] for moment in _ran(exp, module.T()(exp.spawn_new_tree())).history]
    module = lab(NOW)
    exp = dg.Experiment(tmp_path / "x", module.S)
    end = module.T()(exp.spawn_new_tree())
    assert len(exp.accept(progress=False)) == 1
    moment = end.at(2)
    exp.run(progress=False)
    assert float(moment.get().first.mean()) == history[1]["mean"]
    assert exp.graph.node(moment.key).accepted is None
    assert exp.reproduce(progress=False).ok
    exp.evict([end, moment])
    assert float(moment.get().first.mean()) == history[1]["mean"]


def test_a_moment_of_which_the_end_is_not_accepted_is_left(lab: Lab, tmp_path: Path) -> None:
    """Or the moment and the end of one edge would have other random numbers."""
    for at, body in enumerate((THEN, NOW)):
        module = lab(body)
        exp = dg.Experiment(tmp_path / "x", module.S)
        moment = module.T()(exp.spawn_new_tree()).at(2)
        if not at:
            moment.get()
    accepted = exp.accept(progress=False)
    assert dict(accepted) == {}
    assert "the end of its edge isn't kept" in accepted.left[moment.key]


def test_an_edge_is_accepted_with_all_its_moments_or_not_at_all(lab: Lab, tmp_path: Path) -> None:
    """An edit that shows at the end only would leave a moment of another run."""
    later = "state.first = state.first + torch.randn(4) + (k == 2); yield {'mean': 0.0}"
    for body in (THEN.replace("float(state.first.mean())", "0.0"), later):
        module = lab(body)
        exp = dg.Experiment(tmp_path / "x", module.S)
        end = module.T()(exp.spawn_new_tree())
        moment = end.at(2)
        if body is not later:
            exp.run(progress=False)
    accepted = exp.accept(progress=False)
    assert dict(accepted) == {}
    assert accepted.left[end.key] == "computed with the code of now, it isn't what it was"
    assert accepted.left[moment.key] == "another part of its edge isn't what it was: its end, or a moment"
    exp.run(progress=False)
    assert torch.equal(end.at(3).get().first, end.get().first)


@pytest.mark.parametrize("evicted", [False, True])
def test_what_an_interrupted_run_left_is_of_another_run_than_what_was_accepted(
    lab: Lab, tmp_path: Path, evicted: bool
) -> None:
    """Who begins to compute, and then accepts, has a safe point with the newer random numbers."""
    exp = dg.Experiment(tmp_path / "x", lab(THEN).S)
    older = _ran(exp, sys.modules["accepted_lab_0"].T()(exp.spawn_new_tree()))
    history = older.history
    if evicted:
        exp.evict([older])
    broken = tmp_path / "broken"
    broken.touch()
    module = lab(f"{NOW}; assert not (k == 1 and os.path.exists({str(broken)!r}))")
    exp = dg.Experiment(tmp_path / "x", module.S, moments="all")
    end = module.T()(exp.spawn_new_tree())
    with pytest.raises(dg.RunError):
        exp.run(progress=False)
    assert exp._store.safe_points()
    broken.unlink()
    assert len(exp.accept(progress=False)) == 1
    moment = end.at(3)
    exp.run(progress=False)
    assert float(moment.get().first.mean()) == history[2]["values"]["mean"]
    exp.evict([end, moment])
    assert float(end.get().first.mean()) == history[2]["values"]["mean"]


def test_nothing_goes_on_where_an_accepted_edge_has_ended(lab: Lab, tmp_path: Path) -> None:
    """It has other random numbers than those of the longer edge, which is the same however it is computed."""
    for body in (THEN, NOW):
        module = lab(body)
        exp = dg.Experiment(tmp_path / "x", module.S, moments="all")
        root = exp.spawn_new_tree()
        short = module.E()(root)
        if body is THEN:
            before = float(short.get().first.mean())
    assert len(exp.accept(progress=False)) == 1
    exp.evict([short])
    two = float(module.E(count=2)(root).get().first.mean())
    assert float(short.get().first.mean()) == before
    alone = dg.Experiment(tmp_path / "y", module.S, moments="none")
    start = alone.spawn_new_tree()
    assert float(module.E(count=2)(start).get().first.mean()) == two
    long = [float(module.E(count=5)(one).get().first.mean()) for one in (root, start)]
    assert long[0] == long[1]


@pytest.mark.parametrize("tolerance", [-1.0, float("nan"), float("inf"), True, "1e-6"])
def test_a_tolerance_that_is_no_distance_is_refused(lab: Lab, tmp_path: Path, tolerance: Any) -> None:
    module = lab(THEN)
    exp = dg.Experiment(tmp_path / "x", module.S)
    node = _ran(exp, module.T()(exp.spawn_new_tree()))
    with pytest.raises(ValueError, match="a tolerance is a relative distance"):
        exp.reproduce(node, tolerance=tolerance)
    with pytest.raises(ValueError, match="a tolerance is a relative distance"):
        exp.accept(tolerance=tolerance)


def test_what_newer_code_replaced_is_not_reproduced_unasked(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for body in (THEN, NOW):
        module = lab(body)
        exp = dg.Experiment(tmp_path / "x", module.S)
        _ran(exp, module.T()(exp.spawn_new_tree()))
    assert exp.reproduce(progress=False).ok
    monkeypatch.delitem(sys.modules, "accepted_lab_0")
    assert len(exp.graph.superseded) == 1
    old = exp.reproduce(exp.graph.superseded[0], progress=False)[0]
    assert old.verdict == "failed"
    assert "is to be computed again, and" in old.message
    assert "evicted" not in old.message


def _ran(exp: dg.Experiment, promise: Any) -> Any:
    exp.run(progress=False)
    return exp.graph.node(promise.key)
