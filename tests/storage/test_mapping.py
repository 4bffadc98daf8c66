"""Restoring maps: nothing is read before it is touched, and nothing that is written reaches the file."""

from __future__ import annotations

import copy
import os
import pickle
import resource
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import dagtree as dg
from dagtree.errors import DamagedError, StorageError
from dagtree.storage import mapping
from dagtree.storage.buffer import Buffer
from dagtree.storage.local import LocalStore
from dagtree.storage.mapping import Check, can_map
from dagtree.storage.payload import Payload
from dagtree.storage.tensors import Tensors
from dagtree.testing import make_record

KEY = make_record().key


@pytest.fixture(autouse=True)
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the files had been written a while ago."""
    monkeypatch.setattr(mapping, "_FRESH_NS", -1)


def saved(directory: Path, **content: Any) -> Path:
    """Where the tensors of a state lie that holds this."""
    LocalStore(directory).write(make_record(), Payload.dump(content))
    (path,) = directory.rglob("*.safetensors")
    return path


def large() -> dict[str, Any]:
    return {"weight": torch.arange(40_000.0).reshape(200, 200), "table": np.arange(30_000)}


def restored(directory: Path, check: Check = "first") -> dict[str, Any]:
    return LocalStore(directory, check=check).restore(KEY).load(copy=False)


def is_mapped(tensor: torch.Tensor) -> bool:
    return mapping.is_mapped(tensor.untyped_storage().data_ptr())


def flip(path: Path) -> None:
    """Damages the last bytes in place, as a failing disk does."""
    with path.open("r+b") as file:
        file.seek(-5, os.SEEK_END)
        (byte,) = file.read(1)
        file.seek(-5, os.SEEK_END)
        file.write(bytes([byte ^ 4]))


def test_large_tensors_and_arrays_are_mapped_and_small_ones_are_read(tmp_path: Path) -> None:
    saved(tmp_path, **large(), small=torch.ones(10))
    state = restored(tmp_path)
    assert is_mapped(state["weight"])
    assert mapping.is_mapped(state["table"].__array_interface__["data"][0])
    assert not is_mapped(state["small"])
    assert torch.equal(state["weight"], large()["weight"])
    assert np.array_equal(state["table"], large()["table"])


def test_what_is_written_to_a_restored_state_never_reaches_the_file(tmp_path: Path) -> None:
    path = saved(tmp_path, **large())
    before = path.read_bytes()
    store = LocalStore(tmp_path)
    first, second = (store.restore(KEY).load(copy=False) for _ in range(2))
    first["weight"] += 1
    first["table"][:] = 0
    assert path.read_bytes() == before
    assert torch.equal(second["weight"], large()["weight"])
    assert np.array_equal(second["table"], large()["table"])
    assert float(first["weight"][0, 0]) == 1.0


def test_two_tensors_that_lie_in_one_place_are_two_when_restored(tmp_path: Path) -> None:
    saved(tmp_path, a=torch.ones(40_000), b=torch.ones(40_000))
    state = restored(tmp_path)
    state["a"] += 1
    assert is_mapped(state["b"])
    assert torch.equal(state["b"], torch.ones(40_000))


def test_a_restored_state_survives_the_removal_of_its_node(tmp_path: Path) -> None:
    saved(tmp_path / "x", **large())
    states = [restored(tmp_path / "x", check) for check in ("first", "never")]
    tensors = LocalStore(tmp_path / "x").restore(KEY)
    shutil.rmtree(tmp_path / "x")
    for state in (*states, tensors.load(copy=False)):
        assert torch.equal(state["weight"], large()["weight"])
        assert np.array_equal(state["table"], large()["table"])


def test_a_restored_state_keeps_its_values_when_its_node_is_written_again(tmp_path: Path) -> None:
    """Pages that were not touched yet follow a file that is overwritten; the store never does that."""
    saved(tmp_path, **large())
    state = restored(tmp_path, "never")
    store = LocalStore(tmp_path)
    store.mark_damaged(KEY, "a test says so")
    (path,) = tmp_path.rglob("*.safetensors")
    flip(path)
    mended = path.stat().st_ino
    store.write(make_record(ended=1.8e9), Payload.dump(large()))  # mends the file, where it lies
    assert path.stat().st_ino != mended
    with path.open("rb+") as file:
        file.write(bytes(1000))
    assert torch.equal(state["weight"], large()["weight"])


def test_a_restored_state_takes_no_memory_before_it_is_touched(tmp_path: Path) -> None:
    """Of 60 MB that were restored, one number is looked at, and a child writes one."""
    saved(tmp_path, weight=torch.ones(15_000_000))
    script = f"""
import torch
from dagtree.storage.local import LocalStore

def anonymous():
    lines = open("/proc/self/status").read().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("RssAnon"))) * 1024

store = LocalStore({str(tmp_path)!r})
store.records()
before = anonymous()
state = store.restore({KEY!r}).load(copy=False)
assert state["weight"][-1] == 1
state["weight"][7] = 2
print(anonymous() - before)
"""
    if not Path("/proc/self/status").exists():
        pytest.skip("this system doesn't say how much memory a process has")
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    assert int(ran.stdout) < 10e6


def test_restored_states_hold_no_file_descriptors(tmp_path: Path) -> None:
    """500 restored nodes, each in a file of its own, in a process that may open 64 files; and one in 100."""
    store = LocalStore(tmp_path)
    layers = {str(number): torch.full((20_000,), 0.0) for number in range(100)}
    for number in range(500):
        layers[str(number % 100)].fill_(number + 1)
        store.write(
            make_record(number), Payload.dump(layers if number == 99 else {"w": layers["0"] + number})
        )
    store.close()
    script = f"""
import resource
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
import torch
from dagtree.storage.local import LocalStore
store = LocalStore({str(tmp_path)!r})
held = [store.restore(f"{{number:032x}}").load(copy=False) for number in range(500)]
print(sum(len(state) for state in held), len(list(__import__("os").scandir("/proc/self/fd"))))
"""
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    tensors, descriptors = map(int, ran.stdout.split())
    assert tensors == 499 + 100
    assert descriptors < 12


def test_when_a_process_has_many_maps_more_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved(tmp_path, **large())
    monkeypatch.setattr(mapping, "_MOST_MAPS", len(mapping._maps) + 1)
    states = [restored(tmp_path) for _ in range(2)]
    assert [is_mapped(state["weight"]) for state in states] == [True, False]
    for state in states:
        assert torch.equal(state["weight"], large()["weight"])
        assert np.array_equal(state["table"], large()["table"])


def test_maps_end_with_the_last_view_of_them(tmp_path: Path) -> None:
    saved(tmp_path, **large())
    maps, pieces = set(mapping._maps), set(mapping._pieces)
    state = restored(tmp_path)
    row = state["weight"][3]
    assert (len(mapping._maps - maps), len(mapping._pieces - pieces)) == (1, 2)
    del state
    assert (len(mapping._maps - maps), len(mapping._pieces - pieces)) == (1, 1)
    assert float(row[0]) == 600.0
    del row
    assert mapping._maps <= maps
    assert mapping._pieces <= pieces


def test_what_was_written_to_one_tensor_is_given_back_with_it_and_its_neighbours_keep_theirs(
    tmp_path: Path,
) -> None:
    """All lie in one map; a tensor that is kept must not keep the memory of the others."""
    sizes = (1_000_004, 2_000_012, 30_004, 2_000_020)
    saved(tmp_path, layers=[torch.zeros(size) for size in sizes])
    layers = restored(tmp_path)["layers"]
    before = anonymous_bytes()
    for number, layer in enumerate(layers):
        layer.fill_(number + 1)
    assert anonymous_bytes() - before > 4 * sum(sizes) - 1_000_000
    kept = layers.pop(2)
    layers.pop(0)
    assert [bool((layer == layer[0]).all()) for layer in (kept, *layers)] == [True] * 3
    layers.clear()
    del layer
    assert anonymous_bytes() - before < 4_000_000
    assert bool((kept == 3).all())


def anonymous_bytes() -> int:
    if not Path("/proc/self/smaps_rollup").exists():
        pytest.skip("this system doesn't say how much memory a process has")
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return 1024 * int(next(line.split()[1] for line in lines if line.startswith("Anonymous:")))


@pytest.mark.parametrize("why", ["no system calls", "a network file system"])
def test_where_files_can_not_be_mapped_they_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, why: str
) -> None:
    saved(tmp_path, **large())
    if why == "no system calls":
        monkeypatch.setattr(mapping, "_system", lambda: None)
    else:
        monkeypatch.setattr("dagtree.storage.reading.can_map", lambda directory: False)
    state = restored(tmp_path)
    assert not is_mapped(state["weight"])
    assert torch.equal(state["weight"], large()["weight"])
    assert np.array_equal(state["table"], large()["table"])
    state["weight"].resize_(3)


def test_file_systems_that_others_change_are_not_mapped(tmp_path: Path) -> None:
    """There, what is removed elsewhere kills who touches it."""
    assert all(
        mapping._ELSEWHERE.match(kind) for kind in ("nfs4", "nfs", "cifs", "lustre", "fuse.sshfs", "9p")
    )
    assert not any(
        mapping._ELSEWHERE.match(kind) for kind in ("ext4", "xfs", "tmpfs", "overlay", "btrfs", "apfs")
    )
    assert can_map(str(tmp_path))


# Checking


@pytest.mark.parametrize(("check", "is_found"), [("first", True), ("always", True), ("never", False)])
def test_damage_is_found_before_the_bytes_are_seen(tmp_path: Path, check: Check, is_found: bool) -> None:
    flip(saved(tmp_path, **large()))
    store = LocalStore(tmp_path, check=check)
    for _ in range(2):
        if is_found:
            with pytest.raises(DamagedError, match="is not what was written"):
                store.restore(KEY).load(copy=False)
        else:
            store.restore(KEY).load(copy=False)
    with pytest.raises(DamagedError, match="its buffer"):
        store.read(KEY)


@pytest.mark.parametrize("keeps_times", [False, True])
def test_bytes_are_checked_again_once_their_file_was_changed(tmp_path: Path, keeps_times: bool) -> None:
    path = saved(tmp_path, **large())
    store = LocalStore(tmp_path)
    store.restore(KEY).load(copy=False)
    facts = path.stat()
    flip(path)
    if keeps_times:
        os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))
        assert path.stat().st_mtime_ns == facts.st_mtime_ns
    with pytest.raises(DamagedError):
        store.restore(KEY).load(copy=False)


def test_what_was_checked_once_is_checked_again_only_when_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved(tmp_path, **large())
    hashed = count_hashed(monkeypatch)
    for check, times in (("first", [2, 0, 0]), ("always", [2, 2]), ("never", [0, 0])):
        store = LocalStore(tmp_path, check=check)  # type: ignore[arg-type]
        for expected in times:
            hashed.clear()
            store.restore(KEY).load(copy=False)
            assert len(hashed) == expected


def test_what_was_changed_just_now_is_checked_each_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another change could leave the file's times as they are."""
    monkeypatch.setattr(mapping, "_FRESH_NS", 10**18)
    saved(tmp_path, **large())
    store = LocalStore(tmp_path)
    hashed = count_hashed(monkeypatch)
    for _ in range(2):
        store.restore(KEY).load(copy=False)
    assert len(hashed) == 4


def test_nothing_is_hashed_before_it_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved(tmp_path, **large(), other=torch.ones(50_000))
    hashed = count_hashed(monkeypatch)
    tensors = Tensors(LocalStore(tmp_path).restore(KEY).buffers)
    assert len(tensors) == 3
    assert hashed == []
    assert torch.equal(tensors["other"], torch.ones(50_000))
    assert hashed == ["other"]


def count_hashed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the buffers that are hashed from now on."""
    hashed: list[str] = []
    digest_of = Buffer.digest_of

    def counted(self: Buffer, content: memoryview) -> str:
        hashed.append(self.name)
        return digest_of(self, content)

    monkeypatch.setattr(Buffer, "digest_of", counted)
    return hashed


def test_a_file_that_was_cut_off_is_damage_not_a_crash(tmp_path: Path) -> None:
    path = saved(tmp_path, **large())
    store = LocalStore(tmp_path)
    store.records()
    os.truncate(path, path.stat().st_size // 2)
    with pytest.raises(DamagedError):
        store.restore(KEY)


@pytest.mark.parametrize("kind", ["fifo", "folder"])
def test_what_is_no_file_in_place_of_the_tensors_is_damage(tmp_path: Path, kind: str) -> None:
    path = saved(tmp_path, **large())
    store = LocalStore(tmp_path)
    store.records()
    path.unlink()
    os.mkfifo(path) if kind == "fifo" else path.mkdir()
    with pytest.raises(DamagedError):
        store.restore(KEY)


def test_an_unknown_way_to_check_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="'first', 'always' or 'never'"):
        LocalStore(tmp_path, check="sometimes")  # type: ignore[arg-type]


# Alignment


def test_tensors_of_odd_sizes_leave_the_others_aligned(tmp_path: Path) -> None:
    """Also wide ones that safetensors has no name for: misaligned, they crashed torch."""
    content = {
        "bytes": torch.ones(70_001, dtype=torch.uint8),
        "odd": torch.ones(33_333, dtype=torch.int16),
        "wide": torch.full((30_003,), 2 + 3j, dtype=torch.complex128),
        "floats": torch.ones(20_001),
        "doubles": torch.ones(10_001, dtype=torch.float64),
        "rows": np.ones(9_001, dtype=[("a", "<c16"), ("b", "u1")]),
        "long": np.ones(9_001, np.longdouble),
    }
    path = saved(tmp_path, **content)
    state = restored(tmp_path)
    for name, tensor in content.items():
        if isinstance(tensor, torch.Tensor):
            assert torch.equal(state[name], tensor), name
            assert state[name].data_ptr() % tensor.element_size() == 0
        else:
            assert np.array_equal(state[name], tensor), name
    assert is_mapped(state["wide"])
    assert complex((state["wide"] * 2).sum()) == 30_003 * (4 + 6j)
    shown = load_file(path)
    assert torch.equal(shown["floats"], content["floats"])
    assert int.from_bytes(path.read_bytes()[:8], "little") % 64 == 56


def test_what_lies_misaligned_is_copied(tmp_path: Path) -> None:
    """As in files that an older version, or somebody else, has written."""
    saved(tmp_path, wide=torch.full((30_003,), 2 + 3j, dtype=torch.complex128))
    store = LocalStore(tmp_path)
    record = store.records()[KEY]
    (path,) = tmp_path.rglob("*.safetensors")
    content = path.read_bytes()
    path.write_bytes(b"x" + content)
    table = record.more["payload"]
    table["buffers"][0]["offset"] += 1
    from dagtree.storage.reading import read_payload

    state = read_payload(tmp_path, record).load(copy=False)
    assert not is_mapped(state["wide"])
    assert complex((state["wide"] * 2).sum()) == 30_003 * (4 + 6j)


# Working with what was restored


def test_restored_tensors_do_what_others_do(tmp_path: Path) -> None:
    model = torch.nn.Sequential(torch.nn.Linear(200, 200), torch.nn.Linear(200, 200))
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.ones(2, 200)).sum().backward()
    optimizer.step()
    optimizer.zero_grad()
    saved(tmp_path, model=model, optimizer=optimizer)
    state = restored(tmp_path)
    ours = state["model"]
    assert is_mapped(ours[0].weight)
    for trained, opt in ((model, optimizer), (ours, state["optimizer"])):
        trained(torch.ones(2, 200)).sum().backward()
        opt.step()
        opt.zero_grad()
    assert all(map(torch.equal, ours.parameters(), model.parameters()))
    ours.load_state_dict(model.state_dict())
    again = copy.deepcopy(ours)
    again[0].weight.detach().resize_(10)
    assert torch.equal(pickle.loads(pickle.dumps(ours))[0].weight, model[0].weight)
    ours.half()
    assert ours[0].weight.dtype == torch.float16


def test_a_restored_tensor_can_be_shared_with_other_processes(tmp_path: Path) -> None:
    saved(tmp_path, **large())
    weight = restored(tmp_path)["weight"].share_memory_()
    assert weight.is_shared()
    process = torch.multiprocessing.get_context("fork").Process(target=weight.fill_, args=(7,))
    process.start()
    process.join()
    assert float(weight[0, 0]) == 7.0


def test_a_forked_process_has_restored_memory_of_its_own(tmp_path: Path) -> None:
    saved(tmp_path, **large())
    weight = restored(tmp_path)["weight"]
    process = torch.multiprocessing.get_context("fork").Process(target=weight.fill_, args=(7,))
    process.start()
    process.join()
    assert process.exitcode == 0
    assert torch.equal(weight, large()["weight"])


def test_resizing_in_place_is_refused_in_words_and_a_copy_can_be_resized(tmp_path: Path) -> None:
    saved(tmp_path, **large())
    state = restored(tmp_path)
    with pytest.raises(RuntimeError, match="not resizable"):
        state["weight"].resize_(60_000)
    with pytest.raises(ValueError, match="does not own its data"):
        state["table"].resize(60_000)
    assert state["weight"].clone().resize_(60_000).shape == (60_000,)
    owned = LocalStore(tmp_path).restore(KEY).load(copy=True)
    owned["weight"].resize_(60_000)
    owned["table"].resize(60_000, refcheck=False)


def test_read_only_arrays_stay_so(tmp_path: Path) -> None:
    table = np.arange(30_000)
    table.flags.writeable = False
    saved(tmp_path, table=table)
    found = restored(tmp_path)["table"]
    assert mapping.is_mapped(found.ctypes.data)
    with pytest.raises(ValueError, match="read-only"):
        found[0] = 1


class Model(dg.ExperimentState):
    NONHASHED_ATTRIBUTES = ["weight", "table"]

    def initialize_state(self, **properties: Any) -> None:
        self.weight = torch.zeros(30_000)
        self.table = np.zeros(30_000)


class Resize(dg.Recipe):
    """What torch and numpy allow only to memory of their own."""

    def run(self, state: Any) -> Any:
        state.weight.resize_(60_000).zero_()
        state.table.resize(60_000, refcheck=False)
        return state


@dg.function
def resized(state: Any) -> Any:
    state.weight.resize_(5)
    return len(state.weight)


def test_a_recipe_and_a_function_may_resize_what_was_restored(tmp_path: Path) -> None:
    exp = dg.Experiment(tmp_path, Model)
    exp.spawn_new_tree()
    exp.run()
    again = dg.Experiment(tmp_path, Model)
    root = again.spawn_new_tree()
    node = Resize()(root)
    resized(root)
    again.run()
    assert node.get().weight.shape == (60_000,)
    assert node.get().table.shape == (60_000,)
    assert root.get().weight.shape == (30_000,)
    assert again.graph.root.results["resized"] == 5


class Bump(dg.Recipe):
    by: int

    def run(self, state: Any) -> Any:
        state.weight += self.by
        return state


@pytest.mark.parametrize("check", ["first", "always", "never"])
def test_an_experiment_says_when_to_check(tmp_path: Path, check: Check) -> None:
    exp = dg.Experiment(tmp_path, Model)
    Bump(1)(exp.spawn_new_tree())
    exp.run()
    key = exp.leaves[0].key
    (path,) = tmp_path.rglob(f"{key}.safetensors")
    flip(path)
    restored = dg.Experiment.restore(tmp_path, Model, check=check)
    if check == "never":
        assert restored.graph.node(key).restore().weight.shape == (30_000,)
    else:
        with pytest.raises(DamagedError, match="its buffer weight"):
            restored.graph.node(key).restore()
    again = dg.Experiment(tmp_path, Model, check=check)
    child = Bump(2)(Bump(1)(again.spawn_new_tree()))
    again.run()
    if check != "never":
        assert torch.equal(child.get().weight, torch.full((30_000,), 3.0))
    assert again.verify() == (() if check != "never" else (key,))


def test_writing_to_what_get_gives_changes_no_node(tmp_path: Path) -> None:
    exp = dg.Experiment(tmp_path, Model)
    root = exp.spawn_new_tree()
    exp.run()
    for _ in range(2):
        state = root.get()
        assert not state.weight.any()
        state.weight += 1
        state.table += 1
    assert not exp.graph.root.restore().weight.any()
    assert exp.verify() == ()


def test_a_page_is_as_the_system_says() -> None:
    system = mapping._system()
    assert system is None or system.page_bytes == resource.getpagesize()
