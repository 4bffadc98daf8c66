"""One step: what a worker does for one edge. What went wrong is part of the outcome; it raises only for
Ctrl-C, and on a cluster `Failed`, when Dask is to try again.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping

from ..errors import DamagedError, NotComputedError
from .fates import Failed
from .granted import grant, take_back
from .handle import Handle
from .limits import TimeLimitPassed
from .output import listening
from .progress import log
from .report import failure_of
from .task import Outcome, Step
from .work import Work

__all__ = ["perform"]


def perform(step: Step, *inputs: Outcome) -> Outcome:
    """Do a step whose inputs are the outcomes of the steps that make its parents."""
    outcome = Outcome(step.node.key)
    nodes = step.nodes()
    if step.context.broken is not None:
        # This process has neither the store nor the classes, so that nothing can be written down.
        outcome.failures.append(failure_of(step.context.broken, step.node.key, step.label()))
        outcome.statuses = {node.key: "failed" for node in nodes}
        return outcome
    statuses: dict[str, str] = {}
    handles: dict[str, Handle] = {}
    for done in inputs:
        statuses.update(done.statuses)
        handles.update(done.handles)
    if nodes:
        needed = [statuses.get(key, "done") for key in (*step.node.parents, *step.links)]
        if any(status != "done" for status in needed):
            blocked = next(
                (each for each in ("blocked", "planned", "elsewhere") if each in needed), "skipped"
            )
            outcome.statuses = {node.key: blocked for node in nodes}
            return outcome
    if step.context.stopping():
        outcome.statuses = {node.key: "planned" for node in nodes}
        return outcome
    if nodes and step.context.is_abroad and step.context.shared:
        # A cluster does again what a worker had finished before it died; what is finished is on disk.
        step.context.store.refresh()
        if _are_there(step, outcome):
            nodes = []
    claims = step.context.claims if nodes else None
    if claims is not None:
        other = claims.take(step.node.key, step.moment_keys())
        there = step.context.store.keys()
        if nodes[0].key in there and _are_there(step, outcome):
            nodes = []
        elif other is not None:
            outcome.elsewhere = str(other)
            outcome.statuses = {node.key: "elsewhere" for node in nodes}
            return outcome
    step.context.started(step)
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
        if claims is not None:
            claims.end(step.node.key)
    return outcome


def _work(step: Step, outcome: Outcome, handles: Mapping[str, Handle], retries: int) -> None:
    """Do it, as often as its retries allow. They count what ``run`` raises, and not a time limit."""
    for tried in range(retries + 1):
        Work(step, outcome, handles)()
        if not may_try_again(outcome) or tried == retries or step.context.stopping():
            return
        log.warning("%s; trying again (%d of %d)", outcome.failures[0], tried + 1, retries)
        vars(outcome).update(vars(Outcome(outcome.unit)))


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
