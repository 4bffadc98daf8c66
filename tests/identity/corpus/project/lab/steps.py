"""The steps that experiments are made of."""

import dagtree as dg

from . import layers, settings, tools
from .layers import Wide
from .scores import spread, tables
from .settings import Grid, Mode
from .tools import shaken


class Step(dg.Recipe):
    momentum = 0.9
    decay = 0.75
    rounds = 2

    def begin(self, state):
        state.note(type(self).__name__)

    def rate(self, epoch):
        return self.momentum ** (epoch + 1)

    def help(self):
        return "nobody asks"


class Scheduled:
    warmup = 0.5
    decay = 0.875

    @property
    def start(self):
        return self.warmup * self.decay


class Train(Scheduled, Step):
    epochs: int = 3
    lr: float = 0.1
    rounds = 4

    def run(self, state):
        self.begin(state)
        layer = Wide.make()
        for epoch in self.steps(range(self.epochs)):
            state.normalise()
            rate = self.lr * self.rate(epoch) + self.start
            state.values = [value + rate * layer.forward(value) for value in state.values]
            state.note(f"epoch {epoch:>2} of {self.rounds!r} {layer.label()} {state.mean:.9f}")
            if state.mean > 1e6:
                state.values = [layers.unused(value) for value in state.values]
            yield {"mean": state.mean}


class Prune(Step):
    fraction: float = 0.5
    mode: Mode = Mode.SOFT

    def run(self, state):
        keep = sorted(settings.KEEP)
        bound = state.magnitudes()[int(self.fraction * len(state))] * self.mode.strength()
        state.values = [shaken(value) if value > bound else -value for value in state.values]
        state.note(" ".join(keep) + f" {bound:.9f}")
        settings.log.debug("pruned")
        return state


class Rewind(dg.Recipe):
    def run(self, state, early):
        state.values = [a + self.mix * (b - a) for a, b in zip(state.values, early.values, strict=True)]
        state.note(f"{state.summary()!r}")
        return state

    mix = 0.25


class Quantize(dg.Recipe):
    grid: Grid = Grid()

    def run(self, state):
        near = tools.ROUNDINGS["near"]
        with settings.lock:
            state.values = [tools.raised(near(tools.clip(value))) for value in state.values]
        state.values = [tools.add_five(self.grid.snap(value)) for value in state.values]
        state.note(f"{tools.third(['a', 'b', 'c'])} {self.grid.names[0]} {self.grid.describe()}")
        return state


class Noise(dg.Recipe):
    amount: float = 0.5

    def run(self, state):
        def jitter(i, value, *, factor=3):
            return value + factor * self.amount * offsets[i]

        offsets = [tools.counted(x) for x in tools.walk(6)]
        state.values = [jitter(i, tools.late(value)) for i, value in enumerate(state.values)]
        state.values = [tools.shifted(tools.hides(value)) for value in state.values]
        return state


class Average(dg.Recipe):
    def run(self, state, other):
        state.values = [(a + b) / 2 for a, b in zip(state.values, other.values, strict=True)]
        state.note(f"{spread(state.values):.6f}")
        return state


class Score(dg.Recipe):
    by: str = "heavy"

    def run(self, state):
        state.note(f"{self.by}: {tables.named(self.by, state.values)} {tables.TABLE['light'](state.values)}")
        pick = lambda values: min(values, key=lambda value: -value)  # noqa: E731
        state.values = [pick(state.values), *state.values[1:]]
        return state
