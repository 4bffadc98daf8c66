"""Repeat an experiment: a property that only counts makes another node, and so another seed.

Nodes are seeded from their keys. The same node gives the same numbers whenever and wherever it is computed;
five repeats are five nodes.

    python examples/repeats.py [directory]
"""

from __future__ import annotations

import random
import statistics
import sys

import dagtree as dg


class Bandit(dg.ExperimentState):
    """Three slot machines; what is known of each, and what was won so far."""

    PROPERTIES = ["chances"]
    NONHASHED_ATTRIBUTES = ["wins", "tries"]

    def initialize_state(self, **properties):
        self.wins = [0] * len(self.chances)
        self.tries = [0] * len(self.chances)


class Play(dg.Recipe):
    curiosity: float  # how often a machine is chosen at random
    repeat: int
    turns: int = 500

    def run(self, state):
        known = [0.0] * len(state.chances)
        for _ in range(self.turns):
            best = known.index(max(known))
            arm = random.randrange(len(known)) if random.random() < self.curiosity else best
            state.tries[arm] += 1
            state.wins[arm] += random.random() < state.chances[arm]
            known[arm] = state.wins[arm] / state.tries[arm]
        return state


@dg.function(cached=True)
def won(state):
    return sum(state.wins)


def main(directory="runs/repeats"):
    exp = dg.Experiment(directory, state_class=Bandit)
    root = exp.spawn_new_tree(chances=(0.2, 0.4, 0.8))
    for curiosity in (0.0, 0.1, 0.5):
        for repeat in range(5):
            won(Play(curiosity=curiosity, repeat=repeat)(root))
    exp.run()
    for curiosity in (0.0, 0.1, 0.5):
        wins = [node.results["won"] for node in exp.graph.nodes.where(curiosity=curiosity)]
        mean, spread = statistics.mean(wins), statistics.stdev(wins)
        print(f"curiosity {curiosity}: {mean:.0f} ± {spread:.0f} of 500: {wins}")


if __name__ == "__main__":
    main(*sys.argv[1:])
