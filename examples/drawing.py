"""Draw the tree: recipes and properties on the edges; tags, status and metrics at the nodes.

SVG is drawn by dagtree itself, and so is the page `tree.html`, where one folds, searches, colours, clicks and
compares. `to_graphviz()` and `to_networkx()` hand the tree to other programs.

    python examples/drawing.py [directory]
"""

from __future__ import annotations

import math
import sys
from pathlib import Path

import dagtree as dg


class Signal(dg.ExperimentState):
    PROPERTIES = ["samples"]
    NONHASHED_ATTRIBUTES = ["values"]

    def initialize_state(self, **properties):
        self.values = [math.sin(i / 5) + math.sin(2.5 * i) for i in range(self.samples)]


class Smooth(dg.Recipe):
    width: int

    def run(self, state):
        old, width = state.values, self.width
        state.values = [sum(old[max(0, i - width) : i + 1]) / min(i + 1, width + 1) for i in range(len(old))]
        print("smoothed", len(old), "values over", width)
        return state


class Round(dg.Recipe):
    bits: int

    def run(self, state):
        state.values = [round(v * 2**self.bits) / 2**self.bits for v in state.values]
        return state


@dg.function(cached=True)
def energy(state):
    return {"energy": sum(v * v for v in state.values) / len(state.values)}


def main(directory="runs/drawing"):
    exp = dg.Experiment(directory, state_class=Signal)
    root = energy(exp.spawn_new_tree(samples=200))
    for width in (2, 4, 8):
        with exp.tag(f"width:{width}"):
            smooth = energy(Smooth(width=width)(root))
            for bits in (2, 6):
                with exp.tag("rounded", f"{bits} bits"):
                    energy(Round(bits=bits)(smooth))
    exp.run()

    print("drawn in", exp.graph.draw(Path(directory) / "tree"))
    print("to explore in a browser:", exp.graph.draw(Path(directory) / "tree.html"))
    print("for Graphviz:", len(exp.graph.to_graphviz().source.splitlines()), "lines of DOT")
    paths = exp.graph.to_networkx()
    print("for networkx:", paths.number_of_nodes(), "nodes and", paths.number_of_edges(), "edges")


if __name__ == "__main__":
    main(*sys.argv[1:])
