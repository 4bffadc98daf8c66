"""A tree in twenty lines: a state, two recipes, three nodes. The second run computes nothing.

python examples/first_tree.py [directory]
"""

from __future__ import annotations

import sys

import dagtree as dg


class Walker(dg.ExperimentState):
    PROPERTIES = ["start"]  # what the tree is: part of every node's key
    NONHASHED_ATTRIBUTES = ["position"]  # what recipes change: kept with every node

    def initialize_state(self, **properties):
        self.position = self.start


class Walk(dg.Recipe):
    steps_taken: int
    stride: float = 1.0

    def run(self, state):
        state.position += self.steps_taken * self.stride
        return state


class TurnBack(dg.Recipe):
    def run(self, state):
        state.position = -state.position
        return state


def main(directory="runs/first_tree"):
    exp = dg.Experiment(directory, state_class=Walker)
    root = exp.spawn_new_tree(start=10)
    near = Walk(steps_taken=2)(root)
    far = Walk(steps_taken=2, stride=5.0)(root)
    back = TurnBack()(far)
    print(f"Nothing is computed yet, but every node has its key: {back.key}")

    report = exp.run()
    print(f"Computed {report.computed} nodes, found {report.cached}.")
    for promise in (root, near, far, back):
        print(f"  {promise.label:35} position {promise.get().position}")

    again = exp.run()
    print(f"The second run computed {again.computed} nodes and found {again.cached}.")


if __name__ == "__main__":
    main(*sys.argv[1:])
