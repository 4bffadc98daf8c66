"""Workers of a cluster are killed at random during a run: every run ends, and nothing done is lost."""

from __future__ import annotations

import os
import random
import signal
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

import dagtree as dg
from dagtree.storage.lines import decode_line
from dagtree.storage.record import Record
from study import Number


class Grow(dg.Recipe):
    name: str
    seconds: float

    def run(self, state: Number) -> Number:
        import time

        time.sleep(self.seconds)
        state.value += 1
        return state


def grow(directory: Path, chains: int, length: int) -> tuple[dg.Experiment, int]:
    """The tree, and how many nodes it has."""
    exp = dg.Experiment(directory, Number)
    root = exp.spawn_new_tree(start=1)
    for chain in range(chains):
        node = root
        for step in range(length):
            node = Grow(name=f"{chain}-{step}", seconds=0.02)(node)
    return exp, 1 + chains * length


class Killer:
    """Kills a worker now and then, in a thread, ``most`` at most."""

    def __init__(self, client: Any, draw: random.Random, most: int) -> None:
        self.killed: list[int] = []
        self._client = client
        self._draw = draw
        self._most = most
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._kill)

    def __enter__(self) -> Killer:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._ended.set()
        self._thread.join()

    def _kill(self) -> None:
        while len(self.killed) < self._most and not self._ended.wait(self._draw.uniform(0.05, 0.8)):
            nannies = [nanny for nanny in self._client.cluster.workers.values() if nanny.pid]
            pid = self._draw.choice(nannies).pid if nannies else None
            if pid is not None and pid not in self.killed:
                self.killed.append(pid)
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    self.killed.pop()


def run(exp: dg.Experiment, client: Any) -> dg.Experiment:
    """A run to its end; what it says was failed, the killer did."""
    try:
        exp.run(client)
    except dg.RunError as error:
        others = [one for one in error.failures if "worker process died" not in one.message]
        assert not others, others
    return exp


def lines_of(directory: Path) -> Counter[str]:
    """How often each node was written down as done."""
    lines = [line for path in (directory / "records").iterdir() for line in path.read_bytes().splitlines()]
    records = [record for line in lines if isinstance(record := decode_line(line), Record)]
    return Counter(record.key for record in records if record.status == "done")


def storm(directory: Path, client: Any, seed: int, chains: int, length: int, most: int) -> tuple[int, int]:
    """How many workers were killed, and how many runs the tree took."""
    exp, count = grow(directory, chains, length)
    with Killer(client, random.Random(seed), most) as killer:
        run(exp, client)
    runs = 1
    while (there := len(exp.graph.nodes.where(status="done"))) < count:
        exp, _ = grow(directory, chains, length)
        report = exp.run(client)
        assert (report.computed, report.cached) == (count - there, there)
        runs += 1
        assert runs < 4
    assert set(lines_of(directory).values()) == {1}, "a node that was done was computed again"
    values = Counter(node.restore().value for node in exp.graph.nodes)
    assert values == {1: 1, **dict.fromkeys(range(2, length + 2), chains)}
    return len(killer.killed), runs


def test_a_run_whose_workers_are_killed_at_random_ends_and_loses_nothing(tmp_path: Path, mortal: Any) -> None:
    killed, _ = storm(tmp_path / "tree", mortal, seed=1, chains=6, length=6, most=2)
    assert killed


@pytest.mark.stress
def test_twenty_runs_of_two_hundred_nodes_end_and_lose_nothing(tmp_path: Path, mortal: Any) -> None:
    said = []
    for seed in range(20):
        said.append(storm(tmp_path / str(seed), mortal, seed, chains=20, length=10, most=4))
        print(f"tree {seed}: {said[-1][0]} killed, {said[-1][1]} runs", flush=True)
    assert sum(killed for killed, _ in said) >= 20
