"""Three ways to declare a recipe's properties, and what happens when a name is wrong.

Whichever way, properties are identity: another value is another node.

    python examples/own_init.py [directory]
"""

from __future__ import annotations

import sys

import dagtree as dg


class Text(dg.ExperimentState):
    words: list[str]  # states may use annotated fields, too

    NONHASHED_ATTRIBUTES = ["said"]

    def initialize_state(self, **properties):
        self.said = " ".join(self.words)


class Repeat(dg.Recipe):
    """Annotated fields: defaults, and an __init__ for free."""

    times: int
    between: str = ", "

    def run(self, state):
        state.said = self.between.join([state.said] * self.times)
        return state


class Replace(dg.Recipe):
    """A list of names: plain keywords."""

    PROPERTIES = ["old", "new"]

    def run(self, state):
        state.said = state.said.replace(self.old, self.new)
        return state


class Louder(dg.Recipe):
    """An own __init__, which may work on what it is given: what it sets are the properties."""

    PROPERTIES = ["marks"]

    def __init__(self, how_loud: str) -> None:
        self.marks = {"a bit": 1, "very": 3}[how_loud]

    def run(self, state):
        state.said = state.said.upper() + "!" * self.marks
        return state


def main(directory="runs/own_init"):
    exp = dg.Experiment(directory, state_class=Text)
    root = exp.spawn_new_tree(words=["hello", "tree"])
    repeated = Repeat(times=2)(root)
    replaced = Replace(old="tree", new="forest")(repeated)
    loud = Louder("very")(replaced)
    exp.run()
    print(loud.get().said)
    print(exp.graph.node(loud.key).properties)

    for wrong in (lambda: Repeat(time=2), lambda: Replace(old="tree"), lambda: exp.spawn_new_tree(wrods=[])):
        try:
            wrong()
        except dg.PropertyError as error:
            print(f"PropertyError: {error}")


if __name__ == "__main__":
    main(*sys.argv[1:])
