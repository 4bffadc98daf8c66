"""Restoring maps: nothing is read before it is touched, and nothing that is written reaches the file."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import dagtree as dg
from dagtree.errors import DamagedError, StorageError
from dagtree.storage.local import LocalStore
from dagtree.storage.mapping import Check
from dagtree.storage.payload import Payload
from dagtree.testing import make_record

KEY = make_record().key


def saved(directory: Path, **content: Any) -> Path:
    """Where the tensors of a state lie that holds this."""
    LocalStore(directory).write(make_record(), Payload.dump(content))
    (path,) = directory.rglob("*.safetensors")
    return path


def large() -> dict[str, Any]:
    return {"weight": torch.arange(40_000.0).reshape(200, 200), "table": np.arange(30_000)}


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-5] ^= 4
    path.write_bytes(content)


def test_what_is_written_to_a_restored_state_never_reaches_the_file(tmp_path: Path) -> None:
    path = saved(tmp_path, **large())
    before = path.read_bytes()
    store = LocalStore(tmp_path)
    first = store.read(KEY).load(copy=False)
    first["weight"] += 1
    first["table"][:] = 0
    assert path.read_bytes() == before
    second = store.read(KEY).load(copy=False)
    assert torch.equal(second["weight"], large()["weight"])
    assert np.array_equal(second["table"], large()["table"])
    assert float(first["weight"][0, 0]) == 1.0


def test_a_restored_state_survives_the_removal_of_its_node(tmp_path: Path) -> None:
    saved(tmp_path / "x", **large())
    state = LocalStore(tmp_path / "x").read(KEY, check="never").load(copy=False)
    shutil.rmtree(tmp_path / "x")
    assert torch.equal(state["weight"], large()["weight"])
    assert np.array_equal(state["table"], large()["table"])


def test_a_restored_state_takes_no_memory_before_it_is_touched(tmp_path: Path) -> None:
    """200 MB are restored in a process that may have 120 MB more than it began with."""
    saved(tmp_path, weight=torch.ones(50_000_000))
    script = f"""
import torch
from dagtree.storage.local import LocalStore

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * {resource.getpagesize()}

store = LocalStore({str(tmp_path)!r})
store.records()
before = resident()
state = store.read({KEY!r}, check="never").load(copy=False)
assert state["weight"][-1] == 1
print(resident() - before)
"""
    if not Path("/proc/self/statm").exists():
        pytest.skip("this system doesn't say how much memory a process has")
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    assert int(ran.stdout) < 20e6


@pytest.mark.parametrize(
    ("check", "raises"), [("first", [True, True]), ("always", [True, True]), ("never", [False] * 2)]
)
def test_damage_is_found_when_the_bytes_are_checked(tmp_path: Path, check: Check, raises: list[bool]) -> None:
    flip(saved(tmp_path, **large()))
    store = LocalStore(tmp_path, check=check)
    for expected in raises:
        if expected:
            with pytest.raises(DamagedError, match="is not what was written"):
                store.read(KEY)
        else:
            store.read(KEY)


def test_bytes_are_checked_again_once_their_file_was_changed(tmp_path: Path) -> None:
    path = saved(tmp_path, **large())
    store = LocalStore(tmp_path)
    store.read(KEY)
    flip(path)
    with pytest.raises(DamagedError):
        store.read(KEY)


def test_what_was_checked_once_is_checked_again_only_when_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dagtree.storage.buffer import Buffer

    saved(tmp_path, **large())
    hashed: list[str] = []
    digest_of = Buffer.digest_of

    def counted(self: Buffer, content: memoryview) -> str:
        hashed.append(self.name)
        return digest_of(self, content)

    monkeypatch.setattr(Buffer, "digest_of", counted)
    store = LocalStore(tmp_path)
    for check, times in (("first", 2), ("first", 0), (None, 0), ("always", 2), ("never", 0)):
        hashed.clear()
        store.read(KEY, check=check)
        assert len(hashed) == times


def test_a_file_that_was_cut_off_is_damage_not_a_crash(tmp_path: Path) -> None:
    path = saved(tmp_path, **large())
    store = LocalStore(tmp_path)
    store.records()
    os.truncate(path, path.stat().st_size // 2)
    with pytest.raises(DamagedError):
        store.read(KEY)


def test_a_fifo_in_place_of_the_tensors_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    path = saved(tmp_path, **large())
    store = LocalStore(tmp_path)
    store.records()
    path.unlink()
    os.mkfifo(path)
    with pytest.raises((DamagedError, StorageError)):
        store.read(KEY)


def test_an_unknown_way_to_check_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="'first', 'always' or 'never'"):
        LocalStore(tmp_path, check="sometimes")  # type: ignore[arg-type]


class Model(dg.ExperimentState):
    NONHASHED_ATTRIBUTES = ["weight"]

    def initialize_state(self, **properties: Any) -> None:
        self.weight = torch.zeros(30_000)


class Resize(dg.Recipe):
    """What torch allows only to memory of its own."""

    def run(self, state: Any) -> Any:
        state.weight.resize_(60_000).zero_()
        return state


def test_a_recipe_may_resize_what_was_restored(tmp_path: Path) -> None:
    exp = dg.Experiment(tmp_path, Model)
    exp.spawn_new_tree()
    exp.run()
    again = dg.Experiment(tmp_path, Model)
    resized = Resize()(again.spawn_new_tree())
    again.run()
    assert resized.get().weight.shape == (60_000,)
