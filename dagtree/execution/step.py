"""One step: what a worker does for one edge. What went wrong is part of the outcome; it raises only for
Ctrl-C, and on a cluster `Failed`, when Dask is to try again.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping

from ..errors import DamagedError, NotComputedError
from ..storage.claims import Claims
from ..storage.presence import Someone, is_gone
from .fates import Failed
from .granted import grant, take_back
from .handle import Handle
from .limits import TimeLimitPassed
from .output import listening
from .progress import log
from .report import failure_of
from .task import Outcome, Step
from .watch import here
from .work import Work

__all__ = ["hindrance_of", "perform"]

_FOUND_DEAD_S = 1.0


def perform(step: Step, *inputs: Outcome, is_first: bool = True) -> Outcome:
    """Do a step whose inputs are the outcomes of the steps that make its parents. It ``is_first`` of those
    that came here together."""
    outcome = Outcome(step.node.key)
    nodes = step.nodes()
    statuses: dict[str, str] = {}
    handles: dict[str, Handle] = {}
    for done in inputs:
        statuses.update(done.statuses)
        handles.update(done.handles)
    hindrance = hindrance_of(step, statuses)
    if hindrance:
        outcome.statuses = {node.key: hindrance for node in nodes}
        return outcome
    if step.context.broken is not None:
        # This process has neither the store nor the classes, so that nothing can be written down.
        outcome.failures.append(failure_of(step.context.broken, step.node.key, step.label()))
        outcome.statuses = {node.key: "failed" for node in nodes}
        outcome.unwritten = True
        return outcome
    if step.context.stopping():
        outcome.statuses = {node.key: "planned" for node in nodes}
        return outcome
    if nodes and step.context.is_abroad and step.context.shared:
        # A cluster does again what a worker had finished before it died; what is finished is on disk.
        if is_first:
            step.context.store.refresh()
        if _are_there(step, outcome):
            nodes = []
    claims = step.context.claims if nodes else None
    if claims is not None:
        other = _take(claims, step)
        there = step.context.store.keys()
        if nodes[0].key in there and _are_there(step, outcome):
            nodes = []
        elif other is not None:
            outcome.elsewhere = str(other)
            outcome.statuses = {node.key: "elsewhere" for node in nodes}
            return outcome
    watch = step.context.watch
    watch.began(step)
    if step.context.watched_by:
        outcome.place = here()
    try:
        if step.context.is_abroad:
            _work_abroad(step, outcome, handles)
        else:  # the run listens already, around all of its steps
            _work(step, outcome, handles, step.demands.retries)
    except (DamagedError, NotComputedError) as error:
        # A parent that the plan found, and that is gone since, counts as damaged: it is made again.
        outcome.damaged.append((error.key, str(error)))
        for node in nodes:
            outcome.statuses.setdefault(node.key, "blocked")
    finally:
        watch.left(step)
        if claims is not None:
            claims.end(step.node.key)
    return outcome


def hindrance_of(step: Step, statuses: Mapping[str, str]) -> str:
    """The status of a step's nodes when what it needs isn't done; empty when all of that is."""
    if not (step.final or step.moments):
        return ""
    needed = [statuses.get(key, "done") for key in (*step.node.parents, *step.links)]
    if needed.count("done") == len(needed):
        return ""
    return next((each for each in ("blocked", "planned", "elsewhere") if each in needed), "skipped")


def _take(claims: Claims, step: Step) -> Someone | None:
    """Claim the step; who has it. One that died at it a moment ago, in this run, is waited for to be found
    dead."""
    until = time.monotonic() + _FOUND_DEAD_S
    while True:
        other = claims.take(step.node.key, step.moment_keys())
        if other is None or not step.context.is_abroad or time.monotonic() > until or not is_gone(other):
            return other
        time.sleep(0.02)


def _work(step: Step, outcome: Outcome, handles: Mapping[str, Handle], retries: int) -> None:
    """Do it, as often as its retries allow. They count what ``run`` raises, and not a time limit."""
    for tried in range(retries + 1):
        Work(step, outcome, handles)()
        if not may_try_again(outcome) or tried == retries or step.context.stopping():
            return
        log.warning("%s; trying again (%d of %d)", outcome.failures[0], tried + 1, retries)
        place = outcome.place
        vars(outcome).update(vars(Outcome(outcome.unit)), place=place)


def _work_abroad(step: Step, outcome: Outcome, handles: Mapping[str, Handle]) -> None:
    context, demands = step.context, step.demands
    gpus = int(demands.countable.get("GPU", 0)) if demands.resources else 0
    with contextlib.ExitStack() as stack:
        stack.enter_context(listening())
        if context.shared and context.solitude is not None:
            context.solitude.enter(step.alone, demands.memory_bytes)
            stack.callback(context.solitude.leave, demands.memory_bytes)
        if context.at_work is not None:
            stack.enter_context(context.at_work.at(step.node.key))
        if gpus:
            stack.callback(take_back, grant(tuple(f"cuda:{place}" for place in range(gpus))))
        # A cluster tries again itself, wherever it likes.
        _work(step, outcome, handles, 0 if context.shared else demands.retries)
    if context.shared and demands.retries and may_try_again(outcome):
        raise Failed(outcome)


def may_try_again(outcome: Outcome) -> bool:
    """Whether it failed, and by what ``run`` raised."""
    return "failed" in outcome.statuses.values() and not any(
        isinstance(failure.error, TimeLimitPassed) for failure in outcome.failures
    )


def _are_there(step: Step, outcome: Outcome) -> bool:
    """Whether all nodes of the step are there already, and the outcome says so."""
    store = step.context.store
    there = store.keys()
    if not all(node.key in there for node in step.nodes()):
        return False
    records = store.records()
    for node in step.nodes():
        outcome.records.append(records[node.key])
        outcome.statuses[node.key] = "done"
    outcome.found = True
    return True
