"""A run is killed at any instant: what was done is there, nothing is half there, and nothing is left."""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from crowd import mixed_tree
from dagtree.storage.lines import decode_line
from dagtree.storage.local import LocalStore
from dagtree.storage.reading import NEED
from dagtree.storage.record import Record
from warm import Warm, wait_until

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="the helper that starts processes needs Linux"
)

NODES = 1 + 6 * (1 + 2 + 1 + 6) + 1  # of mixed_tree: the root, six branches, and their sum


@pytest.fixture(scope="module")
def warm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Warm]:
    modules = ("crowd", "dagtree.execution.rounds", "dask.local", "dask.threaded")
    started = Warm(tmp_path_factory.mktemp("warm"), *modules)
    yield started
    started.close()


def check_what_is_there(directory: Path, told: Path) -> int:
    """Every node that was told is there, every node that is there is whole, and nothing looks damaged; how
    many there are."""
    store = LocalStore(directory)
    said = {line.split()[0] for line in told.read_text().splitlines()} if told.exists() else set()
    assert said <= store.keys()
    assert store.problems() == ()
    for key in store.keys() & store.records().keys():
        assert store.read(key).load()["value"] >= 0
    return len(store.keys())


def check_nothing_is_left(directory: Path) -> None:
    """No temporary file, no claim, and no file that no record names."""
    assert list((directory / "claims").iterdir()) == []
    assert not list(directory.rglob("*.tmp"))
    named, keys = set(), set()
    for path in (directory / "records").iterdir():
        for line in path.read_bytes().splitlines():
            if isinstance(record := decode_line(line), Record):  # else it is torn, or a note
                keys.add(record.key)
                named.update(name for name, _ in NEED.findall(record.needs))
    assert {path.relative_to(directory).as_posix() for path in directory.glob("tensors/*/*")} <= named
    assert {path.name for path in directory.glob("files/*")} <= keys


def kill_some(
    directory: Path, warm: Warm, draw: random.Random, kills: int, scheduler: str, lasts_s: float
) -> None:
    """Kill a run some times, each at another instant, and then let it come to its end."""
    told = directory.with_suffix(".told")
    for _ in range(kills):
        child = warm.start("crowd:run_and_tell", directory, told, scheduler)
        time.sleep(draw.uniform(0.0, lasts_s))
        child.kill()
        there = check_what_is_there(directory, told)
    report = mixed_tree(str(directory)).run()
    assert report.computed == NODES - there, "only what is missing is computed"
    assert report.cached == there
    assert report.damaged == ()
    assert check_what_is_there(directory, told) == NODES
    check_nothing_is_left(directory)


def how_long(tmp_path: Path, warm: Warm, scheduler: str) -> float:
    """How many seconds an undisturbed run takes, from the start of its process."""
    started = time.monotonic()
    child = warm.start("crowd:run_and_tell", tmp_path / "whole", tmp_path / "whole.told", scheduler)
    assert child.result() == NODES
    check_nothing_is_left(tmp_path / "whole")
    return time.monotonic() - started


@pytest.mark.parametrize("scheduler", ["single-threaded", "threads"])
def test_what_was_done_is_whole_after_a_kill_at_any_instant(
    tmp_path: Path, warm: Warm, scheduler: str
) -> None:
    lasts_s = how_long(tmp_path, warm, scheduler)
    draw = random.Random(scheduler)
    for kills in (1, 2, 3, 4):
        kill_some(tmp_path / str(kills), warm, draw, kills, scheduler, lasts_s)


@pytest.mark.stress
@pytest.mark.parametrize("seed", range(10))
def test_what_was_done_is_whole_after_two_hundred_kills(tmp_path: Path, warm: Warm, seed: int) -> None:
    scheduler = ("single-threaded", "threads")[seed % 2]
    lasts_s = how_long(tmp_path, warm, scheduler)
    draw = random.Random(seed)
    for number in range(8):
        kill_some(tmp_path / str(number), warm, draw, 1 + number % 4, scheduler, lasts_s)


def test_a_run_in_processes_that_is_killed_leaves_no_worker_and_nothing_else(
    tmp_path: Path, warm: Warm
) -> None:
    directory, told = tmp_path / "x", tmp_path / "told"
    child = warm.start("crowd:run_and_tell", directory, told, "processes")
    wait_until(lambda: len(list(directory.glob("claims/*"))) > 1)
    child.kill()
    store = LocalStore(directory)
    report = mixed_tree(str(directory)).run()
    assert report.computed + report.cached == NODES
    assert store.problems() == ()
    assert check_what_is_there(directory, told) == NODES
    wait_until(lambda: not list((directory / "claims").iterdir()))
    check_nothing_is_left(directory)
