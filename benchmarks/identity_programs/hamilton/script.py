"""The experiment: run as a script, or from a notebook."""

import os
import sys

from hamilton import driver
from hamilton.function_modifiers import parameterize, source
from lab import settings, steps
from lab.state import State
from ran import ran

FACTOR = 3
settings.options.depth = 3


def _scaled(value, by=FACTOR):
    return value * by


@parameterize(scaled={"state": source("root")})
def scale(state: State, times: int = 2) -> State:
    state = ran(state, "scale")
    for _ in range(times):
        state.values = [_scaled(value) for value in state.values]
    return state


def _define(names, *modules):
    cached = driver.Builder().with_modules(steps, *modules).with_cache(path=os.environ["LAB_CACHE"]).build()
    return cached.execute(names, inputs={"dataset": "digits"})


if __name__ == "__main__":
    nodes = _define(
        [
            "root",
            "warm",
            "early",
            "slow",
            "pruned",
            "rewound",
            "tuned",
            "quantized",
            "noisy",
            "averaged",
            "scored",
            "scaled",
        ],
        sys.modules["__main__"],
    )
