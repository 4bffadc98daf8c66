"""Is it true: nodes computed once more, and old nodes that stand for new code which changes nothing."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest
import torch

import dagtree as dg
from study import Add, Count, Multiply, Number, Sum


class Weights(dg.ExperimentState):
    NONHASHED_ATTRIBUTES = ["layers", "note"]

    def initialize_state(self, **properties: Any) -> None:
        self.layers = {name: torch.ones(50) for name in ("first", "second")}


class Noise(dg.Recipe):
    """Draws, so that it comes out the same only from the same seed."""

    scale: float = 1.0

    def run(self, state: Weights) -> Any:
        for _ in self.steps(range(3)):
            state.layers["first"] += self.scale * torch.randn(50)
            yield {"mean": float(state.layers["first"].mean())}


class FromFile(dg.Recipe):
    """Reads what its key doesn't cover."""

    file: str

    def run(self, state: Weights) -> Weights:
        state.layers["second"] += float(Path(self.file).read_text())
        return state


class Chance(dg.Recipe):
    """Comes out otherwise each time."""

    def run(self, state: Weights) -> Weights:
        state.layers["second"] += random.SystemRandom().random()
        return state


@pytest.fixture
def study(tmp_path: Path) -> tuple[dg.Experiment, dict[str, Any]]:
    (tmp_path / "number").write_text("1.0")
    exp = dg.Experiment(tmp_path / "x", Weights)
    root = exp.spawn_new_tree()
    noisy = Noise()(root)
    named = {
        "root": root, "noisy": noisy, "moment": noisy.at(2),
        "read": FromFile(file=str(tmp_path / "number"))(noisy),
        "chance": Chance()(root), "below": Noise(scale=2.0)(noisy.at(2)),
    }  # fmt: skip
    exp.run(progress=False)
    return exp, named


def leftovers(directory: Path) -> list[str]:
    return [name for name in os.listdir(directory) if name.startswith(".dagtree-beside-")]


@pytest.mark.parametrize("scheduler", ["single-threaded", "processes"])
def test_what_is_deterministic_comes_out_bit_for_bit(study: Any, scheduler: str, tmp_path: Path) -> None:
    """Recipes that draw, moments, and what hangs below them, each from its parents as they are kept."""
    exp, named = study
    wanted = [named[name] for name in ("root", "noisy", "moment", "below", "read")]
    before = {path: path.stat().st_size for path in (tmp_path / "x").rglob("*") if path.is_file()}
    found = exp.reproduce(wanted, scheduler=scheduler, progress=False)
    assert {one.node.key: one.verdict for one in found} == dict.fromkeys(
        (promise.key for promise in wanted), "bit for bit"
    )
    assert found.ok
    assert found.headline == "5 nodes were computed again: 5 bit for bit"
    after = {path: path.stat().st_size for path in (tmp_path / "x").rglob("*") if path.is_file()}
    assert {path for path in before if before[path] != after.get(path)} == set(), (
        "the tree itself is left alone"
    )
    assert exp.run(progress=False).computed == 0


def test_what_reads_something_unseen_is_caught_and_the_cause_is_named(study: Any, tmp_path: Path) -> None:
    exp, named = study
    (tmp_path / "number").write_text("1.5")
    (one,) = exp.reproduce(named["read"], progress=False)
    assert one.verdict == "not"
    assert one.differing == ("layers.second",)
    assert one.tensors is not None
    assert one.tensors["layers.second"].distance.largest == pytest.approx(0.5)
    assert one.tensors["layers.first"].is_equal
    assert "something that the key doesn't cover" in one.causes[0]
    assert "came out otherwise" in "\n".join(one.lines())


def test_a_tolerance_says_how_far_and_in_which_tensors(study: Any, tmp_path: Path) -> None:
    """1.5 instead of 1 on top of ones: 0.5 · √50 over 2 · √50, a quarter."""
    exp, named = study
    (tmp_path / "number").write_text("1.5")
    (near,) = exp.reproduce(named["read"], tolerance=0.26, progress=False)
    assert near.verdict == "within tolerance"
    assert near.relative == pytest.approx(0.25)
    assert near.agrees
    (far,) = exp.reproduce(named["read"], tolerance=0.24, progress=False)
    assert far.verdict == "not"


def test_what_is_computed_beside_the_tree_is_not_said_to_be_evicted(
    study: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "number").write_text("1.5")
    study[0].reproduce(study[1]["read"], progress=False)
    assert caplog.text == ""


class Zeros(dg.Recipe):
    """Zeros that are equal as numbers, of another sign each time that it is asked for."""

    file: str

    def run(self, state: Weights) -> Weights:
        state.layers["first"] = torch.zeros(3) * float(Path(self.file).read_text())
        return state


def test_equal_numbers_of_other_bits_agree_only_within_a_tolerance(
    tmp_path: Path,
) -> None:
    (tmp_path / "sign").write_text("1")
    exp = dg.Experiment(tmp_path / "x", Weights)
    zeros = Zeros(file=str(tmp_path / "sign"))(exp.spawn_new_tree())
    exp.run(progress=False)
    (tmp_path / "sign").write_text("-1")
    (one,) = exp.reproduce(zeros, progress=False)
    assert one.verdict == "not"
    assert "equal as numbers, and of other bits, as 0.0 and -0.0 are" in "\n".join(one.lines())
    (one,) = exp.reproduce(zeros, tolerance=1e-9, progress=False)
    assert one.verdict == "within tolerance"


def test_what_differs_from_itself_is_told_from_what_differs_between_places(study: Any) -> None:
    (one,) = study[0].reproduce(study[1]["chance"], progress=False)
    assert one.verdict == "not"
    assert one.causes[0].startswith(
        "a nondeterministic operation: computed twice here, it differs from itself"
    )


def test_a_recipe_that_fails_now_has_a_verdict_too(study: Any, tmp_path: Path) -> None:
    exp, named = study
    (tmp_path / "number").unlink()
    found = exp.reproduce([named["read"], named["noisy"]], progress=False)
    assert [one.verdict for one in found] == ["bit for bit", "failed"]
    assert "FileNotFoundError" in found[1].message
    assert not found.ok
    assert "could not be computed again" in str(found)


def test_all_that_was_computed_is_the_default_and_tables_say_it(study: Any) -> None:
    exp, named = study
    found = exp.reproduce(progress=False)
    assert [one.node.key for one in found] == list(exp.graph.nodes.keys)
    table = found.table().set_index("key")
    assert table.verdict[named["noisy"].key] == "bit for bit"
    assert table.verdict[named["chance"].key] == "not"
    assert "nondeterministic" in found._repr_html_()


def test_a_restored_tree_finds_its_recipes_by_their_modules(study: Any) -> None:
    exp = dg.Experiment.restore(study[0].location, Weights)
    assert exp.reproduce(
        [exp.graph.node(study[1][name].key) for name in ("noisy", "moment")], progress=False
    ).ok


def test_an_evicted_node_is_compared_by_what_its_record_says(study: Any, tmp_path: Path) -> None:
    exp, named = study
    exp.evict([exp.graph.node(named["read"].key)])
    assert exp.reproduce(named["read"], progress=False).ok
    (tmp_path / "number").write_text("2")
    (one,) = exp.reproduce(named["read"], progress=False)
    assert (one.verdict, one.differing, one.tensors) == ("not", ("layers.second",), None)


def test_a_node_that_was_opened_elsewhere_is_known_by_its_key(study: Any) -> None:
    exp, named = study
    opened = dg.Experiment.restore(exp.location).graph
    assert exp.reproduce(opened.node(named["noisy"].key), progress=False).ok


def test_what_was_not_computed_or_is_no_node_is_refused(study: Any, tmp_path: Path) -> None:
    exp, named = study
    with pytest.raises(dg.SelectionError, match="never computed"):
        exp.reproduce(Noise(scale=9.0)(named["root"]))
    with pytest.raises(dg.SelectionError, match="nodes of the graph, or promises"):
        exp.reproduce(["abc"])
    other = dg.Experiment(tmp_path / "other", Weights)
    with pytest.raises(dg.TreeError, match="another experiment"):
        exp.reproduce(other.spawn_new_tree())
    other.run(progress=False)
    with pytest.raises(dg.TreeError, match="another experiment"):
        exp.reproduce(other.graph.root)


def test_nothing_is_left_in_the_temporary_directory(study: Any, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    study[0].reproduce(study[1]["chance"], progress=False)
    assert leftovers(tmp_path) == []


# Accepting

SCRIPT = """
import json, sys
import dagtree as dg
import torch
from lab import S, Draw, Scale, Keep

exp = dg.Experiment("run", S)
root = exp.spawn_new_tree()
drawn = Draw(count=3)(root)
scaled = Scale(factor=2.0)(drawn)
kept = Keep()(scaled)
early = Keep()(drawn.at(2))
both = Keep(two=True)(scaled, early)
named = dict(root=root, drawn=drawn, moment=drawn.at(2), scaled=scaled, kept=kept, early=early, both=both)
what = sys.argv[1]
out = {"keys": {name: promise.key for name, promise in named.items()}}
if what == "run":
    report = exp.run(progress=False)
    out["computed"] = sorted(name for name, promise in named.items() if promise.key in report.computed_keys)
    out["values"] = {
        name: exp.graph.node(promise.key).restore().value.tolist() for name, promise in named.items()
    }
else:
    given = [named[name] for name in sys.argv[2:]] or None
    accepted = exp.accept(given, progress=False)
    out["accepted"] = dict(accepted)
    out["left"] = dict(accepted.left)
    out["verdicts"] = [one.verdict for one in accepted.reproduced]
    out["said"] = str(accepted)
print(json.dumps(out))
"""

LAB = """
import dagtree as dg
import torch

def scale(value, factor):
    return value * factor

class S(dg.ExperimentState):
    NONHASHED_ATTRIBUTES = ["value"]
    def initialize_state(self, **properties):
        self.value = torch.zeros(4)

class Draw(dg.Recipe):
    count: int
    def run(self, state):
        for _ in self.steps(range(self.count)):
            state.value = state.value + torch.randn(4)
            yield {"mean": float(state.value.mean())}

class Scale(dg.Recipe):
    factor: float
    def run(self, state):
        state.value = scale(state.value, self.factor)
        return state

class Keep(dg.Recipe):
    two: bool = False
    def run(self, state, *others):
        state.value = state.value + 1
        for other in others:
            state.value = state.value + other.value
        return state
"""


class Lab:
    """A script and its module, which tests edit."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        (directory / "script.py").write_text(SCRIPT)
        self.write(LAB)

    def write(self, text: str) -> None:
        (self.directory / "lab.py").write_text(text)

    def edit(self, old: str, new: str) -> None:
        assert old in LAB
        self.write(LAB.replace(old, new))

    def do(self, *what: str) -> dict[str, Any]:
        done = subprocess.run(
            [sys.executable, "script.py", *what], cwd=self.directory, capture_output=True, text=True,
            env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return dict(json.loads(done.stdout.splitlines()[-1]))


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return Lab(tmp_path)


def size(directory: Path) -> int:
    return sum(
        path.stat().st_size for folder in ("packs", "tensors") for path in (directory / folder).rglob("*")
    )


def test_an_edit_that_changes_nothing_is_accepted_with_all_below_it(lab: Lab) -> None:
    """The edges are computed with the seeds of then, what hangs below isn't, and not a byte is copied."""
    first = lab.do("run")
    lab.edit("state.value = state.value + torch.randn(4)", "state.value = torch.randn(4) + state.value")
    before = size(lab.directory / "run")
    done = lab.do("accept")
    changed = {"drawn", "moment", "scaled", "kept", "early", "both"}
    assert {name for name, key in done["keys"].items() if key != first["keys"][name]} == changed
    assert done["accepted"] == {done["keys"][name]: first["keys"][name] for name in changed}
    assert done["verdicts"] == ["bit for bit", "bit for bit"], "the end of the edge, and its moment"
    assert done["left"] == {}
    assert size(lab.directory / "run") == before
    again = lab.do("run")
    assert again["computed"] == []
    assert again["values"] == first["values"]


def test_an_edit_of_a_helper_is_accepted_from_there_down(lab: Lab) -> None:
    first = lab.do("run")
    lab.edit("return value * factor", "return factor * value")
    done = lab.do("accept", "scaled")
    assert set(done["accepted"].values()) == {first["keys"][name] for name in ("scaled", "kept", "both")}
    assert done["verdicts"] == ["bit for bit"]
    assert lab.do("run")["computed"] == []


def test_an_edit_that_changes_a_result_is_not_accepted_nor_what_hangs_below(lab: Lab) -> None:
    first = lab.do("run")
    lab.edit("return value * factor", "return value * factor + 1e-3")
    done = lab.do("accept")
    assert done["accepted"] == {}
    assert done["verdicts"] == ["not"]
    assert set(done["left"]) == {done["keys"][name] for name in ("scaled", "kept", "both")}
    assert "computed with the code of now, it isn't what it was" in done["said"]
    again = lab.do("run")
    assert again["computed"] == ["both", "kept", "scaled"]
    assert again["values"]["scaled"] != first["values"]["scaled"]


def test_what_was_accepted_says_so_and_an_evicted_one_comes_out_as_it_was(lab: Lab) -> None:
    """Also when its seed would be another now."""
    first = lab.do("run")
    lab.edit("state.value = state.value + torch.randn(4)", "state.value = torch.randn(4) + state.value")
    done = lab.do("accept")
    exp = dg.Experiment.restore(lab.directory / "run")
    node = exp.graph.node(done["keys"]["drawn"])
    accepted = node.accepted
    assert accepted["from"] == first["keys"]["drawn"]
    assert accepted["how"] == "computed with the code of now: bit for bit"
    assert first["keys"]["drawn"] in node.cite()
    assert (
        exp.graph.node(done["keys"]["kept"])
        .record.more["accepted"]["how"]
        .startswith("its code is as it was")
    )
    assert {node.key for node in exp.graph.nodes} == set(done["keys"].values())
    assert exp.verify().ok
    probe = textwrap.dedent(f"""
        import dagtree as dg, lab
        exp = dg.Experiment("run", lab.S)
        exp.evict([exp.graph.node(key) for key in ({done["keys"]["drawn"]!r}, {first["keys"]["drawn"]!r})])
        node = exp.graph.node({done["keys"]["drawn"]!r})
        assert node.status == "evicted"
        print(node.restore().value.tolist())
        assert exp.graph.node(node.key).record.more["accepted"]
    """)
    said = subprocess.run(
        [sys.executable, "-W", "error", "-c", probe],
        cwd=lab.directory,
        capture_output=True,
        text=True,
        check=False,
    )
    assert said.returncode == 0, said.stderr
    assert json.loads(said.stdout) == first["values"]["drawn"]
    assert "isn't what it was" not in said.stderr


def test_a_second_edit_is_accepted_from_what_was_accepted(lab: Lab) -> None:
    first = lab.do("run")
    lab.edit("state.value = state.value + torch.randn(4)", "state.value = torch.randn(4) + state.value")
    lab.do("accept")
    lab.edit("state.value = state.value + torch.randn(4)", "state.value = state.value.add(torch.randn(4))")
    done = lab.do("accept")
    assert len(done["accepted"]) == 6
    again = lab.do("run")
    assert again["computed"] == []
    assert again["values"] == first["values"]


def test_two_edits_of_which_one_is_asked_for(lab: Lab) -> None:
    """What comes from an edge that wasn't asked for is left, and said."""
    lab.do("run")
    text = LAB.replace("return value * factor", "return factor * value")
    lab.write(text.replace("state.value = state.value + 1\n", "state.value = 1 + state.value\n"))
    done = lab.do("accept", "scaled")
    keys = done["keys"]
    assert set(done["accepted"]) == {keys["scaled"]}
    assert done["left"][keys["kept"]] == "its own code changed, and it wasn't among the nodes to accept"
    assert lab.do("accept")["left"] == {}
    assert lab.do("run")["computed"] == []


def test_there_must_be_something_to_accept(tmp_path: Path) -> None:
    exp = dg.Experiment(tmp_path / "x", Number)
    root = exp.spawn_new_tree(start=1)
    node = Add(amount=1)(root)
    with pytest.raises(dg.SelectionError, match="nothing to accept"):
        exp.accept()
    with pytest.raises(dg.SelectionError, match="no older self"):
        exp.accept(node)
    exp.run(progress=False)
    with pytest.raises(dg.SelectionError, match="is there already"):
        exp.accept(node)


def test_trees_of_several_parents_are_reproduced_from_all_of_them(tmp_path: Path) -> None:
    exp = dg.Experiment(tmp_path / "x", Number)
    root = exp.spawn_new_tree(start=1)
    counted = Count(steps_wanted=3)(root)
    Sum()(Add(amount=1)(root), Multiply(factor=3)(counted.at(2)), counted)
    exp.run(progress=False)
    found = exp.reproduce(progress=False)
    assert found.ok
    assert len(found) == 6


def test_trees_at_urls_are_reproduced_and_accepted(tmp_path: Path) -> None:
    exp = dg.Experiment(f"memory://truth/{os.getpid()}-{tmp_path.name}", Weights)
    node = Noise()(exp.spawn_new_tree())
    exp.run(progress=False)
    assert exp.reproduce(node, progress=False).ok
