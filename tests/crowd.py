"""A tree for several processes at once, in which each run of a recipe leaves a line in a file."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import numpy as np

import dagtree as dg
from dagtree.storage import local
from dagtree.storage.record import Record
from study import Number, Sum

LARGE = 20_000  # numbers: enough for a file of tensors of their own


class Mark(dg.Recipe):
    """Adds to the value, and says in a file when it begins and when it ends."""

    name: str
    log: str
    seconds: float = 0.0
    large: bool = False

    ignores = ("log", "seconds")

    def run(self, state: Number) -> Number:
        write_line(self.log, f"begin {self.name}")
        if self.seconds:
            time.sleep(self.seconds)
        state.value += 1
        if self.large:
            state.draws = np.full(LARGE, state.value)
        write_line(self.log, f"end {self.name}")
        return state


def write_line(path: str, text: str) -> None:
    """A line with this process's number, in one piece."""
    fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(fd, f"{text} {os.getpid()}\n".encode())
    os.close(fd)


def lines_of(path: Path) -> list[tuple[str, str, int]]:
    """What happened, to which node, in which process."""
    if not path.exists():
        return []
    found = [line.split() for line in path.read_text().splitlines()]
    return [(what, name, int(pid)) for what, name, pid in found]


def tree(
    directory: str, log: str, chains: int, length: int, seconds: float, large: bool = False
) -> dg.Experiment:
    """A root, chains of Mark from it, and the sum of all their ends."""
    exp = dg.Experiment(directory, state_class=Number)
    root = Mark(name="root", log=log, seconds=seconds)(exp.spawn_new_tree(start=0))
    ends = []
    for chain in range(chains):
        node = root
        for step in range(length):
            node = Mark(name=f"{chain}.{step}", log=log, seconds=seconds, large=large)(node)
        ends.append(node)
    Sum()(*ends)
    return exp


def grow(
    directory: str,
    log: str,
    chains: int,
    length: int,
    seconds: float,
    scheduler: str = "single-threaded",
    large: bool = False,
) -> dict[str, Any]:
    """Run the tree; what the report counts."""
    report = tree(directory, log, chains, length, seconds, large).run(scheduler, workers=2)
    return {"computed": report.computed, "cached": report.cached, "elsewhere": report.elsewhere}


class Hold(dg.Recipe):
    """Goes on when a file is there."""

    name: str
    log: str
    gate: str

    ignores = ("log", "gate")

    def run(self, state: Number) -> Number:
        write_line(self.log, f"begin {self.name}")
        while not Path(self.gate).exists():
            time.sleep(0.005)
        write_line(self.log, f"end {self.name}")
        return state


class Moody(dg.Recipe):
    """Fails in the process that comes first, when a file is there."""

    log: str
    gate: str

    ignores = ("log", "gate")

    def run(self, state: Number) -> Number:
        write_line(self.log, "begin moody")
        if lines_of(Path(self.log))[0][2] == os.getpid():
            while not Path(self.gate).exists():
                time.sleep(0.005)
            raise ValueError("not today")
        state.value = 42
        return state


def hold(directory: str, log: str, gate: str, *names: str) -> dict[str, Any]:
    """Run a tree of a root and a Hold for each name."""
    exp = dg.Experiment(directory, state_class=Number)
    root = exp.spawn_new_tree(start=0)
    for name in names:
        Mark(name=f"after {name}".replace(" ", "-"), log=log)(Hold(name=name, log=log, gate=gate)(root))
    report = exp.run()
    return {"computed": report.computed, "cached": report.cached, "elsewhere": report.elsewhere}


def moody(directory: str, log: str, gate: str) -> str:
    """Run a tree with a Moody in it; what came of it."""
    exp = dg.Experiment(directory, state_class=Number)
    Moody(log=log, gate=gate)(exp.spawn_new_tree(start=0))
    try:
        return str(exp.run().computed)
    except dg.RunError as error:
        return error.failures[0].message


def hold_until_interrupted(directory: str, log: str, gate: str, name: str) -> dict[str, Any]:
    """The same, and how long it took from Ctrl-C to the end."""
    try:
        hold(directory, log, gate, name)
    except dg.RunInterrupted as error:
        return {"ended": time.time(), "computed": error.report.computed}
    return {}


class Stages(dg.Recipe):
    """Has moments, of large states and small ones, and prints."""

    name: str
    count: int

    def run(self, state: Number) -> Any:
        for step in range(self.count):
            state.value += 1
            if step == 0:
                state.draws = np.full(50, state.value)
            elif step == 2:  # pruned: kept as a mask over the values of the moment before
                state.draws = state.draws * (np.arange(LARGE) % 3 == 0)
            else:
                state.draws = np.where(step == 1 or state.draws, np.arange(1, LARGE + 1) + state.value, 0)
            print("at", self.name, step)
            yield {"value": state.value}


def mixed_tree(directory: str) -> dg.Experiment:
    """Cheap nodes and large ones, moments that are wanted and some that are not, and a function."""
    exp = dg.Experiment(directory, state_class=Number)
    root = exp.spawn_new_tree(start=0)
    ends = []
    for name in "abcdef":
        with exp.tag(name):
            staged = Stages(name=name, count=4)(root)
            ends.append(Mark(name=f"{name}-end", log=os.devnull, large=True)(staged))
            for moment in (1, 2):
                node = staged.at(moment)
                for step in range(3):
                    node = Mark(name=f"{name}-{moment}-{step}", log=os.devnull, large=step == 1)(node)
    counted(Sum()(*ends))
    return exp


@dg.function
def counted(state: Number) -> int:
    return int(state.value)


def run_and_tell(directory: str, told: str, scheduler: str) -> int:
    """Run the mixed tree, and say of each node in a file when it counts as done. Every third one counts as
    one that took long."""
    write = local.LocalStore.write
    Record.seconds = property(lambda record: 2.0 * (record.position % 3 == 0))  # type: ignore[assignment]

    def tell(self: Any, record: Any, payload: Any) -> Any:
        record = write(self, record, payload)
        write_line(told, record.key)
        return record

    local.LocalStore.write = tell  # type: ignore[method-assign]
    return mixed_tree(directory).run(scheduler, workers=2).computed
