"""One tree on four schedulers: the same keys, and bit for bit the same states.

Dask does the scheduling. Every node is seeded from its key, so neither order nor place changes a number. With
processes, a script needs `if __name__ == "__main__"`, since the workers import it.

    python examples/schedulers.py [directory]
"""

from __future__ import annotations

import random
import sys
import time
from pathlib import Path

import dagtree as dg


class Estimate(dg.ExperimentState):
    NONHASHED_ATTRIBUTES = ["hits", "throws"]

    def initialize_state(self, **properties):
        self.hits = self.throws = 0


class Throw(dg.Recipe):
    """Darts at a square; those inside the circle tell what pi is."""

    darts: int
    arm: int

    def run(self, state):
        state.hits += sum(random.random() ** 2 + random.random() ** 2 < 1 for _ in range(self.darts))
        state.throws += self.darts
        return state


def pi_of(directory: Path, scheduler) -> None:
    exp = dg.Experiment(directory, state_class=Estimate)
    root = exp.spawn_new_tree()
    arms = [Throw(darts=20_000, arm=arm)(Throw(darts=20_000, arm=arm)(root)) for arm in range(6)]
    began = time.perf_counter()
    exp.run(scheduler=scheduler)
    seconds = time.perf_counter() - began
    states = [promise.get() for promise in arms]
    pi = 4 * sum(s.hits for s in states) / sum(s.throws for s in states)
    hits = [state.hits for state in states]
    print(f"{directory.name:16} {hits} pi = {pi:.6f}  {arms[-1].key[:8]}  {seconds:.1f} s")


def main(directory="runs/schedulers"):
    for scheduler in ("single-threaded", "threads", "processes"):
        pi_of(Path(directory) / scheduler, scheduler)

    from distributed import Client, LocalCluster

    # The address of a scheduler works as well: that of a SLURM cluster, say.
    with LocalCluster(n_workers=2, dashboard_address=":0") as cluster, Client(cluster) as client:
        pi_of(Path(directory) / "cluster", client)


if __name__ == "__main__":
    main(*sys.argv[1:])
