"""SIGKILL at any instant of evict, drop or keep leaves a whole experiment, and the next call ends it; in a
directory and in a bucket."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fsspec.implementations.memory import MemoryFileSystem

import dagtree as dg
from dagtree.storage import freeing
from place import Place, new_place

TESTS = Path(__file__).parents[1]

KILL = '''
import os, pickle, signal, sys
from pathlib import Path
import numpy as np
import dagtree as dg
from dagtree.storage import freeing
from dagtree.storage.bucket import Bucket
from dagtree.storage.presence import Presence
from place import Place

freeing.LEAST_BYTES = freeing._LINE_BYTES = 1  # move whatever can be moved

class Model(dg.ExperimentState):
    NONHASHED_ATTRIBUTES = ["layers", "small"]
    def initialize_state(self, **properties):
        self.layers = [np.random.default_rng(n).integers(1, 99, 70_000, np.uint8) for n in range(4)]
        self.small = np.arange(100)

class Change(dg.Recipe):
    which: int
    def run(self, state):
        print("changing", self.which)
        layer, mask = state.layers[self.which % 4], np.arange(70_000) % 3 == 0
        state.layers[self.which % 4] = layer + 10 if self.which < 3 else layer * mask
        state.small = state.small + 1
        return state

def held_of(state):
    return [*(layer.tobytes() for layer in state.layers), state.small.tobytes()]

def define(directory):
    exp = dg.Experiment(directory, Model)
    nodes = [exp.spawn_new_tree()]
    for which in range(5):
        with exp.tag("keep" if which == 4 else "other"):
            nodes.append(Change(which=which)(nodes[-1]))
    return exp, nodes

ACTS = {
    "evict": lambda exp, nodes: exp.evict(nodes[:3]),
    "drop": lambda exp, nodes: exp.drop(nodes[2]),
    "keep": lambda exp, nodes: exp.keep(150_000),
}
EXPECTED = {
    "evict": ["evicted"] * 3 + ["done"] * 3,
    "drop": ["done"] * 2 + ["evicted"] * 3 + ["done"],
    "keep": ["done"] + ["evicted"] * 4 + ["done"],
}

def kill_at(instant):
    """Dies within the call of that number: before it, or, of a write, when half of it is written. Counts once
    it has said that it frees space."""
    count, enter = -1, Presence.__enter__
    def entered(self):
        nonlocal count
        enter(self)
        count = 0
        return self
    Presence.__enter__ = entered
    def deadly(call, is_write=False):
        def step(*arguments, **named):
            nonlocal count
            count += count >= 0
            if count == instant:
                if is_write:
                    call(arguments[0], memoryview(arguments[1]).cast("B")[: len(arguments[1]) // 2])
                os.kill(os.getpid(), signal.SIGKILL)
            return call(*arguments, **named)
        return step
    os.write = deadly(os.write, True)
    for name in ("replace", "unlink", "fsync", "rmdir", "link"):
        setattr(os, name, deadly(getattr(os, name)))
    if not isinstance(where, Path):
        import s3fs
        os.write = write
        Bucket.write = deadly(Bucket.write)
        remove, step = s3fs.S3FileSystem._rm_file, deadly(lambda: None)
        async def remove_or_die(self, path, **named):
            step()
            return await remove(self, path, **named)
        s3fs.S3FileSystem._rm_file = remove_or_die

def look(directory, held):
    """Every node that is claimed to be there is whole; what the nodes are."""
    exp = dg.Experiment.restore(directory, Model)
    verified = exp.verify()
    assert verified.faults == (), str(verified)
    found = {node.key: node for node in exp.graph.nodes}
    for node in found.values():
        if node.status == "done":
            assert held_of(node.restore()) == held[node.key], node
    return {key: node.status for key, node in found.items()}, verified

act, scratch = sys.argv[1], Path(sys.argv[2])
write = os.write
where = f"{sys.argv[3]}/{act}" if sys.argv[3:] else scratch
def place_of(name):
    return where / name if isinstance(where, Path) else f"{where}/{name}"
maker = os.fork()
if not maker:  # a process of its own, so that its pack is nobody's afterwards
    exp, nodes = define(place_of("made"))
    exp.run()
    held = {node.key: held_of(node.get()) for node in nodes}
    (scratch / "held").write_bytes(pickle.dumps(held))
    os._exit(0)
os.waitpid(maker, 0)
held = pickle.loads((scratch / "held").read_bytes())
instant = kills = 0
seen, sizes = set(), []

made = Place(place_of("made")).contents()

while True:
    instant += 1
    directory = place_of(f"copy{instant}")
    copy = Place(directory)
    for name, content in made.items():
        copy.write(name, content)
    sys.stdout.flush()
    child = os.fork()
    if not child:
        kill_at(instant)
        exp, nodes = define(directory)
        ACTS[act](exp, nodes)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    if os.WIFEXITED(status):
        assert os.WEXITSTATUS(status) == 0, "the act failed"
        assert set(sizes) == {copy.states_bytes}, "as if it had not been killed"
        break
    assert os.WTERMSIG(status) == signal.SIGKILL
    kills += 1
    statuses, _ = look(directory, held)
    seen.add(tuple(statuses.get(key, "gone") for key in held))
    exp, nodes = define(directory)
    ACTS[act](exp, nodes)
    statuses, verified = look(directory, held)
    assert [statuses[node.key] for node in nodes] == EXPECTED[act], (instant, statuses)
    assert verified.orphaned_bytes == 0, (instant, str(verified))
    sizes.append(copy.states_bytes)
    assert exp.run().ok
    assert held_of(nodes[3].get()) == held[nodes[3].key]
    look(directory, held)
    copy.remove()
print("kills", kills, "states", len(seen))
'''


def killed(tmp_path: Path, act: str, *url: str) -> tuple[int, int]:
    """How many times it was killed, and how many different outcomes that had."""
    script = tmp_path / "kill.py"
    script.write_text(KILL)
    credentials = {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
    done = subprocess.run(
        [sys.executable, "-W", "error", str(script), act, str(tmp_path), *url],
        cwd=TESTS.parent,
        env={
            "PYTHONPATH": f"{TESTS.parent}{os.pathsep}{TESTS}",
            "PATH": "",
            "OMP_NUM_THREADS": "1",
            "DAGTREE_CACHE": "off",
            **credentials,
        },
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    kills, states = map(int, done.stdout.split("kills ")[1].replace("states", "").split())
    return kills, states


needs_sigkill = pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="there is no SIGKILL here")


@needs_sigkill
@pytest.mark.parametrize("act", ["evict", "drop", "keep"])
def test_a_kill_at_any_instant_leaves_a_whole_experiment(tmp_path: Path, act: str) -> None:
    kills, states = killed(tmp_path, act)
    assert kills >= 15
    assert states >= 2, "some kills came before it counted, and some after"


@needs_sigkill
@pytest.mark.stress
@pytest.mark.parametrize("act", ["evict", "drop", "keep"])
def test_a_kill_between_any_two_requests_leaves_a_whole_experiment(tmp_path: Path, act: str, s3: str) -> None:
    kills, states = killed(tmp_path, act, f"{s3}/kills/{tmp_path.name}")
    assert kills >= 4
    assert states >= 2


class Model(dg.ExperimentState):
    NONHASHED_ATTRIBUTES = ["layers", "small"]

    def initialize_state(self, **properties: Any) -> None:
        self.layers = [np.full(70_000, n, np.uint8) for n in range(4)]
        self.small = np.arange(100)


class Change(dg.Recipe):
    which: int

    def run(self, state: Any) -> Any:
        state.layers[self.which % 4] = state.layers[self.which % 4] + 10
        state.small = state.small + 1
        return state


class Killed(BaseException):
    """Nothing that the process would have done after this happens."""


def define(place: Place) -> tuple[dg.Experiment, list[Any]]:
    exp = dg.Experiment(place.location, Model)
    nodes: list[Any] = [exp.spawn_new_tree()]
    for which in range(5):
        with exp.tag("keep" if which == 4 else "other"):
            nodes.append(Change(which=which)(nodes[-1]))
    return exp, nodes


def content(state: Any) -> list[bytes]:
    return [*(layer.tobytes() for layer in state.layers), state.small.tobytes()]


ACTS: dict[str, tuple[Callable[[dg.Experiment, list[Any]], Any], list[str]]] = {
    "evict": (lambda exp, nodes: exp.evict(nodes[:3]), ["evicted"] * 3 + ["done"] * 3),
    "drop": (lambda exp, nodes: exp.drop(nodes[2]), ["done"] * 2 + ["evicted"] * 3 + ["done"]),
    "keep": (lambda exp, nodes: exp.keep(150_000), ["done"] + ["evicted"] * 4 + ["done"]),
}


@pytest.mark.parametrize("act", ACTS)
def test_an_end_before_any_request_leaves_a_whole_experiment(
    act: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the kills, in memory: all objects and requests, and no process that must be started."""
    monkeypatch.setattr(freeing, "LEAST_BYTES", 1)
    monkeypatch.setattr(freeing, "_LINE_BYTES", 1)
    do, expected = ACTS[act]
    made = new_place("memory", request)
    exp, nodes = define(made)
    exp.run()
    held = {node.key: content(node.get()) for node in nodes}
    left, seen, ends = [10**9], set(), set()

    def deadly(call: Any) -> Any:
        def step(*arguments: Any, **named: Any) -> Any:
            left[0] -= 1
            if left[0] < 0:
                raise Killed
            return call(*arguments, **named)

        return step

    def look(place: Place) -> list[str]:
        again = dg.Experiment.restore(place.location, Model)
        assert again.verify().faults == ()
        found = {node.key: node for node in again.graph.nodes}
        for node in found.values():
            if node.status == "done":
                assert content(node.restore()) == held[node.key]
        return [found[key].status if key in found else "gone" for key in held]

    for name in ("pipe_file", "rm_file"):
        monkeypatch.setattr(MemoryFileSystem, name, deadly(getattr(MemoryFileSystem, name)))
    for instant in itertools.count():
        place = new_place("memory", request)
        for name, bytes_there in made.contents().items():
            place.write(name, bytes_there)
        exp, nodes = define(place)
        left[0] = instant
        try:
            do(exp, nodes)
        except Killed:
            is_over = False
        else:
            is_over = True
        left[0] = 10**9
        seen.add(tuple(look(place)))
        exp, nodes = define(place)
        do(exp, nodes)
        assert look(place) == expected
        assert exp.verify().orphaned_bytes == 0
        ends.add(place.states_bytes)
        assert place.names("claims/*") == []
        assert exp.run().ok
        assert content(nodes[3].get()) == held[nodes[3].key]
        if is_over:
            break
    assert instant >= 5
    assert len(seen) == 2, "it counts all at once"
    assert len(ends) == 1
