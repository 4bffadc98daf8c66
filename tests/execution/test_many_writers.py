"""Several processes run the same experiment, or overlapping ones, in one directory at once."""

from __future__ import annotations

import json
import logging
import random
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import dagtree as dg
from crowd import Hold, Mark, lines_of, tree
from dagtree.storage import presence
from dagtree.storage.board import FolderBoard
from dagtree.storage.lines import decode_line
from dagtree.storage.local import LocalStore
from dagtree.storage.presence import Presence
from dagtree.storage.record import Record
from study import Add, Number, value
from warm import Warm, wait_until

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="the helper that starts processes needs Linux"
)


@pytest.fixture(scope="module")
def warm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Warm]:
    started = Warm(tmp_path_factory.mktemp("warm"), "crowd", "dagtree.execution.rounds", "dask.local")
    yield started
    started.close()


def runs(log: Path) -> Counter[str]:
    """How often each recipe was begun, by name."""
    return Counter(name for what, name, _ in lines_of(log) if what == "begin")


def all_is_well(directory: Path, chains: int, length: int) -> None:
    """Every node is there once, verifies, and is what one process alone makes; nobody left anything."""
    store = LocalStore(directory)
    assert store.problems() == ()
    values = Counter(store.read(key).load()["value"] for key in store.records())
    assert store.keys() == store.records().keys()
    expected = Counter([0, 1, chains * (length + 1)])
    for step in range(length):
        expected[step + 2] += chains
    assert values == expected
    assert list((directory / "claims").iterdir()) == []
    assert not list(directory.rglob("*.tmp"))
    lines = [
        record.key
        for path in (directory / "records").iterdir()
        for line in path.read_bytes().splitlines()
        if isinstance(record := decode_line(line), Record)  # else it is torn
    ]
    assert len(lines) == len(store.keys()), "a node was written twice"


@pytest.mark.parametrize(("chains", "length", "seconds"), [(6, 4, 0.02), (12, 12, 0.0)])
def test_eight_processes_compute_each_node_once(
    tmp_path: Path, warm: Warm, chains: int, length: int, seconds: float
) -> None:
    directory, log = tmp_path / "x", tmp_path / "log"
    children = [warm.start("crowd:grow", directory, log, chains, length, seconds) for _ in range(8)]
    reports = [child.result() for child in children]
    count = chains * length + 3
    assert set(runs(log).values()) == {1}
    assert sum(report["computed"] for report in reports) == count
    for report in reports:
        assert report["computed"] + report["cached"] == count
        assert report["elsewhere"] <= report["cached"], "some may be there before it begins"
    if seconds:
        assert sum(report["computed"] > 0 for report in reports) > 1, "they shared the work"
    all_is_well(directory, chains, length)


@pytest.mark.parametrize("seed", [1, 2])
def test_kills_among_eight_processes_cost_only_what_the_killed_were_at(
    tmp_path: Path, warm: Warm, seed: int
) -> None:
    """A node that a killed process had claimed, or was at, is computed by another; all others once."""
    directory, log = tmp_path / "x", tmp_path / "log"
    draw = random.Random(seed)
    chains, length = 8, 6
    children = [
        warm.start("crowd:grow", directory, log, chains, length, 0.01, "single-threaded", True)
        for _ in range(8)
    ]
    killed = draw.sample(children, 4)
    for number, child in enumerate(killed):
        wait_until(lambda number=number: len(lines_of(log)) > 12 * number + draw.randrange(8))
        time.sleep(draw.uniform(0, 0.01))
        child.kill()
    for child in children:
        if child not in killed:
            child.result()
    dead = {child.pid for child in killed}
    again = 0
    for name in runs(log):
        begun = [pid for what, each, pid in lines_of(log) if what == "begin" and each == name]
        assert sum(pid not in dead for pid in begun) <= 1, f"{name} was computed twice"
        again += len(begun) - 1
    assert again <= len(killed), "each was at one node when it was killed"
    all_is_well(directory, chains, length)


def test_every_scheduler_leaves_to_others_what_they_compute(tmp_path: Path, warm: Warm, client: Any) -> None:
    directory, log = tmp_path / "x", tmp_path / "log"
    chains, length = 6, 4
    children = [
        warm.start("crowd:grow", directory, log, chains, length, 0.05, scheduler)
        for scheduler in ("single-threaded", "threads", "processes")
    ]
    report = tree(str(directory), str(log), chains, length, 0.05).run(client)
    counts = [report.computed, *(child.result()["computed"] for child in children)]
    assert set(runs(log).values()) == {1}
    assert sum(counts) == chains * length + 3
    wait_until(lambda: not list((directory / "claims").iterdir()))
    all_is_well(directory, chains, length)


def test_nobody_waits_for_what_he_does_not_need(tmp_path: Path, warm: Warm) -> None:
    """Of two overlapping trees, the one ends while a node that only the other has is still computed; and the
    one that has both goes on with what is free."""
    directory, log, gate, other_gate = (tmp_path / name for name in ("x", "log", "gate", "other"))
    slow = warm.start("crowd:hold", directory, log, gate, "a")
    wait_until(lambda: runs(log)["a"] == 1)
    other_gate.touch()
    other = warm.start("crowd:hold", directory, log, other_gate, "b")
    assert other.result() == {"computed": 2, "cached": 1, "elsewhere": 0}
    assert slow.is_alive()
    both = warm.start("crowd:hold", directory, log, other_gate, "a", "c")
    wait_until(lambda: runs(log)["after-c"] == 1)
    assert both.is_alive()
    assert slow.is_alive()
    gate.touch()
    slow.result()
    said = both.result()
    assert said["computed"] + said["cached"] == 5
    assert set(runs(log).values()) == {1}


def test_what_another_fails_is_tried_here(tmp_path: Path, warm: Warm) -> None:
    directory, log, gate = (tmp_path / name for name in ("x", "log", "gate"))
    first = warm.start("crowd:moody", directory, log, gate)
    wait_until(lambda: runs(log)["moody"] == 1)
    second = warm.start("crowd:moody", directory, log, gate)
    wait_until(lambda: len(list(directory.glob("claims/*"))) == 2)
    gate.touch()
    assert first.result() == "ValueError: not today"
    assert second.result() == "1"
    assert runs(log)["moody"] == 2


def test_ctrl_c_ends_waiting_at_once(tmp_path: Path, warm: Warm) -> None:
    directory, log, gate = (tmp_path / name for name in ("x", "log", "gate"))
    slow = warm.start("crowd:hold", directory, log, gate, "a")
    wait_until(lambda: runs(log)["a"] == 1)
    waiting = warm.start("crowd:hold_until_interrupted", directory, log, gate, "a")
    wait_until(lambda: len(list(directory.glob("claims/*"))) == 2)
    time.sleep(0.3)  # nothing tells from outside that it waits, and sooner is as good a time to interrupt it
    sent = time.time()
    waiting.interrupt()
    said = waiting.result()
    assert said["computed"] == 0
    assert said["ended"] - sent < 2
    assert len(list((directory / "claims").iterdir())) == 1
    gate.touch()
    slow.result()


@pytest.mark.parametrize("scheduler", ["single-threaded", "threads"])
def test_what_one_claimed_whose_machine_is_gone_is_taken_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, scheduler: str
) -> None:
    """Only after the lease, and only after all that can be done without it."""
    monkeypatch.setattr(FolderBoard, "lease_s", 1.0)
    exp = dg.Experiment(tmp_path / "x", state_class=Number)
    log = str(tmp_path / "log")
    root = exp.spawn_new_tree(start=1)
    claimed = Mark(name="claimed", log=log)(root)
    Mark(name="below", log=log)(claimed)
    Mark(name="beside", log=log)(root)
    value(claimed)
    far = tmp_path / "x" / "claims" / "far-1-00000000.0.run.jsonl"
    far.parent.mkdir(parents=True)
    who = {"host": "far.away", "boot": "b", "space": "s", "pid": 1, "started": 5, "since": 1.0}
    far.write_text(f"{json.dumps(who)}\n{json.dumps({'holds': [claimed.key], 'wants': []})}\n")
    caplog.set_level(logging.INFO, "dagtree")
    died: list[float] = []

    def live() -> None:
        """As long as the run hasn't begun to wait."""
        while "waiting for 1 node that process 1 on far.away computes" not in caplog.messages:
            with far.open("a") as file:
                file.write("\n")
            time.sleep(0.02)
        died.append(time.monotonic())

    thread = threading.Thread(target=live)
    thread.start()
    report = exp.run(scheduler)
    thread.join()
    assert time.monotonic() - died[0] > 0.5
    assert (report.computed, report.cached, report.elsewhere, report.functions) == (4, 0, 0, 1)
    assert [name for _, name, _ in lines_of(tmp_path / "log")][:2] == ["beside", "beside"]
    assert list((tmp_path / "x" / "claims").iterdir()) == []
    assert str(report).startswith("computed 4, 0 cached")


def test_a_report_says_what_others_did(tmp_path: Path, warm: Warm) -> None:
    directory, log, gate = (tmp_path / name for name in ("x", "log", "gate"))
    child = warm.start("crowd:hold", directory, log, gate, "a")
    wait_until(lambda: runs(log)["a"] == 1)
    exp = dg.Experiment(directory, state_class=Number)
    Add()(Hold(name="a", log="", gate="")(exp.spawn_new_tree(start=0)))

    def open_gate() -> None:
        wait_until(lambda: len(list(directory.glob("claims/*"))) == 2)
        gate.touch()

    thread = threading.Thread(target=open_gate)
    thread.start()
    report = exp.run()
    thread.join()
    child.result()
    assert (report.computed, report.cached, report.elsewhere) == (1, 2, 1)
    assert "2 cached (1 of them computed meanwhile by other processes)" in str(report)


def test_a_run_that_finds_everything_says_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def define() -> dg.Experiment:
        exp = dg.Experiment(tmp_path, state_class=Number)
        Add()(exp.spawn_new_tree(start=1))
        return exp

    define().run()

    def fail(self: Presence) -> Presence:
        raise AssertionError("it was not needed")

    monkeypatch.setattr(Presence, "__enter__", fail)
    assert define().run().cached == 2


def test_a_run_that_finds_everything_removes_what_the_dead_left(tmp_path: Path) -> None:
    """One may be killed between its last node and its end."""

    def define() -> dg.Experiment:
        exp = dg.Experiment(tmp_path, state_class=Number)
        Add()(exp.spawn_new_tree(start=1))
        return exp

    define().run()
    who = {**presence._here(), "pid": 1, "started": -1, "since": 1.0}
    dead = tmp_path / "claims" / "host-1-00000000.0.run.jsonl"
    dead.write_text(json.dumps(who) + "\n")
    alive = tmp_path / "claims" / "far-1-00000001.0.run.jsonl"
    alive.write_text(json.dumps({**who, "boot": "b"}) + "\n")
    left = tmp_path / ".index.json.7.host-1-00000000.tmp"
    left.write_text("half")
    assert define().run().cached == 2
    assert [path.name for path in (tmp_path / "claims").iterdir()] == [alive.name]
    assert not left.exists()


def test_a_run_waits_while_somebody_frees_space(
    tmp_path: Path, warm: Warm, caplog: pytest.LogCaptureFixture
) -> None:
    directory = tmp_path / "x"
    with Presence(directory, "free") as freeing:
        child = warm.start("crowd:grow", directory, tmp_path / "log", 1, 1, 0.0)
        wait_until(lambda: freeing.others())
        assert not (tmp_path / "log").exists()
    assert child.result()["computed"] == 4


def test_a_run_within_a_recipe_does_not_wait_for_its_own_process(tmp_path: Path) -> None:
    """What the outer run has claimed ahead is left to the inner one."""

    class Inner(dg.Recipe):
        def run(self, state: Number) -> Number:
            inner = dg.Experiment(tmp_path, state_class=Number)
            root = inner.spawn_new_tree(start=1)
            state.value = Add(amount=50)(root).get().value
            return state

    exp = dg.Experiment(tmp_path, state_class=Number)
    root = exp.spawn_new_tree(start=1)
    for amount in range(20):
        Add(amount=amount)(root)
    inner = Inner()(root)
    for amount in range(30, 60):
        Add(amount=amount)(root)
    report = exp.run()
    assert inner.get().value == 51
    assert report.computed + report.cached == 52
