"""The experiment: run as a script, or from a notebook."""

import sys

from lab import settings, steps
from lab.state import State

import dagtree as dg

FACTOR = 3
settings.options.depth = 3


def scaled(value, by=FACTOR):
    return value * by


class Scale(dg.Recipe):
    times: int = 2

    def run(self, state):
        for _ in range(self.times):
            state.values = [scaled(value) for value in state.values]
        return state


def define(directory):
    exp = dg.Experiment(directory, state_class=State)
    root = exp.spawn_new_tree(dataset="digits")
    warm = steps.Train(epochs=3, lr=0.1)(root)
    early = warm.at(1)
    slow = steps.Train(lr=0.01)(root)
    pruned = steps.Prune(fraction=0.5)(warm)
    rewound = steps.Rewind()(pruned, early)
    tuned = steps.Train(epochs=2)(rewound)
    quantized = steps.Quantize()(warm)
    noisy = steps.Noise(amount=0.5)(slow)
    averaged = steps.Average()(warm, slow)
    scored = steps.Score()(averaged)
    scaled = Scale()(root)
    return {
        "root": root,
        "warm": warm,
        "early": early,
        "slow": slow,
        "pruned": pruned,
        "rewound": rewound,
        "tuned": tuned,
        "quantized": quantized,
        "noisy": noisy,
        "averaged": averaged,
        "scored": scored,
        "scaled": scaled,
    }


if __name__ == "__main__":
    nodes = define(sys.argv[1])
