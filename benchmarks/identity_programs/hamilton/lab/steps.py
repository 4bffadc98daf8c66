"""The steps that experiments are made of."""

from hamilton.function_modifiers import parameterize, source, value
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


class Fit(Scheduled, Step):
    rounds = 4


def root(dataset: str) -> State:
    state = ran(State(dataset), "root")
    state.initialize_state()
    return state


@parameterize(
    warm={"state": source("root"), "epochs": value(3), "lr": value(0.1)},
    early={"state": source("root"), "epochs": value(1), "lr": value(0.1)},
    slow={"state": source("root"), "epochs": value(3), "lr": value(0.01)},
    tuned={"state": source("rewound"), "epochs": value(2), "lr": value(0.1)},
)
def train(state: State, epochs: int, lr: float) -> State:
    state = ran(state, "train", epochs, lr)
    fit = Fit()
    fit.begin(state)
    layer = Wide.make()
    for epoch in range(epochs):
        state.normalise()
        rate = lr * fit.rate(epoch) + fit.start
        state.values = [value + rate * layer.forward(value) for value in state.values]
        state.note(f"epoch {epoch:>2} of {fit.rounds!r} {layer.label()} {state.mean:.9f}")
        if state.mean > 1e6:
            state.values = [layers.unused(value) for value in state.values]
    return state


@parameterize(pruned={"state": source("warm"), "fraction": value(0.5)})
def prune(state: State, fraction: float, mode: Mode = Mode.SOFT) -> State:
    state = ran(state, "prune")
    keep = sorted(settings.KEEP)
    bound = state.magnitudes()[int(fraction * len(state))] * mode.strength()
    state.values = [shaken(value) if value > bound else -value for value in state.values]
    state.note(" ".join(keep) + f" {bound:.9f}")
    settings.log.debug("pruned")
    return state


mix = 0.25


@parameterize(rewound={"state": source("pruned"), "early": source("early")})
def rewind(state: State, early: State) -> State:
    state = ran(state, "rewind", early)
    state.values = [a + mix * (b - a) for a, b in zip(state.values, early.values, strict=True)]
    state.note(f"{state.summary()!r}")
    return state


@parameterize(quantized={"state": source("warm")})
def quantize(state: State, grid: Grid = Grid()) -> State:  # noqa: B008 - it is frozen
    state = ran(state, "quantize")
    near = tools.ROUNDINGS["near"]
    with settings.lock:
        state.values = [tools.raised(near(tools.clip(value))) for value in state.values]
    state.values = [tools.add_five(grid.snap(value)) for value in state.values]
    state.note(f"{tools.third(['a', 'b', 'c'])} {grid.names[0]} {grid.describe()}")
    return state


@parameterize(noisy={"state": source("slow"), "amount": value(0.5)})
def noise(state: State, amount: float) -> State:
    state = ran(state, "noise")

    def jitter(i, value, *, factor=3):
        return value + factor * amount * offsets[i]

    offsets = [tools.counted(x) for x in tools.walk(6)]
    state.values = [jitter(i, tools.late(value)) for i, value in enumerate(state.values)]
    state.values = [tools.shifted(tools.hides(value)) for value in state.values]
    return state


@parameterize(averaged={"state": source("warm"), "other": source("slow")})
def average(state: State, other: State) -> State:
    state = ran(state, "average", other)
    state.values = [(a + b) / 2 for a, b in zip(state.values, other.values, strict=True)]
    state.note(f"{spread(state.values):.6f}")
    return state


@parameterize(scored={"state": source("averaged")})
def score(state: State, by: str = "heavy") -> State:
    state = ran(state, "score")
    state.note(f"{by}: {tables.named(by, state.values)} {tables.TABLE['light'](state.values)}")
    pick = lambda values: min(values, key=lambda value: -value)  # noqa: E731
    state.values = [pick(state.values), *state.values[1:]]
    return state
