"""Replicates: one definition stands for a branch a seed, and is shown as one with its interval.

Within `with exp.replicate("seed", …)` a recipe that takes the seed, and isn't given it, stands for
one with each value.
Needs `pip install 'dagtree[analysis]'`.

    python examples/replicates.py [directory]
"""

from __future__ import annotations

import random
import sys

import dagtree as dg


class Walk(dg.ExperimentState):
    NONHASHED_ATTRIBUTES = ["height"]

    def initialize_state(self, **properties):
        self.height = 0.0


class Climb(dg.Recipe):
    stride: float
    seed: int
    steps_taken: int = 20

    def run(self, state):
        chance = random.Random(self.seed)
        for _ in self.steps(range(self.steps_taken)):
            state.height += self.stride * chance.uniform(-0.5, 1)
            yield {"so_far": state.height}


class Slip(dg.Recipe):
    depth: float

    def run(self, state):
        state.height -= self.depth * random.uniform(0.8, 1.2)
        return state


@dg.function(cached=True)
def height(state):
    return state.height


def main(directory="runs/replicates"):
    exp = dg.Experiment(directory, state_class=Walk)
    root = exp.spawn_new_tree()
    with exp.replicate("seed", range(6)):
        for stride in (1.0, 2.0):
            climbed = height(Climb(stride=stride)(root))
            height(Slip(depth=1.0)(climbed))
    exp.run()

    graph = exp.graph
    print(graph.to_text(by="seed"))
    top, slipped = graph.nodes.path("Climb[stride=2]"), graph.nodes.path("Climb[stride=2]/Slip")
    print("lost by slipping:", top.difference(slipped, "height"))
    print("gained by longer strides:", top.difference(graph.nodes.path("Climb[stride=1]"), "height"))
    print(graph.nodes.where(recipe="Slip").table(over="seed")[["Climb.stride", "height", "height.n"]])
    print("drawn in", graph.draw(f"{directory}/tree", by="seed"))


if __name__ == "__main__":
    main(*sys.argv[1:])
