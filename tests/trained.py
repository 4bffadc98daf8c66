"""Trainings as people write them, which stop where they are told to: for tests of safe points.

Each appends a line for each step to a file, and is interrupted once, where a file says so.
"""

from __future__ import annotations

import copy
import os
import random
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

import dagtree as dg


class Fitted(dg.ExperimentState):
    PROPERTIES = ["width"]
    NONHASHED_ATTRIBUTES = ["model", "inputs", "targets", "rng", "generator", "optimizer", "seen"]

    def initialize_state(self, **properties: Any) -> None:
        self.inputs, self.targets = torch.randn(64, 8), torch.randn(64, 1)
        self.model = nn.Sequential(
            nn.Linear(8, self.width), nn.ReLU(), nn.Dropout(0.2), nn.Linear(self.width, 1)
        )
        self.rng = np.random.default_rng(1)
        self.generator = torch.Generator().manual_seed(1)
        self.seen: list[Any] = []

    def loss(self, batch: Any) -> Any:
        return F.mse_loss(self.model(self.inputs[batch]), self.targets[batch])


def draws(state: Any) -> list[float]:
    """A number of every generator that there is."""
    return [
        random.random(),
        float(np.random.rand()),
        float(torch.rand(1)),
        float(state.rng.random()),
        float(torch.rand(1, generator=state.generator)),
    ]


class Training(dg.Recipe):
    """``place`` is a file; what stands in it is how the step of that number ends."""

    place: str
    steps_wanted: int = 6
    ignores = ("place",)

    def trip(self, step: int) -> None:
        """Tell that a step begins, and end there if that is what the file says."""
        with open(f"{self.place}.steps", "a") as file:
            file.write(f"{step}\n")
        place = Path(self.place)
        how, at = place.read_text().split() if place.exists() else ("", "-1")
        if step == int(at):
            place.unlink()
            if how == "ctrl-c":
                raise KeyboardInterrupt
            if how == "exit":
                os._exit(1)
            raise RuntimeError(how)


class Momentum(Training):
    def run(self, state: Any) -> Any:
        optimizer = torch.optim.SGD(state.model.parameters(), lr=0.05, momentum=0.9)
        scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, self.steps_wanted)
        for epoch in self.steps(range(self.steps_wanted)):
            self.trip(epoch)
            for batch in torch.randperm(64).split(16):
                optimizer.zero_grad()
                loss = state.loss(batch)
                loss.backward()
                optimizer.step()
            state.seen.append(draws(state))
            yield {"loss": loss.item()}
            scheduler.step()


class AdamAndEverything(Training):
    def run(self, state: Any) -> Any:
        optimizer = torch.optim.AdamW(state.model.parameters(), lr=0.01)
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda n: 1 / (1 + n * self.steps_wanted))
        loader = torch.utils.data.DataLoader(range(64), batch_size=16, shuffle=True)
        average = copy.deepcopy(state.model)
        best, patience, kept = float("inf"), 0, None
        for epoch in self.steps(range(self.steps_wanted)):
            self.trip(epoch)
            total = 0.0
            for batch in loader:
                loss = state.loss(batch)
                optimizer.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(state.model.parameters(), 1.0)
                optimizer.step()
                total += loss.item()
            with torch.no_grad():
                for mine, other in zip(average.parameters(), state.model.parameters(), strict=True):
                    mine.lerp_(other, 0.1)
            patience = 0 if total < best else patience + 1
            if total < best:
                best, kept = total, copy.deepcopy(state.model.state_dict())
            scheduler.step()
            state.seen.append([best, patience, *draws(state)])
            yield {"loss": loss, "best": best}
        state.model.load_state_dict(kept)
        state.seen.append([float(each.detach().sum()) for each in average.parameters()])
        return state


class OnTheState(Training):
    def run(self, state: Any) -> Any:
        state.optimizer = torch.optim.Adam(state.model.parameters(), lr=0.01)
        for epoch in self.steps(range(self.steps_wanted)):
            self.trip(epoch)
            state.optimizer.zero_grad()
            state.loss(torch.randperm(64)[:32]).backward()
            state.optimizer.step()
            yield


class Accumulating(Training):
    """Its gradients live over several steps."""

    def run(self, state: Any) -> Any:
        optimizer = torch.optim.RMSprop(state.model.parameters(), lr=0.01)
        for step in self.steps(range(self.steps_wanted)):
            self.trip(step)
            state.loss(torch.randperm(64)[:8]).backward()
            if step % 4 == 3:
                optimizer.step()
                optimizer.zero_grad()
            yield


class WithClosure(Training):
    def run(self, state: Any) -> Any:
        optimizer = torch.optim.LBFGS(state.model.parameters(), max_iter=4)

        def closure() -> Any:
            optimizer.zero_grad()
            loss = state.loss(slice(None))
            loss.backward()
            return loss

        for epoch in self.steps(range(self.steps_wanted)):
            self.trip(epoch)
            yield {"loss": optimizer.step(closure)}


class Hooked(Training):
    def run(self, state: Any) -> Any:
        felt: list[float] = []
        state.model[0].register_forward_hook(lambda _, __, out: felt.append(float(out.detach().sum())))
        optimizer = torch.optim.SGD(state.model.parameters(), lr=0.05, momentum=0.9)
        optimizer.register_step_post_hook(lambda *_: felt.append(-1.0))
        for epoch in self.steps(range(self.steps_wanted)):
            self.trip(epoch)
            optimizer.zero_grad()
            state.loss(slice(None)).backward()
            optimizer.step()
            yield
        state.seen = felt
        state.model[0]._forward_hooks.clear()


class ChangesItsParent(Training):
    """What stands before its loop isn't to happen twice, and it goes on with another object than it began."""

    def run(self, state: Any) -> Any:
        with torch.no_grad():
            for parameter in state.model.parameters():
                parameter.mul_(0.5)
        state.model = nn.Sequential(state.model, nn.Linear(1, 1))
        weights = list(state.model.parameters())
        yield {"before": 1}
        for epoch in self.steps(["a", "b", "c", "d", "e"]):
            self.trip("abcde".index(epoch))
            grads = torch.autograd.grad(state.loss(slice(None)), weights)
            with torch.no_grad():
                for weight, grad in zip(weights, grads, strict=True):
                    weight -= 0.1 * grad
            yield {"epoch": epoch}
            if epoch == "d":
                break
            yield
        yield {"after": 1}


class Twice(Training):
    """Has two loops: only the first has safe points."""

    def run(self, state: Any) -> Any:
        for step in self.steps(range(2)):
            self.trip(step)
            state.seen.append(draws(state))
            yield
        for step in self.steps(range(2, 6)):
            self.trip(step)
            state.seen.append(draws(state))
            yield


class LosesItsGraph(Training):
    """Goes backward, in a later step, through what it computed in an earlier one."""

    def run(self, state: Any) -> Any:
        weight = torch.ones(1, requires_grad=True)
        total = weight * 0
        for step in self.steps(range(self.steps_wanted)):
            self.trip(step)
            total = total + weight * random.random()
            yield
        total.backward()
        state.seen = weight.grad.tolist()


class Sharing(Training):
    """An inner function and the loop set one variable."""

    def run(self, state: Any) -> Any:
        count = 0

        def more() -> None:
            nonlocal count
            count += 1

        for step in self.steps(range(self.steps_wanted)):
            self.trip(step)
            more()
            yield
        state.seen = [count]


NOTHING = object()


class KnowsAnObject(Training):
    def run(self, state: Any) -> Any:
        before: Any = NOTHING
        for step in self.steps(range(self.steps_wanted)):
            self.trip(step)
            state.seen.append(before is NOTHING)
            yield


class LateSchedule(Training):
    """Its schedule is asked for the first time after a safe point."""

    def run(self, state: Any) -> Any:
        optimizer = torch.optim.SGD(state.model.parameters(), lr=0.05, momentum=0.9)
        scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)
        for step in self.steps(range(self.steps_wanted)):
            self.trip(step)
            optimizer.zero_grad()
            state.loss(slice(None)).backward()
            optimizer.step()
            if step > 3:
                scheduler.step()
            yield


class WithinAWith(Training):
    def run(self, state: Any) -> Any:
        with torch.no_grad():
            for step in self.steps(range(self.steps_wanted)):
                self.trip(step)
                state.seen.append(draws(state))
                yield


class Wrapped(Training):
    def run(self, state: Any) -> Any:
        for number, step in enumerate(self.steps(range(self.steps_wanted)), 1):
            self.trip(step)
            state.seen.append((number, *draws(state)))
            yield


class HoldsAFile(Training):
    def run(self, state: Any) -> Any:
        with open(os.devnull, "w") as one:
            other = one
        for step in self.steps(range(self.steps_wanted)):
            self.trip(step)
            state.seen.append((other.closed, *draws(state)))
            yield


class SetsAGlobal(Training):
    def run(self, state: Any) -> Any:
        global counted
        counted = 0
        for step in self.steps(range(self.steps_wanted)):
            self.trip(step)
            counted += 1
            yield
        state.seen = [counted]


counted = 0

RESUMING: list[type[Training]] = [
    Momentum, AdamAndEverything, OnTheState, Accumulating, WithClosure, Hooked, ChangesItsParent,
    LateSchedule,
]  # fmt: skip
BEGINNING: list[type[Training]] = [
    LosesItsGraph,
    Sharing,
    WithinAWith,
    Wrapped,
    HoldsAFile,
    SetsAGlobal,
    KnowsAnObject,
]


def define(directory: str | Path, recipe: type[Training], place: str | Path, **options: Any) -> Any:
    exp = dg.Experiment(directory, Fitted, moments="all")
    return exp, recipe(place=str(place), **options)(exp.spawn_new_tree(width=16))


def bits(state: Any) -> list[str]:
    """All that a state holds, to the bit."""
    found = [f"{name} {value.numpy().tobytes().hex()}" for name, value in state.model.state_dict().items()]
    if "optimizer" in vars(state):
        kept = state.optimizer.state_dict()["state"]
        found += [str({name: one.tolist() for name, one in each.items()}) for each in kept.values()]
    return [*found, repr(state.seen), str(state.rng.random()), str(torch.rand(1, generator=state.generator))]


def steps_done(place: Path) -> list[int]:
    path = Path(f"{place}.steps")
    return [int(line) for line in path.read_text().split()] if path.exists() else []


def train(
    directory: str, recipe: str, place: str, steps_wanted: int, scheduler: str = "single-threaded"
) -> None:
    """For a process that is killed."""
    exp, _ = define(directory, globals()[recipe], place, steps_wanted=steps_wanted)
    exp.run(scheduler, workers=1)
