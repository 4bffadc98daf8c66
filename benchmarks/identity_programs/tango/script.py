"""The experiment: run as a script, or from a notebook."""

import os

import tango
from lab import settings, steps
from ran import ran
from tango.workspaces import LocalWorkspace

FACTOR = 3
settings.options.depth = 3


def scaled(value, by=FACTOR):
    return value * by


@tango.Step.register("scale")
class Scale(tango.Step):
    def run(self, state, times: int = 2):
        state = ran(state, "scale")
        for _ in range(times):
            state.values = [scaled(value) for value in state.values]
        return state


def define(workspace):
    root = steps.Make(dataset="digits")
    warm = steps.Train(state=root, epochs=3, lr=0.1)
    early = steps.Train(state=root, epochs=1, lr=0.1)
    slow = steps.Train(state=root, lr=0.01)
    pruned = steps.Prune(state=warm, fraction=0.5)
    rewound = steps.Rewind(state=pruned, early=early)
    tuned = steps.Train(state=rewound, epochs=2)
    quantized = steps.Quantize(state=warm)
    noisy = steps.Noise(state=slow, amount=0.5)
    averaged = steps.Average(state=warm, other=slow)
    scored = steps.Score(state=averaged)
    scaled = Scale(state=root)
    made = {
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
    return made, {name: step.result(workspace) for name, step in made.items()}


if __name__ == "__main__":
    workspace = LocalWorkspace(os.environ["LAB_CACHE"])
    made, nodes = define(workspace)
