"""A run in the background, watched by a listener: what trackers and monitors are made of.

A listener hears of each node that is computed: when it starts, at each moment of its recipe, and how it
ended. The plan says beforehand what is missing, and how long it is likely to take.

    python examples/watching.py [directory]
"""

from __future__ import annotations

import sys

import dagtree as dg


class Point(dg.ExperimentState):
    PROPERTIES = ["start"]
    NONHASHED_ATTRIBUTES = ["x"]

    def initialize_state(self, **properties):
        self.x = self.start


class Descend(dg.Recipe):
    """Goes downhill on x², a step at a time."""

    steps_taken: int
    rate: float

    def run(self, state):
        for _ in self.steps(range(self.steps_taken)):
            state.x -= self.rate * 2 * state.x
            yield {"height": state.x**2}


class Best(dg.Listener):
    """Prints the lowest point of each node, as a tracker would log it."""

    def begin_run(self, total, cached):
        self.lowest = {}
        print(f"{total} to compute, {cached} cached")

    def report(self, event):
        height = event.metrics["height"]
        self.lowest[event.key] = min(height, self.lowest.get(event.key, height))

    def end(self, event):
        if event.key in self.lowest:
            print(f"{event.label}: lowest {self.lowest[event.key]:.1e}")


def main(directory="runs/watching"):
    exp = dg.Experiment(directory, state_class=Point)
    root = exp.spawn_new_tree(start=4.0)
    for rate in (0.1, 0.3):
        Descend(steps_taken=20, rate=rate)(root)

    run = exp.run(wait=False, listeners=[Best()])
    report = run.wait()
    print(f"computed {report.computed}, and {sum(event.kind == 'report' for event in run.events())} moments")

    Descend(steps_taken=40, rate=0.3)(root)
    print(str(exp.plan(workers=2)).splitlines()[2].strip())


if __name__ == "__main__":
    main(*sys.argv[1:])
