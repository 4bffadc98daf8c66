"""A local store keeps to its directory, writes only when it must, and lets others read its files."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import signal
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open

from dagtree.errors import DagtreeError, DamagedError, FormatVersionError, NotComputedError, StorageError
from dagtree.storage import reading
from dagtree.storage.lines import decode_line
from dagtree.storage.local import LocalStore
from dagtree.storage.notes import seal
from dagtree.storage.payload import Payload
from dagtree.testing import make_record

SMALL = Payload.dump({"x": 3})


def everything(directory: Path) -> dict[str, tuple[int, int, bytes]]:
    return {
        str(path.relative_to(directory)): (path.stat().st_mtime_ns, path.stat().st_ino, path.read_bytes())
        for path in directory.rglob("*")
        if path.is_file()
    }


def large(fill: float = 0.0) -> dict[str, Any]:
    return {"weights": torch.full((200, 100), fill), "bias": torch.zeros(3)}


def only(pattern: str, directory: Path) -> Path:
    (found,) = directory.glob(pattern)
    return found


def test_making_and_asking_a_store_writes_nothing(tmp_path: Path) -> None:
    store = LocalStore(tmp_path / "deep" / "x")
    assert not store.keys()
    store.refresh()
    store.note("a" * 32, tags=())
    store.mark_damaged("a" * 32, "never there")
    store.close()
    assert list(tmp_path.iterdir()) in ([], [tmp_path / "deep"])
    assert not LocalStore.is_experiment(tmp_path / "elsewhere")


def test_the_first_write_makes_the_experiment(tmp_path: Path) -> None:
    store = LocalStore(tmp_path / "deep" / "x")
    assert not LocalStore.is_experiment(store.location)
    store.write(make_record(), SMALL)
    assert LocalStore.is_experiment(store.location)
    assert json.loads((tmp_path / "deep" / "x" / "dagtree.json").read_text()) == {"format": 1}


def test_trivial_nodes_share_two_files(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    for number in range(20):
        store.write(make_record(number), SMALL)
    names = sorted(path.suffix for path in tmp_path.rglob("*") if path.is_file())
    assert names == [".json", ".jsonl", ".pack"]


def test_a_file_of_tensors_is_read_by_the_safetensors_library(tmp_path: Path) -> None:
    model = torch.nn.Sequential()
    model.add_module("layers", torch.nn.Sequential(torch.nn.Linear(300, 100), torch.nn.Linear(100, 200)))
    model.register_buffer("counts", torch.arange(40_000, dtype=torch.int16))
    model.register_buffer("mask", torch.ones(70_001, dtype=torch.bool))
    half = np.arange(40_000, dtype=np.float16).reshape(200, 200)
    record = make_record()
    LocalStore(tmp_path).write(record, Payload.dump({"model": model, "half": half}))
    path = tmp_path / "tensors" / record.key[:2] / f"{record.key}.safetensors"
    with safe_open(path, framework="pt") as file:
        assert set(file.keys()) == {
            "model.layers.0.weight",
            "model.layers.1.weight",
            "model.counts",
            "model.mask",
            "half",
        }
        assert file.metadata() == {"format": "pt"}
        weight = file.get_tensor("model.layers.0.weight")
        assert weight.dtype == torch.float32
        assert torch.equal(weight, model.layers[0].weight)  # type: ignore[index, union-attr]
        assert torch.equal(file.get_tensor("model.counts"), model.counts)
        assert torch.equal(file.get_tensor("model.mask"), model.mask)
        assert torch.equal(file.get_tensor("half"), torch.from_numpy(half))


@pytest.mark.parametrize(
    "dtype",
    [
        "float64",
        "float32",
        "float16",
        "bfloat16",
        "complex64",
        "int64",
        "int32",
        "int16",
        "int8",
        "uint64",
        "uint32",
        "uint16",
        "uint8",
        "bool",
        "float8_e4m3fn",
        "float8_e5m2",
        "complex128",
    ],
)
def test_the_safetensors_library_reads_every_type(tmp_path: Path, dtype: str) -> None:
    tensor = torch.ones(70_000, dtype=getattr(torch, dtype))
    store, record = LocalStore(tmp_path), make_record()
    store.write(record, Payload.dump({"t": tensor}))
    with safe_open(only("tensors/*/*", tmp_path), framework="pt") as file:
        assert file.get_tensor("t").view(torch.uint8).sum() == tensor.view(torch.uint8).sum()
    found = store.read(record.key).load()["t"]
    assert found.dtype == tensor.dtype
    assert torch.equal(found.view(torch.uint8), tensor.view(torch.uint8))


def test_reading_never_gives_two_readers_the_same_memory(tmp_path: Path) -> None:
    store, record = LocalStore(tmp_path), make_record()
    store.write(record, Payload.dump(large()))
    first, second = (store.read(record.key).load(copy=False)["weights"] for _ in range(2))
    first.fill_(9)
    assert second.sum() == 0
    assert store.read(record.key).load()["weights"].sum() == 0


def test_a_state_may_change_after_it_was_written(tmp_path: Path) -> None:
    store, record, content = LocalStore(tmp_path), make_record(), large(1.0)
    store.write(record, Payload.dump(content))
    content["weights"].fill_(2)
    assert store.read(record.key).load()["weights"].unique().tolist() == [1.0]


def test_read_only_changes_nothing(tmp_path: Path) -> None:
    LocalStore(tmp_path).write(make_record(), Payload.dump(large()))
    before = everything(tmp_path)
    store = LocalStore(tmp_path, read_only=True)
    assert store.read(make_record().key).load()["bias"].shape == (3,)
    key = "a" * 32
    for change in (
        lambda: store.write(make_record(2), SMALL),
        lambda: store.note(key, tags=("a",)),
        lambda: store.write_once("sources", key, b""),
        lambda: store.write_file(key, "log.txt", b""),
    ):
        with pytest.raises(StorageError, match="read-only"):
            change()
    store.mark_damaged(make_record().key, "looked wrong")
    assert not store.keys()
    store.refresh()
    store.close()
    assert everything(tmp_path) == before
    assert LocalStore(tmp_path).keys() == {make_record().key}


def test_read_only_creates_nothing(tmp_path: Path) -> None:
    store = LocalStore(tmp_path / "x", read_only=True)
    with pytest.raises(StorageError):
        store.write(make_record(), SMALL)
    assert not (tmp_path / "x").exists()


def test_another_format_is_refused(tmp_path: Path) -> None:
    (tmp_path / "dagtree.json").write_text('{"format": 2, "new": true}')
    with pytest.raises(FormatVersionError, match="format 2"):
        LocalStore(tmp_path)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"form', "\0\0\0", "[" * 99_999])
def test_a_damaged_format_file_costs_nothing_else(tmp_path: Path, text: str) -> None:
    LocalStore(tmp_path).write(make_record(), SMALL)
    (tmp_path / "dagtree.json").write_text(text)
    store = LocalStore(tmp_path)
    assert store.read(make_record().key).load() == {"x": 3}
    assert "dagtree.json" in store.problems()[0]


def test_a_location_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("not a directory")
    with pytest.raises(StorageError, match="is a file"):
        LocalStore(tmp_path / "x")
    assert not LocalStore.is_experiment(tmp_path / "x")


def test_two_writers_each_see_what_the_other_wrote(tmp_path: Path) -> None:
    one, two = LocalStore(tmp_path), LocalStore(tmp_path)
    one.write(make_record(1), SMALL)
    two.write(make_record(2), SMALL)
    for store in (one, two):
        store.refresh()
        assert store.keys() == {make_record(1).key, make_record(2).key}
    assert len(list((tmp_path / "records").iterdir())) == 2


def test_a_stale_writer_that_computed_a_node_to_other_bits_spoils_nothing(tmp_path: Path) -> None:
    """It doesn't know that the node is there, and must not replace the bytes that its record counts on."""
    stale, fresh = LocalStore(tmp_path), LocalStore(tmp_path)
    assert not stale.keys()
    fresh.write(make_record(ended=20.0, parents=()), Payload.dump(large(1.0)))
    stale.write(make_record(ended=10.0, parents=()), Payload.dump(large(2.0)))
    for store in (fresh, LocalStore(tmp_path)):
        assert store.read(make_record().key).load()["weights"][0, 0] == 1.0
    assert stale.read(make_record().key).load()["weights"][0, 0] == 2.0
    stale.refresh()
    assert stale.read(make_record().key).load()["weights"][0, 0] == 1.0


def test_a_writer_that_computed_the_same_bits_keeps_one_file(tmp_path: Path) -> None:
    for ended in (10.0, 20.0):
        LocalStore(tmp_path).write(make_record(ended=ended), Payload.dump(large(1.0)))
    assert len(list(tmp_path.glob("tensors/*/*"))) == 1


def test_a_spoilt_file_of_tensors_is_replaced(tmp_path: Path) -> None:
    store, record = LocalStore(tmp_path), make_record()
    store.write(record, Payload.dump(large(1.0)))
    path = only("tensors/*/*", tmp_path)
    path.write_bytes(path.read_bytes()[:-4] + b"oops")
    with pytest.raises(DamagedError) as caught:
        store.read(record.key)
    assert caught.value.key == record.key
    assert record.key in str(caught.value)
    assert str(path) in str(caught.value)
    store.mark_damaged(record.key, str(caught.value))
    store.write(record, Payload.dump(large(1.0)))
    assert only("tensors/*/*", tmp_path) == path
    assert LocalStore(tmp_path).read(record.key).load()["weights"][0, 0] == 1.0


def test_a_pickled_store_carries_its_location_and_its_copies_share_a_writer(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    for number in range(100):
        store.write(make_record(number), SMALL)
    pickled = pickle.dumps(store)
    assert len(pickled) < 300
    first, second = pickle.loads(pickled), pickle.loads(pickled)
    first.write(make_record(500), SMALL)
    second.write(make_record(501), SMALL)
    assert len(list((tmp_path / "records").iterdir())) == 2
    assert len(LocalStore(tmp_path).keys()) == 102


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of forking with threads, which is what is tested
def test_a_forked_process_writes_to_files_of_its_own(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    store.write(make_record(1), SMALL)
    held, release = threading.Event(), threading.Event()

    def hold() -> None:
        with store._lock:
            held.set()
            release.wait(60)

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait(60)
    child = os.fork()
    if not child:
        signal.alarm(20)
        try:
            store.write(make_record(2), SMALL)
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    release.set()
    thread.join()
    store.write(make_record(3), SMALL)
    assert len(LocalStore(tmp_path).keys()) == 3
    assert len(list((tmp_path / "records").iterdir())) == 2


def test_an_experiment_that_was_removed_meanwhile_starts_anew(tmp_path: Path) -> None:
    """What is written next must not go to files that have no name any more."""
    store = LocalStore(tmp_path / "x")
    store.write(make_record(1), SMALL)
    shutil.rmtree(tmp_path / "x")
    store.refresh()
    assert not store.keys()
    store.write(make_record(2), SMALL)
    assert LocalStore(tmp_path / "x").keys() == {make_record(2).key}


def test_a_disk_that_refuses_is_named_and_spoils_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = LocalStore(tmp_path)
    store.write(make_record(1), SMALL)
    real, room = os.write, [0]

    def write(fd: int, content: Any) -> int:
        if room[0] <= 0:
            raise OSError(28, "No space left on device")
        written = real(fd, content[: room[0]])
        room[0] -= written
        return written

    for room[0] in (0, 3, 30, 100, 400):
        with monkeypatch.context() as patch:
            patch.setattr(os, "write", write)
            with pytest.raises(StorageError, match="disk is full") as caught:
                store.write(make_record(2), Payload.dump(large()))
        assert make_record(2).key in str(caught.value)
        assert str(tmp_path) in str(caught.value)
        assert store.keys() == {make_record(1).key}
        assert LocalStore(tmp_path).problems() == ()
        assert not list(tmp_path.rglob("*.tmp"))
    store.write(make_record(2), Payload.dump(large()))
    again = LocalStore(tmp_path)
    assert again.keys() == {make_record(1).key, make_record(2).key}
    assert again.read(make_record(2).key).load()["weights"].sum() == 0


@pytest.mark.parametrize("can_cut", [True, False])
def test_a_torn_line_never_costs_the_next_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, can_cut: bool
) -> None:
    store = LocalStore(tmp_path)
    store.write(make_record(1), SMALL)
    real = os.write

    def write(fd: int, content: Any) -> int:
        if len(content) < 100:  # the pack's; the record's line is longer
            return real(fd, content)
        if len(content) > 200:
            return real(fd, content[: len(content) - 150])
        raise OSError(28, "No space left on device")

    def refuse(fd: int, size_bytes: int) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", write)
        if not can_cut:
            patch.setattr(os, "ftruncate", refuse)
        with pytest.raises(StorageError):
            store.write(make_record(2), SMALL)
    store.write(make_record(3), SMALL)
    again = LocalStore(tmp_path)
    assert again.keys() == {make_record(1).key, make_record(3).key}
    assert again.read(make_record(3).key).load() == {"x": 3}
    assert again.problems() == ()


def test_what_took_long_is_flushed_before_it_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, flushed = LocalStore(tmp_path), []
    real = os.fsync

    def fsync(fd: int) -> None:
        flushed.append((os.readlink(f"/proc/self/fd/{fd}"), bool(store.keys())))
        real(fd)

    if not Path("/proc/self/fd").exists():
        pytest.skip("needs /proc to tell files apart")
    monkeypatch.setattr(os, "fsync", fsync)
    store.write(make_record(1, more={"seconds": 0.5}), Payload.dump(large()))
    assert flushed == []
    store = LocalStore(tmp_path / "slow")
    store.write(make_record(2, more={"seconds": 1.5}), Payload.dump(large()))
    order = [os.path.basename(path).rpartition(".")[2] or path for path, _ in flushed]
    names = [path for path, _ in flushed]
    assert order[-1] == "jsonl" or "records" in names[-1]
    for part in (".safetensors", ".pack", ".jsonl", "/packs", "/records", "/slow"):
        assert any(part in name for name in names), part
    assert not any(there for _, there in flushed)


BAD_FILES = [
    "../../etc/passwd",
    "/etc/passwd",
    "packs/../../x.pack",
    "tensors/../x",
    "packs/a\0.pack",
    5,
    None,
]


@pytest.mark.parametrize("file", BAD_FILES, ids=str)
def test_a_record_cannot_lead_outside_the_directory(tmp_path: Path, file: Any) -> None:
    store = LocalStore(tmp_path)
    written = store.write(make_record(), SMALL)
    table = {**written.more["payload"], "files": [file]}
    text = written.encode().decode()[27:-1]
    forged = text.replace(json.dumps(written.more["payload"], separators=(",", ":")), json.dumps(table))
    assert forged != text
    only("records/*", tmp_path).write_bytes(seal(forged) + b"\n")
    with pytest.raises(DamagedError):
        LocalStore(tmp_path).read(written.key)


@pytest.mark.parametrize(
    "table",
    [
        None,
        [],
        {},
        {"files": 3, "skeleton": [], "buffers": []},
        {"files": ["packs/a.pack"], "skeleton": [0, -1, 5, "x"], "buffers": []},
        {"files": ["packs/a.pack"], "skeleton": [0, 1 << 61, 5, "x"], "buffers": []},
        {"files": ["packs/a.pack"], "skeleton": [0, 0, 1 << 61, "x"], "buffers": []},
        {"files": ["packs/a.pack"], "skeleton": [True, 0.5, "3", None], "buffers": {}},
        {"files": ["packs/a.pack"], "skeleton": [9, 0, 1, "x"], "buffers": [3]},
    ],
    ids=str,
)
def test_a_table_of_nonsense_is_damage(tmp_path: Path, table: Any) -> None:
    (tmp_path / "packs").mkdir()
    (tmp_path / "packs" / "a.pack").write_bytes(b"12345")
    (tmp_path / "records").mkdir()
    more = json.dumps({"payload": table})
    line = make_record().encode().decode()[27:-1]
    line = line[: line.index('"more":')] + f'"more":{more}}}'
    (tmp_path / "records" / "a.jsonl").write_bytes(seal(line) + b"\n")
    store = LocalStore(tmp_path)
    assert store.keys() == {make_record().key}
    with pytest.raises(DamagedError) as caught:
        store.read(make_record().key)
    assert caught.value.key == make_record().key


def test_a_missing_pack_makes_its_nodes_absent_and_says_so_once(tmp_path: Path) -> None:
    LocalStore(tmp_path).write(make_record(1), SMALL)
    only("packs/*", tmp_path).unlink()
    other = LocalStore(tmp_path)
    other.write(make_record(2), SMALL)
    store = LocalStore(tmp_path)
    assert store.keys() == {make_record(2).key}
    for _ in range(2):
        store.refresh()
        (problem,) = store.problems()
        assert make_record(1).key in problem
        assert ".pack is missing" in problem
    with pytest.raises(NotComputedError, match="missing"):
        store.read(make_record(1).key)
    assert store.records()[make_record(1).key].tags == ("lr:0.1",)


@pytest.mark.parametrize("pattern", ["packs/*", "tensors/*/*"])
def test_a_file_that_is_cut_off_makes_its_node_absent_until_it_is_written_again(
    tmp_path: Path, pattern: str
) -> None:
    LocalStore(tmp_path).write(make_record(), Payload.dump(large()))
    path = only(pattern, tmp_path)
    os.truncate(path, path.stat().st_size - 1)
    store = LocalStore(tmp_path)
    assert not store.keys()
    assert "cut off" in store.problems()[0]
    store.write(make_record(ended=make_record().ended + 1), Payload.dump(large()))
    for each in (store, LocalStore(tmp_path)):
        assert each.read(make_record().key).load()["weights"].shape == (200, 100)


def test_bytes_that_become_visible_late_make_their_node_appear_late(tmp_path: Path) -> None:
    """As they may on NFS, where a record can be seen before the bytes that it counts on."""
    LocalStore(tmp_path).write(make_record(), SMALL)
    pack = only("packs/*", tmp_path)
    pack.rename(tmp_path / "not yet")
    store = LocalStore(tmp_path)
    assert not store.keys()
    (tmp_path / "not yet").rename(pack)
    store.refresh()
    assert store.read(make_record().key).load() == {"x": 3}


def test_garbage_in_the_directory_is_survived(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    store.write(make_record(), Payload.dump(large()))
    records = tmp_path / "records"
    (records / "junk.jsonl").write_bytes(
        bytes(range(256)) * 500 + b"\n" + b'{"check":"0123456789abcdef"}\n{}\n[]\n'
    )
    (records / "empty.jsonl").touch()
    (records / "folder.jsonl").mkdir()
    (records / "nowhere.jsonl").symlink_to(tmp_path / "nothing")
    (records / "loop.jsonl").symlink_to(records / "loop.jsonl")
    os.mkfifo(records / "pipe.jsonl")
    os.mkfifo(tmp_path / "packs" / "pipe.pack")
    (tmp_path / "tensors" / "zz").touch()
    (tmp_path / "tensors" / "not two letters").mkdir()
    found = LocalStore(tmp_path)
    assert found.keys() == {make_record().key}
    assert found.read(make_record().key).load()["bias"].shape == (3,)
    assert any("junk.jsonl" in problem and "line" in problem for problem in found.problems())


@pytest.mark.parametrize("name", ["records", "packs", "tensors", "files", "sources"])
def test_a_file_where_a_folder_should_be_is_no_crash(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("junk")
    store = LocalStore(tmp_path)
    assert not store.keys()
    assert store.read_file("a" * 32, "log.txt") is None
    assert store.read_once("sources", "a" * 32) is None
    if name in ("records", "packs"):
        with pytest.raises(StorageError, match="a file is where a folder must be"):
            store.write(make_record(), SMALL)


def test_a_torn_line_is_left_until_it_is_whole(tmp_path: Path) -> None:
    (tmp_path / "records").mkdir()
    line = make_record(status="failed").encode()
    path = tmp_path / "records" / "other.jsonl"
    path.write_bytes(line[:40])
    store = LocalStore(tmp_path)
    assert not store.records()
    with path.open("ab") as file:
        file.write(line[40:])
    store.refresh()
    assert list(store.records()) == [make_record().key]
    assert store.problems() == ()


def test_views_and_records_are_live(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    keys, records = store.keys(), store.records()
    written = store.write(make_record(), SMALL)
    assert keys == {written.key}
    assert records[written.key] == written
    with pytest.raises(TypeError):
        records["a" * 32] = written  # type: ignore[index]


def test_the_same_note_twice_is_written_once(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    store.write(make_record(), SMALL)
    for _ in range(3):
        store.note(
            make_record().key, tags=("b",), results={"f": {"value": 1, "code": "c", "at": 2.0}}, defined=5e9
        )
    assert len(only("records/*", tmp_path).read_bytes().splitlines()) == 2


def test_a_process_that_adopts_a_line_and_then_reads_it_has_it_once(tmp_path: Path) -> None:
    one, two = LocalStore(tmp_path), LocalStore(tmp_path)
    two.refresh()
    line = one.write(make_record(), SMALL).encode()
    two.adopt(line)
    two.refresh()
    two.mark_damaged(make_record().key, "a test")
    assert not two.keys()
    one.refresh()
    assert not one.keys()


def test_permission_denied_names_node_and_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> int:
        raise PermissionError(13, "Permission denied")

    store = LocalStore(tmp_path)
    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(StorageError, match="permission denied") as caught:
        store.write(make_record(), SMALL)
    assert make_record().key in str(caught.value)
    assert caught.value.errno == 13


def test_decoding_a_record_of_another_store_is_possible_without_it(tmp_path: Path) -> None:
    LocalStore(tmp_path).write(make_record(), SMALL)
    (line,) = only("records/*", tmp_path).read_bytes().splitlines()
    assert decode_line(line) is not None
    with pytest.raises(DagtreeError):
        LocalStore(tmp_path).read("../../x")


def test_a_node_that_is_written_while_a_store_looks_is_no_damage(tmp_path: Path) -> None:
    """Its bytes are there before its record is, however far the looking was when they came."""
    theirs, ours = LocalStore(tmp_path), LocalStore(tmp_path)
    theirs.write(make_record(1), Payload.dump({"x": 1}))
    ours.refresh()
    theirs.write(make_record(2), Payload.dump({"x": 2}))
    listed = reading.Extents(tmp_path)
    theirs.write(make_record(3), Payload.dump({"x": 3}))
    theirs.write(make_record(4), Payload.dump({"x": np.arange(20_000)}))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reading, "Extents", lambda directory: listed)
        ours.refresh()
    assert ours.keys() == {make_record(number).key for number in (1, 2, 3, 4)}
    assert ours.problems() == ()
