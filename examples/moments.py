"""A recipe that yields has moments: metrics at each of them, and states inside the edge to branch from.

`trained.at(k)` is the state after the k-th `yield`, a node like any other. Here an annealing that has got
stuck is continued from three of its moments, each time warmer.

    python examples/moments.py [directory]
"""

from __future__ import annotations

import math
import random
import sys

import dagtree as dg


def height(x: float) -> float:
    """A valley with many smaller ones in it; the lowest point is near x = -0.5."""
    return x * x + 10 * math.sin(3 * x) + 10


class Ball(dg.ExperimentState):
    PROPERTIES = ["start"]
    NONHASHED_ATTRIBUTES = ["x"]

    def initialize_state(self, **properties):
        self.x = self.start


class Anneal(dg.Recipe):
    rounds: int
    warmth: float

    def run(self, state):
        for number in self.steps(range(self.rounds)):
            temperature = self.warmth / (1 + number)
            for _ in range(200):
                there = state.x + random.gauss(0, 0.3)
                rise = height(there) - height(state.x)
                if rise < 0 or random.random() < math.exp(-rise / temperature):
                    state.x = there
            yield {"height": height(state.x), "temperature": temperature}


def main(directory="runs/moments"):
    exp = dg.Experiment(directory, state_class=Ball)
    root = exp.spawn_new_tree(start=6.0)
    cold = Anneal(rounds=8, warmth=1.0)(root)
    for k in (1, 4, 8):
        with exp.tag(f"from:{k}"):
            Anneal(rounds=8, warmth=20.0)(cold.at(k))
    exp.run()

    heights = [entry["values"]["height"] for entry in exp.graph.node(cold.key).history]
    print("height after each round, cold:", " ".join(f"{each:.1f}" for each in heights))
    for warm in exp.graph.nodes.filter("from:*").where(recipe="Anneal", warmth=20.0):
        print(f"{warm.path:24} {' '.join(warm.tags):8} ends at height {warm.metrics['height']:.2f}")


if __name__ == "__main__":
    main(*sys.argv[1:])
