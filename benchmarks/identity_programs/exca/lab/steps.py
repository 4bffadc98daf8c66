"""The steps that experiments are made of."""

import os
from typing import ClassVar

import exca
from exca.helpers import DiscriminatedModel
from ran import ran

from . import layers, settings, tools
from .layers import Wide
from .scores import spread, tables
from .settings import Grid, Mode
from .state import State
from .tools import shaken


class Task(DiscriminatedModel):
    """One step: its own settings, and the steps that it starts from."""


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


class Make(Task):
    dataset: str
    infra: exca.TaskInfra = exca.TaskInfra(folder=os.environ["LAB_CACHE"])

    @infra.apply
    def run(self):
        state = ran(State(self.dataset), "root")
        state.initialize_state()
        return state


class Train(Scheduled, Step, Task):
    state: Task
    epochs: int = 3
    lr: float = 0.1
    rounds: ClassVar[int] = 4
    infra: exca.TaskInfra = exca.TaskInfra(folder=os.environ["LAB_CACHE"])

    @infra.apply
    def run(self):
        state = ran(self.state.run(), "train", self.epochs, self.lr)
        self.begin(state)
        layer = Wide.make()
        for epoch in range(self.epochs):
            state.normalise()
            rate = self.lr * self.rate(epoch) + self.start
            state.values = [value + rate * layer.forward(value) for value in state.values]
            state.note(f"epoch {epoch:>2} of {self.rounds!r} {layer.label()} {state.mean:.9f}")
            if state.mean > 1e6:
                state.values = [layers.unused(value) for value in state.values]
        return state


class Prune(Step, Task):
    state: Task
    fraction: float = 0.5
    mode: Mode = Mode.SOFT
    infra: exca.TaskInfra = exca.TaskInfra(folder=os.environ["LAB_CACHE"])

    @infra.apply
    def run(self):
        state = ran(self.state.run(), "prune")
        keep = sorted(settings.KEEP)
        bound = state.magnitudes()[int(self.fraction * len(state))] * self.mode.strength()
        state.values = [shaken(value) if value > bound else -value for value in state.values]
        state.note(" ".join(keep) + f" {bound:.9f}")
        settings.log.debug("pruned")
        return state


class Rewind(Task):
    state: Task
    early: Task
    infra: exca.TaskInfra = exca.TaskInfra(folder=os.environ["LAB_CACHE"])

    @infra.apply
    def run(self):
        early = self.early.run()
        state = ran(self.state.run(), "rewind", early)
        state.values = [a + self.mix * (b - a) for a, b in zip(state.values, early.values, strict=True)]
        state.note(f"{state.summary()!r}")
        return state

    mix: ClassVar[float] = 0.25


class Quantize(Task):
    state: Task
    grid: Grid = Grid()
    infra: exca.TaskInfra = exca.TaskInfra(folder=os.environ["LAB_CACHE"])

    @infra.apply
    def run(self):
        state = ran(self.state.run(), "quantize")
        near = tools.ROUNDINGS["near"]
        with settings.lock:
            state.values = [tools.raised(near(tools.clip(value))) for value in state.values]
        state.values = [tools.add_five(self.grid.snap(value)) for value in state.values]
        state.note(f"{tools.third(['a', 'b', 'c'])} {self.grid.names[0]} {self.grid.describe()}")
        return state


class Noise(Task):
    state: Task
    amount: float = 0.5
    infra: exca.TaskInfra = exca.TaskInfra(folder=os.environ["LAB_CACHE"])

    @infra.apply
    def run(self):
        state = ran(self.state.run(), "noise")

        def jitter(i, value, *, factor=3):
            return value + factor * self.amount * offsets[i]

        offsets = [tools.counted(x) for x in tools.walk(6)]
        state.values = [jitter(i, tools.late(value)) for i, value in enumerate(state.values)]
        state.values = [tools.shifted(tools.hides(value)) for value in state.values]
        return state


class Average(Task):
    state: Task
    other: Task
    infra: exca.TaskInfra = exca.TaskInfra(folder=os.environ["LAB_CACHE"])

    @infra.apply
    def run(self):
        other = self.other.run()
        state = ran(self.state.run(), "average", other)
        state.values = [(a + b) / 2 for a, b in zip(state.values, other.values, strict=True)]
        state.note(f"{spread(state.values):.6f}")
        return state


class Score(Task):
    state: Task
    by: str = "heavy"
    infra: exca.TaskInfra = exca.TaskInfra(folder=os.environ["LAB_CACHE"])

    @infra.apply
    def run(self):
        state = ran(self.state.run(), "score")
        state.note(f"{self.by}: {tables.named(self.by, state.values)} {tables.TABLE['light'](state.values)}")
        pick = lambda values: min(values, key=lambda value: -value)  # noqa: E731
        state.values = [pick(state.values), *state.values[1:]]
        return state
