"""Say what dagtree can't see: a file that a recipe reads, a property that should change nothing.

A file counts by its content: another path to the same bytes is the same node, other bytes are another one.

    python examples/declared_dependencies.py [directory]
"""

from __future__ import annotations

import sys
from pathlib import Path

import dagtree as dg


class Line(dg.ExperimentState):
    NONHASHED_ATTRIBUTES = ["slope"]

    def initialize_state(self, **properties):
        self.slope = 0.0


class Fit(dg.Recipe):
    """Least squares through the origin, over points that lie in a file."""

    rounds: int = 100
    verbose: bool = False
    ignores = ("verbose",)  # `run` gets it, and no key covers it

    def run(self, state):
        points = [tuple(map(float, line.split(","))) for line in self.file.read_text().splitlines()]
        for _ in range(self.rounds):
            state.slope -= 0.01 * sum(x * (state.slope * x - y) for x, y in points)
        if self.verbose:
            print(f"slope {state.slope:.2f}")
        return state


def main(directory="runs/declared_dependencies"):
    file = Path(directory).with_suffix(".csv").absolute()
    file.parent.mkdir(parents=True, exist_ok=True)
    # Most write depends_on = ("points.csv",) into the class: a path from the file that the class is in.
    Fit.file, Fit.depends_on = file, (file,)

    def fitted(points, **more):
        file.write_text(points)
        exp = dg.Experiment(directory, state_class=Line)
        fit = Fit(**more)(exp.spawn_new_tree())
        for change in fit.explain().changes:
            print(change)
        return fit, exp.run(progress=False)

    fit, report = fitted("1,2\n2,4\n")
    print(f"first: computed {report.computed}, slope {fit.get().slope:.1f}")
    fit, report = fitted("1,2\n2,4\n", verbose=True)
    print(f"the same points, and verbose: computed {report.computed}")
    fit, report = fitted("1,3\n2,6\n", verbose=True)
    print(f"other points: computed {report.computed}")


if __name__ == "__main__":
    main(*sys.argv[1:])
