"""node.tensors(): names → tensors, lazily, without unpickling, also where torch isn't installed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import dagtree as dg
from dagtree.storage.payload import Payload


class Network(dg.ExperimentState):
    NONHASHED_ATTRIBUTES = ["model", "table", "half", "few"]

    def initialize_state(self, **properties: Any) -> None:
        torch.manual_seed(0)
        self.model = torch.nn.Sequential(torch.nn.Linear(300, 100), torch.nn.Linear(100, 2))
        self.table = np.arange(20_000, dtype=np.int16).reshape(100, 200)
        self.half = torch.ones(40_000, dtype=torch.bfloat16)
        self.few = torch.zeros(0, 3)


@pytest.fixture
def node(tmp_path: Path) -> Any:
    exp = dg.Experiment(tmp_path, Network)
    exp.spawn_new_tree()
    exp.run()
    return dg.Experiment.restore(tmp_path).graph.root


def test_tensors_have_the_names_of_parameters_and_their_values(node: Any) -> None:
    tensors, state = node.tensors(), node.restore()
    assert {"model.0.weight", "model.0.bias", "model.1.weight", "model.1.bias", "table", "half"} <= set(
        tensors
    )
    assert torch.equal(tensors["model.0.weight"], state.model[0].weight)
    assert torch.equal(tensors["model.1.bias"], state.model[1].bias)
    assert torch.equal(tensors["half"], state.half)
    assert isinstance(tensors["table"], np.ndarray)
    assert np.array_equal(tensors["table"], state.table)
    assert "model.0.weight: F32 [100, 300]" in repr(tensors)
    with pytest.raises(KeyError):
        tensors["model.7.weight"]


def test_writing_to_a_tensor_changes_no_file(node: Any) -> None:
    node.tensors()["model.0.weight"].zero_()
    assert node.tensors()["model.0.weight"].abs().sum() > 0


def test_nothing_is_unpickled(node: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def load(*args: object, **options: object) -> None:
        raise AssertionError("unpickled")

    monkeypatch.setattr(Payload, "load", load)
    assert node.tensors()["model.0.weight"].shape == (100, 300)


@pytest.mark.parametrize(
    "hidden",
    [
        "sys.modules['torch'] = None  # as where it isn't installed",
        "sys.path.insert(0, sys.argv[1])  # where it is, and can't be imported",
    ],
    ids=["absent", "broken"],
)
def test_without_torch_tensors_are_arrays(node: Any, tmp_path: Path, hidden: str) -> None:
    (tmp_path / "torch.py").write_text("raise OSError('libcudart.so.13: cannot open shared object file')")
    script = f"""
import sys
{hidden}
import dagtree as dg
tensors = dg.Experiment.restore({str(tmp_path)!r}).graph.root.tensors()
weight = tensors["model.0.weight"]
print(type(weight).__name__, weight.dtype, weight.shape, tensors["half"].dtype, tensors["half"][0])
assert sys.modules.get("torch") is None
"""
    ran = subprocess.run([sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.strip() == "ndarray float32 (100, 300) uint16 16256"


def test_a_node_without_a_state_says_so(tmp_path: Path) -> None:
    exp = dg.Experiment(tmp_path, Network)
    exp.spawn_new_tree()
    with pytest.raises(dg.NotComputedError):
        exp.graph.root.tensors()
