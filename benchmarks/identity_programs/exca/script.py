"""The experiment: run as a script, or from a notebook."""

import os

import exca
from lab import settings, steps
from ran import ran

FACTOR = 3
settings.options.depth = 3


def scaled(value, by=FACTOR):
    return value * by


class Scale(steps.Task):
    state: steps.Task
    times: int = 2
    infra: exca.TaskInfra = exca.TaskInfra(folder=os.environ["LAB_CACHE"])

    @infra.apply
    def run(self):
        state = ran(self.state.run(), "scale")
        for _ in range(self.times):
            state.values = [scaled(value) for value in state.values]
        return state


def define():
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
    return made, {name: step.run() for name, step in made.items()}


if __name__ == "__main__":
    made, nodes = define()
