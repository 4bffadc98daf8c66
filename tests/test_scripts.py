"""A script is run again and again, each time with a branch more, on what it has kept before."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

SCRIPT = """
import sys
import dagtree as dg

class Layer:
    pruned = False

class State(dg.ExperimentState):
    NONHASHED_ATTRIBUTES = ["layers"]

    def initialize_state(self, **properties):
        self.layers = [Layer(), Layer()]

class Rest(dg.Recipe):
    def run(self, state):
        return state

class Prune(dg.Recipe):
    how: str

    def run(self, state):
        for each in state.layers:
            each.pruned = isinstance(each, Layer)
        return state

@dg.function
def pruned(state):
    return [each.pruned for each in state.layers]

if __name__ == "__main__":
    scheduler, *ways = sys.argv[1:]
    exp = dg.Experiment("tree", state_class=State)
    parent = Rest()(exp.spawn_new_tree())
    for how in ways:
        pruned(Prune(how=how)(parent))
    report = exp.run(scheduler)
    print(report.computed, *(node.results["pruned"] for node in exp.graph.nodes.where(recipe="Prune")))
    print(all(isinstance(each, Layer) for each in parent.get().layers))
"""


def run(where: Path, *arguments: str) -> list[str]:
    (where / "script.py").write_text(SCRIPT, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-W", "error", "script.py", *arguments],
        cwd=where,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.splitlines()


@pytest.mark.parametrize("scheduler", ["single-threaded", "threads", "processes"])
def test_a_class_of_the_script_is_itself_again_after_a_restore(scheduler: str, tmp_path: Path) -> None:
    """`isinstance` with a class of `__main__` says the same of a computed parent and of one that was found.

    Otherwise a recipe would silently do something else below a cached node than below a fresh one.
    """
    assert run(tmp_path, scheduler, "a") == ["3 [True, True]", "True"]
    assert run(tmp_path, scheduler, "a", "b") == ["1 [True, True] [True, True]", "True"]


MENTIONS = """
import sys
import threading
import dagtree as dg

LOCK = threading.Lock()
DATA = list(range(500_000))

class Layer:
    def weigh(self):
        return len(DATA)

class State(dg.ExperimentState):
    NONHASHED_ATTRIBUTES = ["layer"]

    def initialize_state(self, **properties):
        with LOCK:
            self.layer = Layer()

exp = dg.Experiment("tree", state_class=State)
root = exp.spawn_new_tree()
print(exp.run().computed, root.get().layer.weigh(), exp.graph.root.size_bytes < 100_000)
"""


def test_a_script_may_mention_what_cannot_be_pickled_and_much_data(tmp_path: Path) -> None:
    (tmp_path / "mentions.py").write_text(MENTIONS, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "mentions.py"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.stdout.split() == ["1", "500000", "True"], done.stderr
    looks = "import dagtree as dg\ndg.Experiment.restore('tree').graph.root.restore()"
    other = subprocess.run(
        [sys.executable, "-c", looks],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert "CodeNotFoundError" in other.stderr
