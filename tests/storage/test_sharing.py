"""A node writes only the buffers that none of the nodes above it has, and reads as if it had them all."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open

import dagtree as dg
from dagtree.errors import DamagedError
from dagtree.storage.local import LocalStore
from dagtree.storage.payload import Payload
from dagtree.storage.record import Record
from dagtree.testing import make_record

ROWS, COLUMNS = 100, 200  # 80 kB of float32: large enough for a file of tensors


def layers(*fills: float) -> dict[str, Any]:
    return {f"layer{number}": torch.full((ROWS, COLUMNS), float(fill)) for number, fill in enumerate(fills)}


def save(store: LocalStore, number: int, content: dict[str, Any], *parents: int, **facts: Any) -> Record:
    record = make_record(number, parents=[f"{parent:032x}" for parent in parents], **facts)
    return store.write(record, Payload.dump(content))


def load(store: LocalStore, number: int) -> dict[str, Any]:
    return store.read(f"{number:032x}").load()


def tensor_files(directory: Path) -> dict[str, int]:
    """By node, how many tensors its own file holds."""
    found = {}
    for path in directory.rglob("*.safetensors"):
        with safe_open(path, "np") as file:
            found[str(int(path.stem.partition("-")[0], 16))] = len(list(file.keys()))
    return found


def fills(content: dict[str, Any]) -> list[float]:
    return [float(tensor[0, 0]) for tensor in content.values()]


@pytest.fixture(params=["the same process", "another process"])
def again(request: Any) -> Any:
    """The store as the process has it that writes the child."""
    return lambda store: store if request.param == "the same process" else LocalStore(store.location)


def test_a_child_writes_only_what_changed(tmp_path: Path, again: Any) -> None:
    store = LocalStore(tmp_path)
    save(store, 1, layers(1, 2, 3, 4))
    store = again(store)
    record = save(store, 2, layers(1, 2, 3, 9), 1)
    assert tensor_files(tmp_path) == {"1": 4, "2": 1}
    assert len(record.more["payload"]["files"]) == 3
    for each in (store, LocalStore(tmp_path)):
        assert fills(load(each, 2)) == [1, 2, 3, 9]
        assert fills(load(each, 1)) == [1, 2, 3, 4]


def test_what_a_grandparent_has_is_not_written_again(tmp_path: Path, again: Any) -> None:
    store = LocalStore(tmp_path)
    save(store, 1, layers(1, 2))
    save(store, 2, layers(8, 9), 1)
    store = again(store)
    save(store, 3, layers(1, 9), 2)
    assert tensor_files(tmp_path) == {"1": 2, "2": 2}
    assert fills(load(LocalStore(tmp_path), 3)) == [1, 9]


def test_what_the_second_parent_has_is_not_written_again(tmp_path: Path, again: Any) -> None:
    store = LocalStore(tmp_path)
    save(store, 1, layers(1, 2))
    save(store, 2, layers(3, 4))
    store = again(store)
    save(store, 3, layers(1, 4), 1, 2)
    assert tensor_files(tmp_path) == {"1": 2, "2": 2}
    assert fills(load(LocalStore(tmp_path), 3)) == [1, 4]


def test_small_buffers_are_shared_too(tmp_path: Path, again: Any) -> None:
    store = LocalStore(tmp_path)
    save(store, 1, {"bias": torch.arange(8_000.0), "scale": np.arange(3_000.0)})
    store = again(store)
    before = sum(path.stat().st_size for path in (tmp_path / "packs").iterdir())
    save(store, 2, {"bias": torch.arange(8_000.0), "scale": np.arange(3_000.0)}, 1)
    assert sum(path.stat().st_size for path in (tmp_path / "packs").iterdir()) - before < 2_000
    found = load(LocalStore(tmp_path), 2)
    assert torch.equal(found["bias"], torch.arange(8_000.0))
    assert np.array_equal(found["scale"], np.arange(3_000.0))


def test_two_buffers_that_hold_the_same_lie_once_and_stay_two(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    save(store, 1, layers(5, 5, 6))
    assert tensor_files(tmp_path) == {"1": 2}
    found = load(LocalStore(tmp_path), 1)
    found["layer0"][0, 0] = 7
    assert fills(found) == [7, 5, 6]


def test_equal_bytes_of_another_type_or_shape_are_another_buffer(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    zeros = {"a": torch.zeros(ROWS, COLUMNS), "b": torch.zeros(ROWS, COLUMNS, dtype=torch.int32),
             "c": torch.zeros(COLUMNS, ROWS)}  # fmt: skip
    save(store, 1, zeros)
    assert tensor_files(tmp_path) == {"1": 3}
    found = load(LocalStore(tmp_path), 1)
    assert {name: (tensor.dtype, tensor.shape) for name, tensor in found.items()} == {
        name: (tensor.dtype, tensor.shape) for name, tensor in zeros.items()
    }


def test_tied_and_strided_tensors_come_back_over_shared_buffers(tmp_path: Path) -> None:
    weight = torch.arange(float(ROWS * COLUMNS)).reshape(ROWS, COLUMNS)
    store = LocalStore(tmp_path)
    save(store, 1, {"weight": weight.clone()})
    save(store, 2, {"weight": weight, "tied": weight, "turned": weight.T, "row": weight[3]}, 1)
    assert tensor_files(tmp_path) == {"1": 1}
    found = load(LocalStore(tmp_path), 2)
    found["weight"][3, 0] = -1
    assert found["tied"][3, 0] == found["turned"][0, 3] == found["row"][0] == -1


def test_a_file_that_is_gone_is_not_counted_on(tmp_path: Path, again: Any) -> None:
    store = LocalStore(tmp_path)
    save(store, 1, layers(1, 2))
    for path in tmp_path.rglob("*.safetensors"):
        path.unlink()
    store = again(store)
    save(store, 2, layers(1, 2), 1)
    assert fills(load(LocalStore(tmp_path), 2)) == [1, 2]


def test_damage_is_found_by_whoever_counts_on_the_bytes_and_mended_where_it_lies(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    save(store, 1, layers(1, 2))
    save(store, 2, layers(1, 9), 1)
    (path,) = tmp_path.rglob(f"{1:032x}.safetensors")
    content = bytearray(path.read_bytes())
    content[-ROWS * COLUMNS * 4 - 8] ^= 1  # in layer0, which both have
    path.write_bytes(content)
    for number in (1, 2):
        with pytest.raises(DamagedError):
            load(LocalStore(tmp_path), number)
    fresh = LocalStore(tmp_path)
    fresh.mark_damaged(f"{1:032x}", "a bit was flipped")
    save(fresh, 1, layers(1, 2), ended=99.0)
    assert fills(load(LocalStore(tmp_path), 1)) == [1, 2]
    assert fills(load(LocalStore(tmp_path), 2)) == [1, 9]


def test_a_damaged_node_that_is_made_otherwise_leaves_the_bytes_of_others_alone(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    save(store, 1, layers(1, 2, 3))
    save(store, 2, layers(1, 9, 3), 1)
    store.mark_damaged(f"{1:032x}", "its skeleton is damaged")
    save(store, 1, layers(4, 5), ended=99.0)  # a recipe that isn't deterministic
    assert fills(load(LocalStore(tmp_path), 1)) == [4, 5]
    assert fills(load(LocalStore(tmp_path), 2)) == [1, 9, 3]


def test_a_record_that_says_nonsense_of_its_payload_is_not_learned_from(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    save(store, 1, layers(1, 2))
    (lines,) = (tmp_path / "records").iterdir()
    line = json.loads(lines.read_text())
    line["more"]["payload"]["files"] = ["../../outside.pack", "/etc/passwd"]
    from dagtree.storage.notes import encode_json, seal

    del line["check"]
    lines.write_bytes(seal("," + encode_json(line)[1:]) + b"\n")
    again = LocalStore(tmp_path)
    save(again, 2, layers(1, 2), 1)
    assert fills(load(LocalStore(tmp_path), 2)) == [1, 2]


class Model(dg.ExperimentState):
    NONHASHED_ATTRIBUTES = ["layers"]

    def initialize_state(self, **properties: Any) -> None:
        torch.manual_seed(0)
        self.layers = [torch.randn(ROWS, COLUMNS) for _ in range(20)]


class Change(dg.Recipe):
    which: int

    def run(self, state: Any) -> Any:
        state.layers[self.which] += 1
        return state


@pytest.mark.parametrize("scheduler", ["single-threaded", "threads", "processes"])
def test_a_tree_of_models_costs_what_changed(tmp_path: Path, scheduler: str) -> None:
    exp = dg.Experiment(tmp_path, Model)
    node = exp.spawn_new_tree()
    for which in range(6):
        node = Change(which=which)(node)
    exp.run(scheduler)
    distinct = (20 + 6) * ROWS * COLUMNS * 4
    written = sum(path.stat().st_size for path in tmp_path.rglob("*.safetensors"))
    assert distinct <= written <= 1.02 * distinct
    torch.manual_seed(0)
    expected = [torch.randn(ROWS, COLUMNS) + (number < 6) for number in range(20)]
    found = dg.Experiment.restore(tmp_path, Model).graph.node(node.key).restore().layers
    assert all(map(torch.equal, found, expected))


def rot(directory: Path, number: int) -> None:
    """Flips a bit in the last tensor of a node's own file."""
    (path,) = directory.rglob(f"{number:032x}.safetensors")
    content = bytearray(path.read_bytes())
    content[-8] ^= 1
    path.write_bytes(content)


def test_bytes_that_have_rotted_are_not_counted_on_by_another_node(tmp_path: Path) -> None:
    """Else a node that holds what a rotten ancestor held could never be kept again."""
    save(LocalStore(tmp_path), 1, layers(1, 2))
    rot(tmp_path, 1)
    fresh = LocalStore(tmp_path)
    save(fresh, 2, layers(1, 2), 1)
    assert fills(load(LocalStore(tmp_path), 2)) == [1, 2]
    assert tensor_files(tmp_path) == {"1": 2, "2": 1}


def test_two_writers_that_compute_a_node_to_other_bits_spoil_nothing(tmp_path: Path) -> None:
    one, two = LocalStore(tmp_path), LocalStore(tmp_path)
    one.keys()
    two.keys()
    save(one, 1, layers(1, 2))
    save(one, 2, layers(1, 9), 1)
    save(two, 1, layers(3, 4), ended=99.0)
    for store in (one, two, LocalStore(tmp_path)):
        store.refresh()
        assert fills(load(store, 2)) == [1, 9]
    assert fills(load(LocalStore(tmp_path), 1)) in ([1, 2], [3, 4])
    assert len(list(tmp_path.rglob("*.safetensors"))) == 3


def test_what_a_slow_node_counts_on_is_flushed_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(LocalStore(tmp_path), 1, layers(1, 2), more={"seconds": 0.1})
    flushed: list[str] = []
    fsync = os.fsync

    def counted(fd: int) -> None:
        flushed.append(os.readlink(f"/proc/self/fd/{fd}"))
        fsync(fd)

    if not Path("/proc/self/fd").exists():
        pytest.skip("this system doesn't say which file a descriptor is")
    monkeypatch.setattr(os, "fsync", counted)
    record = save(LocalStore(tmp_path), 2, layers(1, 2), 1, more={"seconds": 5.0})
    assert {str(tmp_path / name) for name in record.more["payload"]["files"]} <= set(flushed)


def test_a_fifo_in_place_of_tensors_is_not_waited_for(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    save(store, 1, layers(1, 2))
    (path,) = tmp_path.rglob("*.safetensors")
    path.unlink()
    os.mkfifo(path)
    again = LocalStore(tmp_path)
    save(again, 2, layers(1, 2), 1)
    save(again, 1, layers(1, 2), ended=99.0)
    assert fills(load(LocalStore(tmp_path), 1)) == fills(load(LocalStore(tmp_path), 2)) == [1, 2]
