"""Tags name branches while they are defined; filters, sets and properties find them again.

Tags are labels: they are never part of a node's identity, so adding one computes nothing.

    python examples/tags_and_filters.py [directory]
"""

from __future__ import annotations

import sys

import dagtree as dg


class Model(dg.ExperimentState):
    NONHASHED_ATTRIBUTES = ["weights"]

    def initialize_state(self, **properties):
        self.weights = [0.5, -0.1, 2.0, -1.5]


class Scale(dg.Recipe):
    by: float

    def run(self, state):
        state.weights = [self.by * w for w in state.weights]
        return state


class Prune(dg.Recipe):
    below: float

    def run(self, state):
        state.weights = [w if abs(w) >= self.below else 0.0 for w in state.weights]
        return state


def main(directory="runs/tags_and_filters"):
    exp = dg.Experiment(directory, state_class=Model)
    root = exp.spawn_new_tree()
    for by in (0.1, 1.0, 10.0):
        with exp.tag(f"scale:{by}"):
            scaled = Scale(by=by)(root)
            with exp.tag("pruned"):  # tags nest: these nodes carry both
                Prune(below=1.0)(scaled)
    exp.run()

    nodes = exp.graph.nodes
    small = nodes.filter("scale:0*") | nodes.filter("scale:1.0")
    print("pruned, and scaled by at most 1:")
    for node in nodes.filter("pruned") & small:
        print(f"  {node.path:12} {' '.join(node.tags):18} {node.restore().weights}")
    print("not pruned:", [node.label for node in nodes.filter("!pruned")])
    print("by property:", [node.label for node in nodes.where(recipe="Scale", by=10.0)])
    print("leaves that are pruned:", len(exp.graph.leaves & nodes.filter("pruned")))


if __name__ == "__main__":
    main(*sys.argv[1:])
