"""Questions to an experiment that is opened again, in a directory and at a URL, without its code."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import dagtree as dg


class State(dg.ExperimentState):
    PROPERTIES = ["dataset"]
    NONHASHED_ATTRIBUTES = ["skill"]

    def initialize_state(self, **properties: Any) -> None:
        self.skill = 0.0


class Train(dg.Recipe):
    lr: float
    seed: int

    def run(self, state: Any) -> Any:
        for at in self.steps(range(3)):
            state.skill += self.lr + self.seed / 100
            yield {"loss": 1 - state.skill, "round": at}


class Prune(dg.Recipe):
    fraction: float

    def run(self, state: Any) -> Any:
        state.skill *= 1 - self.fraction
        return state


@dg.function(cached=True)
def evaluate(state: Any) -> dict[str, float]:
    return {"accuracy": state.skill}


def define(place: str) -> dg.Experiment:
    exp = dg.Experiment(place, state_class=State)
    root = exp.spawn_new_tree(dataset="toy")
    with exp.replicate("seed", range(4)):
        for lr in (0.1, 0.2):
            trained = evaluate(Train(lr=lr)(root))
            evaluate(Prune(fraction=0.5)(trained))
            evaluate(Prune(fraction=0.5)(trained.at(1)))
    exp.run()
    return exp


@pytest.fixture(params=["directory", "memory"])
def place(request: Any, tmp_path: Path) -> str:
    return str(tmp_path / "tree") if request.param == "directory" else f"memory://{tmp_path.name}/tree"


def test_everything_is_answered_from_records(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a directory and at a URL; nothing is unpickled, no state is read."""
    import pickle

    define(place)
    nodes = dg.Experiment.restore(place).graph.nodes
    with monkeypatch.context() as patched:
        for name in ("loads", "load", "Unpickler"):
            patched.setattr(pickle, name, None)
        assert len(nodes) == 1 + 8 + 8 + 8 + 8
        assert len(nodes.where({"Train.lr": 0.1}, recipe="Prune")) == 8
        assert len(nodes.path("Train@1/Prune[fraction=0.5]")) == 8
        assert len(nodes.where(accuracy=dg.between(0.3, 0.5))) > 0
        assert len(nodes.twins(by="lr")) == 16
        table = nodes.table(over=nodes.replicates)
        assert sorted(table["n"]) == [1] + [4] * 8
        assert "host" in table
        assert "versions.python" in table
        pruned = nodes.path("Train[lr=0.2]/Prune").difference(nodes.path("Train[lr=0.2]"), "accuracy")
        assert pruned.is_paired
        assert pruned.n == 4
        early = nodes.path("Train[lr=0.2]/Prune").difference(nodes.path("Train@1[lr=0.2]/Prune"), "accuracy")
        assert early.is_paired, "both come from one training"
        assert nodes.where(host=nodes[0].environment["host"]) == nodes


def test_a_process_without_the_code_answers_too(tmp_path: Path) -> None:
    define(str(tmp_path / "tree"))
    script = """
import sys
import dagtree as dg
nodes = dg.Experiment.restore(sys.argv[1]).graph.nodes
print(len(nodes.path("Train/Prune[fraction=0.5]")), len(nodes.branches()), nodes.replicates)
heavy = {"torch", "pandas", "matplotlib", "scipy", "numpy", "distributed", "networkx"}
print(sorted(heavy & set(sys.modules)))
"""
    command = [sys.executable, "-c", script, str(tmp_path / "tree")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.stdout.splitlines() == ["8 9 ('seed',)", "[]"], done.stderr


def test_planned_and_failed_nodes_are_found(tmp_path: Path) -> None:
    """Before a run all nodes are planned, and their properties are known."""
    exp = dg.Experiment(tmp_path / "tree", state_class=State)
    root = exp.spawn_new_tree(dataset="toy")
    with exp.replicate("seed", range(3)):
        Train(lr=0.5)(root)
    nodes = exp.graph.nodes
    assert len(nodes.where(lr=0.5, status="planned")) == 3
    assert [len(branch) for branch in nodes.branches()] == [1, 3]
    assert "n=3" in exp.graph.to_text(by="seed")
    assert list(nodes.table(over="seed")["n"]) == [1, 3]
