"""SIGKILL at any instant of evict, drop or keep leaves a whole experiment, and the next call ends it."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]

KILL = '''
import os, pickle, shutil, signal, sys
from pathlib import Path
import numpy as np
import dagtree as dg
from dagtree.storage import freeing
from dagtree.storage.presence import Presence

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

def content(state):
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

def look(directory, held):
    """Every node that is claimed to be there is whole; what the nodes are."""
    exp = dg.Experiment.restore(directory, Model)
    verified = exp.verify()
    assert verified.faults == (), str(verified)
    found = {node.key: node for node in exp.graph.nodes}
    for node in found.values():
        if node.status == "done":
            assert content(node.restore()) == held[node.key], node
    return {key: node.status for key, node in found.items()}, verified

act, scratch = sys.argv[1], Path(sys.argv[2])
maker = os.fork()
if not maker:  # a process of its own, so that its pack is nobody's afterwards
    exp, nodes = define(scratch / "made")
    exp.run()
    held = {node.key: content(node.get()) for node in nodes}
    (scratch / "held").write_bytes(pickle.dumps(held))
    os._exit(0)
os.waitpid(maker, 0)
held = pickle.loads((scratch / "held").read_bytes())
instant = kills = 0
seen, sizes = set(), []

def states_on_disk(directory):
    return sum(path.stat().st_size for path in directory.glob("[pt]*/**/*") if path.is_file())

while True:
    instant += 1
    directory = scratch / f"copy{instant}"
    shutil.copytree(scratch / "made", directory)
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
        assert set(sizes) == {states_on_disk(directory)}, "as if it had not been killed"
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
    sizes.append(states_on_disk(directory))
    assert exp.run().ok
    assert content(nodes[3].get()) == held[nodes[3].key]
    look(directory, held)
    shutil.rmtree(directory)
print("kills", kills, "states", len(seen))
'''


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="there is no SIGKILL here")
@pytest.mark.parametrize("act", ["evict", "drop", "keep"])
def test_a_kill_at_any_instant_leaves_a_whole_experiment(tmp_path: Path, act: str) -> None:
    script = tmp_path / "kill.py"
    script.write_text(KILL)
    done = subprocess.run(
        [sys.executable, "-W", "error", str(script), act, str(tmp_path)],
        cwd=TESTS.parent,
        env={"PYTHONPATH": str(TESTS.parent), "PATH": "", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    kills, states = map(int, done.stdout.split("kills ")[1].replace("states", "").split())
    assert kills >= 15
    assert states >= 2, "some kills came before it counted, and some after"
