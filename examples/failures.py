"""When a recipe fails, its node fails, what hangs below is skipped, and everything else finishes.

One error at the end holds them all. The next run finds what was done, and tries again only what failed.

    python examples/failures.py [directory]
"""

from __future__ import annotations

import sys
from pathlib import Path

import dagtree as dg


class Number(dg.ExperimentState):
    PROPERTIES = ["value"]
    NONHASHED_ATTRIBUTES = ["result"]

    def initialize_state(self, **properties):
        self.result = float(self.value)


class Divide(dg.Recipe):
    by: float

    def run(self, state):
        state.result /= self.by
        return state


class Read(dg.Recipe):
    """Adds the number in a file, which may not be there yet."""

    file: Path

    def run(self, state):
        state.result += float(self.file.read_text())
        return state


def main(directory="runs/failures"):
    file = Path(directory) / "measured.txt"
    exp = dg.Experiment(directory, state_class=Number)
    root = exp.spawn_new_tree(value=12)
    for by in (4.0, 0.0, 3.0):
        with exp.tag(f"by:{by}"):
            Divide(by=2.0)(Divide(by=by)(root))
    Read(file=file)(root)

    try:
        exp.run()
    except dg.RunError as error:
        done = error.report
        print(f"{done.computed} computed, {done.failed} failed, {done.skipped} skipped")
        print(error)

    for node in exp.graph.nodes:
        print(f"  {node.status:8} {node.path:16} {' '.join(node.tags)}")

    file.write_text("0.5")
    try:
        exp.run()
    except dg.RunError as error:
        print(f"now {error.report.computed} computed, {error.report.failed} failed")


if __name__ == "__main__":
    main(*sys.argv[1:])
