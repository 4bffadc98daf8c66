"""Resources, retries and time limits: what a recipe asks for is no part of what a node is.

python examples/asking.py [directory]
"""

import sys
import time

import dagtree as dg


class State(dg.ExperimentState):
    NONHASHED_ATTRIBUTES = ["value"]

    def initialize_state(self, **properties):
        self.value = 0


class Train(dg.Recipe):
    epochs: int
    seconds: float = 0.0
    resources = {"memory": "100MB"}
    retries = 1

    def run(self, state):
        until = time.monotonic() + self.seconds
        while time.monotonic() < until:
            time.sleep(0.01)
        state.value += self.epochs
        return state


def main(directory="runs/asking"):
    exp = dg.Experiment(directory, State)
    root = exp.spawn_new_tree()
    trained = Train(epochs=3)(root, priority=10)
    Train(epochs=3, seconds=60)(root, timeout=0.3)
    try:
        exp.run("threads")
    except dg.RunError as error:
        print(error.failures[0].message.splitlines()[0])
    print(trained.get().value)


if __name__ == "__main__":
    main(*sys.argv[1:])
