"""A disk that refuses costs the node that it refuses: the error says which and where, and a rerun goes on."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import dagtree as dg
from dagtree.storage.local import LocalStore
from dagtree.storage.record import Record
from study import Number

happen: dict[str, Callable[[], Any]] = {}
LENGTH = 8


class Grow(dg.Recipe):
    """Keeps a tensor of that many bytes; something may happen meanwhile."""

    name: str
    size_bytes: int

    version = "1"

    def run(self, state: Number) -> Number:
        happen.get(self.name, int)()
        state.value += 1
        state.draws = np.full(self.size_bytes, int(self.name), dtype=np.uint8)
        return state


@pytest.fixture(autouse=True)
def nothing_happens() -> Iterator[None]:
    happen.clear()
    yield
    happen.clear()


def chain(directory: Path, size_bytes: int) -> tuple[dg.Experiment, list[Any]]:
    exp = dg.Experiment(directory, state_class=Number)
    nodes: list[Any] = [exp.spawn_new_tree(start=0)]
    for name in range(LENGTH):
        nodes.append(Grow(name=str(name), size_bytes=size_bytes)(nodes[-1]))
    return exp, nodes


def check_whole(directory: Path) -> int:
    """All that is there is whole, and nothing looks damaged; how many nodes that is."""
    store = LocalStore(directory, read_only=True)
    for key in set(store.keys()):
        content = store.read(key).load()
        if content["value"]:
            np.testing.assert_array_equal(content["draws"], content["value"] - 1)
    assert store.problems() == ()
    assert not list(directory.rglob("*.tmp"))
    return len(store.keys())


def check_refused(directory: Path, size_bytes: int, said: str) -> int:
    """The run fails one node, and says which, where and why; how many nodes are there."""
    exp, nodes = chain(directory, size_bytes)
    with pytest.raises(dg.RunError) as caught:
        exp.run()
    (failure,) = caught.value.failures
    assert failure.key in {node.key for node in nodes}
    assert f"keep node {failure.key} (Grow)" in failure.message
    assert str(directory) in failure.message
    assert said in failure.message
    there = check_whole(directory)
    assert there == caught.value.report.computed
    assert 0 < there < LENGTH + 1
    assert caught.value.report.skipped == LENGTH - there
    return there


def check_goes_on(directory: Path, size_bytes: int, there: int) -> None:
    """A rerun computes what is missing, and nothing else."""
    report = chain(directory, size_bytes)[0].run()
    assert (report.computed, report.cached, report.damaged) == (LENGTH + 1 - there, there, ())
    assert check_whole(directory) == LENGTH + 1
    assert list((directory / "claims").iterdir()) == []


def mounted(*words: str) -> bool:
    return sys.platform == "linux" and subprocess.run(["mount", *words], capture_output=True).returncode == 0


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    disk = tmp_path / "disk"
    disk.mkdir()
    if not mounted("-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)):
        pytest.skip("mounting needs root")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


@pytest.mark.parametrize("size_bytes", [200_000, 60_000])
def test_a_full_disk(small_disk: Path, size_bytes: int) -> None:
    """Whether it is a file of tensors that doesn't fit, or a pack."""
    (small_disk / "filler").write_bytes(bytes(300_000 if size_bytes > 100_000 else 700_000))
    there = check_refused(small_disk / "x", size_bytes, "the disk is full: free some space and run again")
    assert mounted("-o", "remount,size=64m", str(small_disk))
    check_goes_on(small_disk / "x", size_bytes, there)


def test_a_disk_without_room_for_a_line(small_disk: Path) -> None:
    """Nothing is computed that could not be kept, and the error comes at once."""
    (small_disk / "x").mkdir()
    with pytest.raises(OSError, match="No space"):
        (small_disk / "filler").write_bytes(bytes(2_000_000))
    happen["0"] = lambda: pytest.fail("it began")
    exp, _ = chain(small_disk / "x", 10)
    with pytest.raises(dg.StorageError) as caught:
        exp.run()
    assert "the disk is full" in str(caught.value)
    assert str(small_disk / "x") in str(caught.value)
    (small_disk / "filler").unlink()
    happen.clear()
    assert chain(small_disk / "x", 10)[0].run().computed == LENGTH + 1


@pytest.mark.skipif(not hasattr(signal, "SIGXFSZ"), reason="there is no limit on files here")
@pytest.mark.parametrize("size_bytes", [200_000, 60_000])
def test_a_limit_on_files(tmp_path: Path, size_bytes: int) -> None:
    """It works as a full disk does, for every user and on every file system."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    old = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))

    happen["2" if size_bytes > 100_000 else "0"] = limit
    try:
        there = check_refused(tmp_path / "x", size_bytes, "files may not grow as large here")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, old)
    happen.clear()
    check_goes_on(tmp_path / "x", size_bytes, there)


def test_a_folder_without_permission(tmp_path: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may do everything; the next test is for him")
    happen["3"] = lambda: (tmp_path / "x" / "tensors").chmod(0o500)
    there = check_refused(tmp_path / "x", 200_000, "permission denied: this user may not do that there")
    (tmp_path / "x" / "tensors").chmod(0o700)
    happen.clear()
    check_goes_on(tmp_path / "x", 200_000, there)


@pytest.mark.parametrize("whole", [True, False])
def test_a_file_system_that_becomes_read_only(tmp_path: Path, whole: bool) -> None:
    """All of it before the run begins, or the folder of tensors in the midst of it."""
    directory = tmp_path / "x"
    assert chain(directory, 10)[0].run().computed == LENGTH + 1
    frozen = directory if whole else directory / "tensors"
    frozen.mkdir(exist_ok=True)
    if not mounted("--bind", str(frozen), str(frozen)):
        pytest.skip("mounting needs root")

    def freeze() -> None:
        assert mounted("-o", "remount,bind,ro", str(frozen))

    try:
        if whole:
            freeze()
            happen["0"] = lambda: pytest.fail("it began")
            with pytest.raises(dg.StorageError) as caught:
                chain(directory, 200_000)[0].run()
            assert "the file system is read-only" in str(caught.value)
            assert str(directory) in str(caught.value)
            assert check_whole(directory) == LENGTH + 1
        else:
            happen["3"] = freeze
            exp, nodes = chain(directory, 200_000)
            with pytest.raises(dg.RunError) as error:
                exp.run()
            (failure,) = error.value.failures
            assert f"keep node {failure.key} (Grow)" in failure.message
            assert str(frozen) in failure.message
            assert "the file system is read-only" in failure.message
            assert failure.key == nodes[4].key
    finally:
        subprocess.run(["umount", "-l", str(frozen)], check=True)
    happen.clear()
    report = chain(directory, 200_000)[0].run()
    assert report.computed == (LENGTH if whole else LENGTH - 3)
    assert check_whole(directory) == 2 * LENGTH + 1


def test_a_directory_that_vanishes(tmp_path: Path) -> None:
    """As when a file system is unmounted: nothing is written in its place, and what was kept is whole when it
    comes back."""
    directory, away = tmp_path / "x", tmp_path / "away"
    happen["3"] = lambda: directory.rename(away)
    exp, nodes = chain(directory, 200_000)
    with pytest.raises(dg.StorageError) as caught:
        exp.run()
    said = str(caught.value)
    assert f"are not in {directory} any more: was the directory removed, or its file system unmounted" in said
    assert f"keep node {nodes[4].key} (Grow)" in said
    assert "it is not there any more" in said
    assert not directory.exists(), "what is written there would be hidden, or lost, when it comes back"
    away.rename(directory)
    happen.clear()
    there = check_whole(directory)
    assert there == 4
    check_goes_on(directory, 200_000, there)


def test_a_directory_that_is_removed(tmp_path: Path) -> None:
    directory = tmp_path / "x"
    happen["3"] = lambda: shutil.rmtree(directory)
    with pytest.raises((dg.StorageError, dg.RunError)) as caught:
        chain(directory, 200_000)[0].run()
    assert str(directory) in str(caught.value)
    happen.clear()
    report = chain(directory, 200_000)[0].run()
    assert report.ok
    assert check_whole(directory) == LENGTH + 1


@pytest.mark.parametrize("folder", ["tensors", "packs", "records"])
def test_a_folder_that_is_removed_is_made_again_by_the_same_process(tmp_path: Path, folder: str) -> None:
    exp, nodes = chain(tmp_path / "x", 200_000)
    exp.run()
    shutil.rmtree(tmp_path / "x" / folder)
    exp.verify(progress=False)
    assert exp.run().ok
    assert check_whole(tmp_path / "x") == len(nodes)


def test_what_took_long_is_flushed_before_it_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its bytes, its record, and the folders that have their names; the record last. What is cheap isn't."""
    calls: list[str] = []
    fsync, write = os.fsync, os.write

    def name_of(fd: int) -> str:
        return os.path.relpath(os.readlink(f"/proc/self/fd/{fd}"), tmp_path / "x")

    def flushed(fd: int) -> None:
        calls.append(f"flush {name_of(fd)}")
        fsync(fd)

    def written(fd: int, content: Any) -> int:
        calls.append(f"write {name_of(fd)}")
        return write(fd, content)

    if not Path("/proc/self/fd").exists():
        pytest.skip("needs /proc")
    monkeypatch.setattr(Record, "seconds", property(lambda record: 2.0 * (record.recipe == "Grow")))
    exp = dg.Experiment(tmp_path / "x", state_class=Number)
    root = exp.spawn_new_tree(start=0)
    exp.run()
    monkeypatch.setattr(os, "fsync", flushed)
    monkeypatch.setattr(os, "write", written)
    cheap = dg.Experiment(tmp_path / "x", state_class=Number).spawn_new_tree(start=0)
    assert cheap.key == root.key
    Grow(name="1", size_bytes=200_000)(root)
    report = exp.run()
    assert report.computed == 1
    records = f"records/{next(path.name for path in (tmp_path / 'x' / 'records').iterdir())}"
    tensors = next(call for call in calls if call.startswith("flush tensors/") and "." in call)
    record_written = calls.index(f"write {records}")
    assert calls.index(tensors) < record_written
    assert any(call.startswith("flush packs/") for call in calls[:record_written])
    assert any(call.startswith("flush tensors/") and call.count("/") == 1 for call in calls[:record_written])
    assert f"flush {records}" in calls[record_written:]
    folders = {"flush records", "flush packs", "flush tensors", "flush ."}
    assert folders <= set(calls), f"not flushed: {folders - set(calls)}"
    calls.clear()
    Grow.version, kept = "2", Grow.version
    try:
        monkeypatch.setattr(Record, "seconds", property(lambda record: 0.0))
        Grow(name="2", size_bytes=200_000)(root)
        assert exp.run().computed == 1
    finally:
        Grow.version = kept
    assert not [call for call in calls if call.startswith("flush")]
