"""What travels to a worker of a cluster as one task: a step, or several cheap ones."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from typing import Any

from .output import listening
from .step import perform
from .task import Outcome, Step
from .watch import Wire

__all__ = ["CHEAP_S", "Cargo", "annotations_of", "perform_chain"]

CHEAP_S = 0.02
"""A recipe that took longer than this, of late, is a task of its own."""
_TASK_S = 0.5
"""A task begins no further step when it has taken so long, or one that wasn't cheap; what is left of its
chain is sent again."""


class Cargo:
    """The steps of a task: each follows the one before it, or, ``beside``, none the other."""

    def __init__(self, steps: Sequence[Step], beside: bool) -> None:
        self.steps = steps
        self.beside = beside

    def __dask_tokenize__(self) -> list[str]:
        """What Dask tells it from others by; else it would pickle all of it for that."""
        return [step.node.key for step in self.steps]


def perform_chain(cargo: Cargo, *inputs: Sequence[Outcome]) -> list[Outcome]:
    """Do steps that follow each other, or all follow what the ``inputs`` are of, as far as the time of one
    task goes; an outcome for each, "planned" for those that were not begun."""
    steps = cargo.steps
    # A step that others wait for is the last of its task.
    given = [outcomes[-1] for outcomes in inputs]
    claims = steps[0].context.claims
    expected = {step.node.key: step.moment_keys() for step in steps if step.nodes()}
    with contextlib.ExitStack() as together:
        if len(steps) > 1:  # once for all of them
            together.enter_context(listening())
            if claims is not None:
                claims.expect(expected)
                together.callback(claims.leave, tuple(expected))
        return _do_some(cargo, given)


def _do_some(cargo: Cargo, given: Sequence[Outcome]) -> list[Outcome]:
    steps = cargo.steps
    watch = steps[0].context.watch
    last = began = time.monotonic()
    is_cheap = True
    before = given
    done: list[Outcome] = []
    for number, step in enumerate(steps):
        if number and (not is_cheap or last - began > _TASK_S):
            # What goes on from there is sent again, and reads it: nobody takes the live state any more.
            done[-1].handles.clear()
            done += [Outcome.of(left, "planned") for left in steps[number:]]
            break
        outcome = perform(step, *before, is_first=not number)
        now = time.monotonic()
        is_cheap, last = now - last <= 5 * CHEAP_S, now  # on a busy machine a cheap one may take longer
        done.append(outcome)
        before = given if cargo.beside else [outcome]
        if len(steps) > 1 and isinstance(watch, Wire) and _is_plain(outcome):
            watch.ended(step, outcome.seconds, outcome.metrics)
    if len(steps) > 1 and isinstance(watch, Wire):
        watch.forget(steps)
    return done


def _is_plain(outcome: Outcome) -> bool:
    """Whether there is no more to tell of it than that it is done."""
    return (
        not (outcome.failures or outcome.found or outcome.moments)
        and bool(outcome.statuses)
        and set(outcome.statuses.values()) == {"done"}
    )


def annotations_of(asked: tuple[Any, ...], first: float) -> dict[str, Any]:
    """What Dask is told of tasks that ask for this: resources, retries, priority, workers."""
    resources, retries, priority, workers = asked
    annotations: dict[str, Any] = {}
    if resources:
        annotations["resources"] = dict(resources)
    if retries:
        annotations["retries"] = retries
    if priority or first:
        annotations["priority"] = priority + first
    if workers:
        # Should all of these go, any other may do it.
        annotations |= {"workers": list(workers), "allow_other_workers": True}
    return annotations
