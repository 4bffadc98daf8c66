"""An interrupted run goes on from its last safe point, with the bits that it would have had; nothing but
`self.steps` is needed for that. Then `extends`: more epochs go on where fewer have ended.

Here a recipe presses Ctrl-C on itself in its sixth epoch. Its second run begins with that epoch, with the
momentum, the best weights so far and the random numbers of the first.

    python examples/interrupted.py [directory]
"""

from __future__ import annotations

import random
import sys
from pathlib import Path

import dagtree as dg


class Line(dg.ExperimentState):
    NONHASHED_ATTRIBUTES = ["weights"]

    def initialize_state(self, **properties):
        self.weights = [0.0, 0.0]


class Train(dg.Recipe):
    """Fits a line through noisy points by gradient descent with momentum."""

    extends = "epochs"
    ignores = ("trap",)
    epochs: int
    trap: str = ""

    def run(self, state):
        momentum, best = [0.0, 0.0], (float("inf"), None)
        for epoch in self.steps(range(self.epochs)):
            print("epoch", epoch)
            if self.trap and epoch == 5 and Path(self.trap).exists():
                Path(self.trap).unlink()
                raise KeyboardInterrupt
            x = random.uniform(-1, 1)
            error = state.weights[0] + state.weights[1] * x - (2 - 3 * x + random.gauss(0, 0.1))
            momentum = [0.8 * m + g for m, g in zip(momentum, (error, error * x), strict=True)]
            state.weights = [w - 0.1 * m for w, m in zip(state.weights, momentum, strict=True)]
            best = min(best, (abs(error), list(state.weights)))
            yield {"error": abs(error)}
        state.weights = best[1]


def main(directory="runs/interrupted"):
    whole = dg.Experiment(f"{directory}/whole", state_class=Line)
    undisturbed = Train(epochs=12)(whole.spawn_new_tree()).get()

    trap = Path(directory) / "trap"
    trap.touch()
    exp = dg.Experiment(f"{directory}/tree", state_class=Line, moments="all")
    root = exp.spawn_new_tree()
    trained = Train(epochs=12, trap=str(trap))(root)
    try:
        exp.run()
    except dg.RunInterrupted as interrupted:
        print(interrupted)
    print("the second run:")
    exp.run()
    print("the same bits:", trained.get().weights == undisturbed.weights)

    print("three epochs more:")
    Train(epochs=15)(root).get()


if __name__ == "__main__":
    main(*sys.argv[1:])
