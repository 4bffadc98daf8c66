"""Open an experiment again, months later: look at it without its code, then grow it from any of its nodes.

`slim=True` reads records only: no state class, no model code, and nothing is unpickled or written.

    python examples/restore_and_extend.py [directory]
"""

from __future__ import annotations

import sys

import dagtree as dg


class Colony(dg.ExperimentState):
    PROPERTIES = ["founders"]
    NONHASHED_ATTRIBUTES = ["size"]

    def initialize_state(self, **properties):
        self.size = float(self.founders)


class Grow(dg.Recipe):
    years: int
    rate: float

    def run(self, state):
        for _ in self.steps(range(self.years)):
            state.size += self.rate * state.size * (1 - state.size / 1000)
            yield {"size": state.size}


class Storm(dg.Recipe):
    survivors: float

    def run(self, state):
        state.size *= self.survivors
        return state


def main(directory="runs/restore_and_extend"):
    exp = dg.Experiment(directory, state_class=Colony)
    root = exp.spawn_new_tree(founders=10)
    for rate in (0.2, 0.8):
        with exp.tag(f"rate:{rate}"):
            Grow(years=10, rate=rate)(root)
    exp.run()
    del exp, root

    slim = dg.Experiment.restore(directory, slim=True)
    for node in slim.graph.nodes.where(recipe="Grow"):
        print(f"{node.label}: {node.metrics['size']:.0f} after {len(node.history)} years")

    exp = dg.Experiment.restore(directory, state_class=Colony)
    best = max(exp.graph.leaves.where(recipe="Grow"), key=lambda node: node.metrics["size"])
    with exp.tag("storm"):
        recovered = Grow(years=5, rate=0.8)(Storm(survivors=0.1)(best))  # a node is a parent like any promise
    report = exp.run()
    print(f"Extended {best.label}: computed {report.computed} nodes.")
    print(f"{exp.graph.node(recovered.key).path}: {recovered.get().size:.0f}")


if __name__ == "__main__":
    main(*sys.argv[1:])
