"""The experiment: run as a script, or from a notebook."""

from lab import settings, steps
from lab.steps import memory
from ran import ran

FACTOR = 3
settings.options.depth = 3


def scaled(value, by=FACTOR):
    return value * by


@memory.cache
def scale(state, times: int = 2):
    state = ran(state, "scale")
    for _ in range(times):
        state.values = [scaled(value) for value in state.values]
    return state


def define():
    root = steps.make(dataset="digits")
    warm = steps.train(root, epochs=3, lr=0.1)
    early = steps.train(root, epochs=1, lr=0.1)
    slow = steps.train(root, lr=0.01)
    pruned = steps.prune(warm, fraction=0.5)
    rewound = steps.rewind(pruned, early)
    tuned = steps.train(rewound, epochs=2)
    quantized = steps.quantize(warm)
    noisy = steps.noise(slow, amount=0.5)
    averaged = steps.average(warm, slow)
    scored = steps.score(averaged)
    scaled = scale(root)
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
    nodes = define()
