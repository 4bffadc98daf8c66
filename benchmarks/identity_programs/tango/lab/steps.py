"""The steps that experiments are made of."""

import tango
from ran import ran

from . import layers, settings, tools
from .layers import Wide
from .scores import spread, tables
from .settings import Grid, Mode
from .state import State
from .tools import shaken


class Step:
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


@tango.Step.register("make")
class Make(tango.Step):
    def run(self, dataset):
        state = ran(State(dataset), "root")
        state.initialize_state()
        return state


@tango.Step.register("train")
class Train(Scheduled, Step, tango.Step):
    rounds = 4

    def run(self, state, epochs: int = 3, lr: float = 0.1):
        state = ran(state, "train", epochs, lr)
        self.begin(state)
        layer = Wide.make()
        for epoch in range(epochs):
            state.normalise()
            rate = lr * self.rate(epoch) + self.start
            state.values = [value + rate * layer.forward(value) for value in state.values]
            state.note(f"epoch {epoch:>2} of {self.rounds!r} {layer.label()} {state.mean:.9f}")
            if state.mean > 1e6:
                state.values = [layers.unused(value) for value in state.values]
        return state


@tango.Step.register("prune")
class Prune(Step, tango.Step):
    def run(self, state, fraction: float = 0.5, mode: Mode = Mode.SOFT):
        state = ran(state, "prune")
        keep = sorted(settings.KEEP)
        bound = state.magnitudes()[int(fraction * len(state))] * mode.strength()
        state.values = [shaken(value) if value > bound else -value for value in state.values]
        state.note(" ".join(keep) + f" {bound:.9f}")
        settings.log.debug("pruned")
        return state


@tango.Step.register("rewind")
class Rewind(tango.Step):
    def run(self, state, early):
        state = ran(state, "rewind", early)
        state.values = [a + self.mix * (b - a) for a, b in zip(state.values, early.values, strict=True)]
        state.note(f"{state.summary()!r}")
        return state

    mix = 0.25


@tango.Step.register("quantize")
class Quantize(tango.Step):
    def run(self, state, grid: Grid = Grid()):  # noqa: B008 - it is frozen
        state = ran(state, "quantize")
        near = tools.ROUNDINGS["near"]
        with settings.lock:
            state.values = [tools.raised(near(tools.clip(value))) for value in state.values]
        state.values = [tools.add_five(grid.snap(value)) for value in state.values]
        state.note(f"{tools.third(['a', 'b', 'c'])} {grid.names[0]} {grid.describe()}")
        return state


@tango.Step.register("noise")
class Noise(tango.Step):
    def run(self, state, amount: float = 0.5):
        state = ran(state, "noise")

        def jitter(i, value, *, factor=3):
            return value + factor * amount * offsets[i]

        offsets = [tools.counted(x) for x in tools.walk(6)]
        state.values = [jitter(i, tools.late(value)) for i, value in enumerate(state.values)]
        state.values = [tools.shifted(tools.hides(value)) for value in state.values]
        return state


@tango.Step.register("average")
class Average(tango.Step):
    def run(self, state, other):
        state = ran(state, "average", other)
        state.values = [(a + b) / 2 for a, b in zip(state.values, other.values, strict=True)]
        state.note(f"{spread(state.values):.6f}")
        return state


@tango.Step.register("score")
class Score(tango.Step):
    def run(self, state, by: str = "heavy"):
        state = ran(state, "score")
        state.note(f"{by}: {tables.named(by, state.values)} {tables.TABLE['light'](state.values)}")
        pick = lambda values: min(values, key=lambda value: -value)  # noqa: E731
        state.values = [pick(state.values), *state.values[1:]]
        return state
