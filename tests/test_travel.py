"""Copies of an experiment, or of some of its nodes, at other places; and a node's tensors as one file."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest

import dagtree as dg
from dagtree.errors import DagtreeError, NotAnExperimentError, NotComputedError, RunError, StorageError
from dagtree.storage.bucket import Bucket
from dagtree.storage.local import LocalStore
from dagtree.storage.presence import Presence
from study import Add, Count, Fail, Multiply, Number, value
from warm import wait_until

_numbers = itertools.count()


@pytest.fixture
def url() -> str:
    return f"memory://travel/{os.getpid()}-{next(_numbers)}"


class Say(dg.Recipe):
    def run(self, state: Number) -> Number:
        print("said")
        return state


def grow(place: str | Path) -> dg.Experiment:
    exp = dg.Experiment(place, Number)
    root = exp.spawn_new_tree(start=1)
    with exp.tag("left"):
        leaf = Say()(Add(2)(root))
    with exp.tag("right"):
        Multiply(factor=3)(Count(4)(root).at(2))
    value(leaf)
    with pytest.raises(RunError):
        Fail()(root)
        exp.run()
    return exp


def known(exp: dg.Experiment) -> dict[str, Any]:
    """All that a graph tells of its nodes."""
    return {
        node.key: (
            node.status,
            node.tags,
            node.metrics,
            node.results,
            node.properties,
            node.output,
            node.path,
        )
        for node in dg.Experiment.restore(exp.location).graph.nodes
    }


def test_a_copy_holds_all_that_the_experiment_holds(tmp_path: Path, url: str, s3: str) -> None:
    exp = grow(tmp_path / "first")
    bucket = f"{s3}/travel/{os.getpid()}-{next(_numbers)}"
    before = known(exp)
    assert str(exp.copy_to(url)).startswith("sent 7 nodes (")
    assert str(dg.Experiment.copy_from(url, bucket)).startswith("sent 7 nodes (")
    report = dg.Experiment.copy_from(bucket, tmp_path / "last")
    assert (report.sent, report.there, report.problems) == (7, 0, ())
    for place in (url, bucket, str(tmp_path / "last")):
        copy = dg.Experiment(place)
        assert known(copy) == before
        assert copy.verify() == ()
        node = dg.Experiment.restore(place, Number).graph.nodes.filter("left")[-1]
        assert (node.restore().value, node.environment["python"]) == (3, sys.version.split()[0])
        assert node.sources[0]["text"]
    again = dg.Experiment(tmp_path / "last", Number)
    Add(2)(again.spawn_new_tree(start=1))
    assert again.run().computed == 0


def test_only_what_is_missing_is_sent(tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    exp = dg.Experiment(tmp_path / "run", Number)
    root = exp.spawn_new_tree(start=1)
    exp.run()
    exp.copy_to(url)
    with exp.tag("late"):
        Add(1)(root)
    exp.run()
    read, real = [], LocalStore.read
    monkeypatch.setattr(LocalStore, "read", lambda store, key: read.append(key) or real(store, key))
    report = exp.copy_to(url)
    assert (report.sent, report.there, len(read)) == (1, 1, 1)
    report = exp.copy_to(url)
    assert str(report).startswith(f"sent 0 nodes (0 B) to {url} in ")
    assert str(report).endswith("; 2 were there already")


def test_what_was_noted_later_is_sent_too(tmp_path: Path, url: str) -> None:
    exp = dg.Experiment(tmp_path / "run", Number)
    root = exp.spawn_new_tree(start=1)
    exp.run()
    exp.copy_to(url)
    value(root)
    exp.run()
    exp.copy_to(url)
    assert dg.Experiment.restore(url).graph.root.results["value"] == {"value": 1}


def test_nodes_are_sent_with_all_they_come_from(tmp_path: Path, url: str) -> None:
    exp = grow(tmp_path / "run")
    report = exp.graph.nodes.filter("right").copy_to(url)
    assert report.sent == 4
    copy = dg.Experiment.restore(url).graph
    assert [node.path for node in copy.nodes] == ["root", "Count", "Count@2", "Count@2/Multiply"]
    with pytest.raises(DagtreeError, match="nothing to copy"):
        copy.nodes.filter("nothing").__class__().copy_to(url)


class Weights(dg.ExperimentState):
    PROPERTIES = ["size"]
    NONHASHED_ATTRIBUTES = ["first", "second"]

    def initialize_state(self, **properties: Any) -> None:
        self.first, self.second = np.zeros(self.size), np.ones(self.size)


class Change(dg.Recipe):
    by: float

    def run(self, state: Weights) -> Weights:
        state.first[0] += self.by
        return state


def chain(place: str | Path, length: int) -> dg.Experiment:
    exp = dg.Experiment(place, Weights)
    state = exp.spawn_new_tree(size=20_000)
    for number in range(length):
        state = Change(by=number)(state)
    return exp


def test_a_copy_shares_what_the_nodes_share(tmp_path: Path, url: str) -> None:
    exp = chain(tmp_path / "run", 4)
    exp.run()
    report = exp.copy_to(url)
    distinct = 160_000 * 5 + 1_000  # the first step adds 0, and changes nothing
    assert report.size_bytes < distinct + 5_000
    back = dg.Experiment.copy_from(url, tmp_path / "back")
    assert back.size_bytes < distinct + 5_000


def test_a_copy_that_was_interrupted_goes_on_where_it_stopped(
    tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    exp = chain(tmp_path / "run", 5)
    exp.run()
    real, left = Bucket.write, 5

    def write(bucket: Bucket, name: str, chunks: Any) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise StorageError("could not write: no connection")
        real(bucket, name, chunks)

    monkeypatch.setattr(Bucket, "write", write)
    with pytest.raises(StorageError, match="no connection"):
        exp.copy_to(url)
    monkeypatch.setattr(Bucket, "write", real)
    assert dg.Experiment(url).verify() == ()
    report = exp.copy_to(url)
    assert report.sent + report.there == 6
    assert dg.Experiment(url).verify() == ()
    assert len(dg.Experiment.restore(url).graph.nodes) == 6


def test_evicted_nodes_are_sent_as_what_is_left_of_them(tmp_path: Path, url: str) -> None:
    exp = chain(tmp_path / "run", 3)
    exp.run()
    middle = exp.graph.nodes[1:3]
    exp.evict(middle)
    report = exp.graph.nodes[3:].copy_to(url)
    assert (report.sent, report.problems) == (4, ())
    assert exp.copy_to(url).there == 4
    dg.Experiment.copy_from(url, tmp_path / "back")
    for place in (url, tmp_path / "back"):
        graph = dg.Experiment.restore(place).graph
        assert [node.status for node in graph.nodes] == ["done", "evicted", "evicted", "done"]
        assert graph.nodes[-1].path == "Change/Change/Change"
        again = chain(place, 3)
        assert again.run().computed == 0
        np.testing.assert_array_equal(again.get(again.leaves[0].parents[0]).first[:2], [1, 0])
        assert again.verify() == ()


def test_damaged_bytes_are_named_and_not_sent(tmp_path: Path, url: str) -> None:
    exp = chain(tmp_path / "run", 3)
    exp.run()
    leaf = exp.leaves[0]
    path = exp.directory / "tensors" / leaf.key[:2] / f"{leaf.key}.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    report = dg.Experiment.restore(exp.directory).copy_to(url)
    assert report.sent == 3
    assert len(report.problems) == 1
    assert leaf.key in report.problems[0]
    assert "1 could not be copied:\n  node " in str(report)
    assert len(dg.Experiment.restore(url).graph.nodes) == 3


def test_damaged_bytes_afar_are_named_and_not_fetched(tmp_path: Path, url: str) -> None:
    exp = chain(url, 3)
    exp.run()
    files: Any = fsspec.filesystem("memory")
    leaf = exp.leaves[0]
    for path in files.find(files._strip_protocol(f"{url}/tensors/{leaf.key[:2]}")):
        if leaf.key in path:
            files.pipe_file(path, b"?" * files.size(path))
    report = dg.Experiment.copy_from(url, tmp_path / "copy")
    assert (report.sent, len(report.problems)) == (3, 1)


def test_progress_is_shown(tmp_path: Path, url: str, capsys: pytest.CaptureFixture[str]) -> None:
    exp = grow(tmp_path / "run")
    capsys.readouterr()
    exp.copy_to(url, progress=True)
    assert "7/7" in capsys.readouterr().err
    exp.copy_to(url, progress=False)
    assert capsys.readouterr().err == ""


def test_a_copy_to_itself_or_from_nothing_is_refused(
    tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    exp = grow(tmp_path / "run")
    for place in (tmp_path / "run", (tmp_path / "run").as_uri(), f"{tmp_path}/other/../run"):
        with pytest.raises(StorageError, match="can't be copied to itself: give another place"):
            exp.copy_to(place)
    with pytest.raises(NotAnExperimentError):
        dg.Experiment.copy_from(url, tmp_path / "copy")
    assert not (tmp_path / "copy").exists()
    exp.copy_to(url)
    monkeypatch.chdir(tmp_path)
    dg.Experiment.copy_from(url)
    assert len(dg.Experiment.restore(tmp_path / url.rpartition("/")[2]).graph.nodes) == 7


# One file of tensors


class Model(dg.ExperimentState):
    NONHASHED_ATTRIBUTES = ["model", "array", "raw"]

    def initialize_state(self, **properties: Any) -> None:
        import torch

        torch.manual_seed(0)
        self.model = torch.nn.Sequential(torch.nn.Linear(200, 200), torch.nn.Linear(200, 200))
        self.model[1].weight = self.model[0].weight
        self.model.half = torch.nn.Linear(3, 3).to(torch.bfloat16)
        self.array = np.arange(6).reshape(2, 3)
        self.raw = bytearray(b"no tensor")


@pytest.mark.parametrize("place", ["directory", "url"])
def test_a_node_is_one_ordinary_file(tmp_path: Path, url: str, place: str) -> None:
    torch = pytest.importorskip("torch")
    from safetensors.torch import load_file

    where = tmp_path / "run" if place == "directory" else url
    exp = dg.Experiment(where, Model)
    exp.spawn_new_tree()
    exp.run()
    state = exp.graph.root.restore()
    path = dg.Experiment.restore(where).graph.root.export(tmp_path / "model.safetensors")
    assert path == tmp_path / "model.safetensors"
    loaded = load_file(path)
    assert set(loaded) == {
        "model.0.weight", "model.0.bias", "model.1.bias", "model.half.weight", "model.half.bias", "array",
    }  # fmt: skip
    for name, tensor in state.model.state_dict().items():
        if name != "model.1.weight" and f"model.{name}" in loaded:
            assert torch.equal(loaded[f"model.{name}"], tensor)
    assert torch.equal(loaded["array"], torch.from_numpy(state.array))


def test_a_file_that_is_there_is_replaced_only_when_asked(tmp_path: Path) -> None:
    exp = chain(tmp_path / "run", 1)
    exp.run()
    path = tmp_path / "model.safetensors"
    path.write_text("mine")
    with pytest.raises(StorageError) as caught:
        exp.graph.root.export(path)
    assert str(caught.value).startswith(f"{path} exists: give overwrite=True to put node ")
    assert path.read_text() == "mine"
    exp.graph.root.export(path, overwrite=True)
    from safetensors.numpy import load_file

    np.testing.assert_array_equal(load_file(path)["second"], np.ones(20_000))
    assert {file.name for file in tmp_path.iterdir()} == {"run", "model.safetensors"}


def test_what_can_not_be_exported_says_why(tmp_path: Path) -> None:
    exp = dg.Experiment(tmp_path / "run", Number)
    root = exp.spawn_new_tree(start=1)
    with pytest.raises(NotComputedError):
        exp.graph.root.export(tmp_path / "x.safetensors")
    root.get()
    with pytest.raises(StorageError, match="has no tensors, so there is nothing to write"):
        exp.graph.root.export(tmp_path / "x.safetensors")
    weights = chain(tmp_path / "weights", 0)
    weights.run()
    with pytest.raises(StorageError, match="could not export node"):
        weights.graph.root.export(tmp_path / "nowhere" / "x.safetensors")
    assert not list(tmp_path.glob("*.safetensors"))


def test_exporting_needs_neither_torch_nor_the_states_code(tmp_path: Path) -> None:
    exp = chain(tmp_path / "run", 1)
    exp.run()
    code = (
        "import sys\n"
        "sys.modules['torch'] = sys.modules['numpy'] = None\n"
        "import dagtree as dg\n"
        "dg.Experiment.restore(sys.argv[1]).graph.nodes[-1].export(sys.argv[2])\n"
    )
    subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "run"), str(tmp_path / "x.safetensors")], check=True
    )
    from safetensors.numpy import load_file

    np.testing.assert_array_equal(load_file(tmp_path / "x.safetensors")["first"], np.zeros(20_000))


def test_a_copy_waits_while_space_is_freed_at_its_place(tmp_path: Path) -> None:
    """Else what it counts on there might go."""
    exp = grow(tmp_path / "first")
    exp.copy_to(tmp_path / "second")
    Add(7)(exp.graph.nodes.filter("left")[0])
    with pytest.raises(RunError):  # for the one that fails
        exp.run()
    sent: list[Any] = []
    with Presence(tmp_path / "second", "free") as freeing:
        thread = threading.Thread(target=lambda: sent.append(exp.copy_to(tmp_path / "second")))
        thread.start()
        wait_until(lambda: bool(freeing.others()))
        assert not sent
    thread.join(30)
    assert sent[0].sent == 1
    assert not list((tmp_path / "second" / "claims").iterdir())
