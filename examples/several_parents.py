"""A recipe with several parents: average the weights of independently trained models.

`Average()(a, b, c)` gets their states in order; its own copy of the first becomes the child.

    python examples/several_parents.py [directory]
"""

from __future__ import annotations

import random
import sys

import dagtree as dg


class Line(dg.ExperimentState):
    """y = slope * x + offset, fitted to noisy points of y = 3x - 1."""

    NONHASHED_ATTRIBUTES = ["slope", "offset"]

    def initialize_state(self, **properties):
        self.slope = self.offset = 0.0


class Fit(dg.Recipe):
    sample: int  # makes another node, and so another seed: each sample has its own points
    steps_taken: int = 300

    def run(self, state):
        points = [(x, 3 * x - 1 + random.gauss(0, 2)) for x in (random.uniform(-1, 1) for _ in range(20))]
        for _ in range(self.steps_taken):
            errors = [(state.slope * x + state.offset - y, x) for x, y in points]
            state.slope -= 0.1 * sum(error * x for error, x in errors) / len(points)
            state.offset -= 0.1 * sum(error for error, _ in errors) / len(points)
        return state


class Average(dg.Recipe):
    def run(self, state, *others):
        states = [state, *others]
        state.slope = sum(each.slope for each in states) / len(states)
        state.offset = sum(each.offset for each in states) / len(states)
        return state


@dg.function(cached=True)
def error(state):
    return {"error": abs(state.slope - 3) + abs(state.offset + 1)}


def main(directory="runs/several_parents"):
    exp = dg.Experiment(directory, state_class=Line)
    root = exp.spawn_new_tree()
    fitted = [error(Fit(sample=sample)(root)) for sample in range(8)]
    average = error(Average()(*fitted))
    exp.run()

    for node in exp.graph.nodes.where(recipe="Fit"):
        print(f"{node.label:32} off by {node.results['error']['error']:.2f}")
    merged = exp.graph.node(average.key)
    print(f"{merged.label:32} off by {merged.results['error']['error']:.2f}: {len(merged.parents)} parents")


if __name__ == "__main__":
    main(*sys.argv[1:])
