"""A small study that tests share: numbers instead of models, so that a node costs microseconds."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import dagtree as dg


class Number(dg.ExperimentState):
    PROPERTIES = ["start"]
    NONHASHED_ATTRIBUTES = ["value", "seen", "draws"]

    def initialize_state(self, **properties: Any) -> None:
        self.value = self.start
        self.seen = [self.start]


class Add(dg.Recipe):
    amount: float = 1

    def run(self, state: Number) -> Number:
        state.value += self.amount
        state.seen.append(state.value)
        return state


class Multiply(dg.Recipe):
    PROPERTIES = ["factor"]

    def run(self, state: Number) -> Number:
        state.value *= self.factor
        state.seen.append(state.value)
        return state


class Sum(dg.Recipe):
    def run(self, first: Number, *others: Number) -> Number:
        first.value += sum(other.value for other in others)
        return first


class Count(dg.Recipe):
    """Has moments: one for each step, each with a metric."""

    steps_wanted: int

    def run(self, state: Number) -> Any:
        for step in self.steps(range(self.steps_wanted)):
            state.value += 1
            state.seen.append(state.value)
            yield {"value": state.value, "step": step}


class Draw(dg.Recipe):
    """Draws from every generator that there is."""

    label: str = ""

    def run(self, state: Number) -> Number:
        import numpy as np

        state.draws = [random.random(), float(np.random.rand()), random.gauss(0, 1)]
        return state


class Touch(dg.Recipe):
    """Appends a line to a file each time it runs, so that tests can count runs on every scheduler."""

    file: str
    name: str

    def run(self, state: Number) -> Number:
        with Path(self.file).open("a") as file:
            file.write(f"{self.name}\n")
        state.value += 1
        return state


class Fail(dg.Recipe):
    message: str = "no luck"

    def run(self, state: Number) -> Number:
        return explode(self.message)


def explode(message: str) -> Any:
    raise ValueError(message)


@dg.function
def value(state: Number) -> dict[str, float]:
    return {"value": state.value}


@dg.function(cached=True)
def doubled(state: Number) -> float:
    return state.value * 2
