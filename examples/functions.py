"""Functions read states and add no node; what they return is recorded at the node, without changing its key.

A plain `@dg.function` runs at every `exp.run()`, also on nodes that were found. With `cached=True` it runs
once for each node and each version of its code.

    python examples/functions.py [directory]
"""

from __future__ import annotations

import sys

import dagtree as dg


class Series(dg.ExperimentState):
    PROPERTIES = ["length"]
    NONHASHED_ATTRIBUTES = ["numbers"]

    def initialize_state(self, **properties):
        self.numbers = list(range(1, self.length + 1))


class Power(dg.Recipe):
    exponent: int

    def run(self, state):
        state.numbers = [n**self.exponent for n in state.numbers]
        return state


@dg.function
def show(state):
    print("  looking at", state.numbers)


@dg.function(cached=True)
def moments(state):
    print("  computing the moments of", state.numbers)
    mean = sum(state.numbers) / len(state.numbers)
    return {"mean": mean, "variance": sum((n - mean) ** 2 for n in state.numbers) / len(state.numbers)}


def main(directory="runs/functions"):
    exp = dg.Experiment(directory, state_class=Series)
    root = exp.spawn_new_tree(length=5)
    for exponent in (1, 2, 3):
        show(moments(Power(exponent=exponent)(root)))  # a function returns its promise, so that calls chain

    print("the first run:")
    exp.run()
    print("the second run:")
    exp.run()
    for node in exp.graph.nodes.where(recipe="Power"):
        print(f"{node.label}: {node.results['moments']}")


if __name__ == "__main__":
    main(*sys.argv[1:])
