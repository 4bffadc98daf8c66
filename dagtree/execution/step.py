"""One step: what a worker does for one edge. Never raises, but for Ctrl-C: what went wrong is part of the
outcome.
"""

from __future__ import annotations

from ..errors import DamagedError, NotComputedError
from .handle import Handle
from .output import listening
from .report import failure_of
from .task import Outcome, Step
from .watch import here
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
    watch = step.context.watch
    watch.began(step)
    if step.context.watched_by:
        outcome.place = here()
    work = Work(step, outcome, handles)
    try:
        if step.context.is_abroad:
            with listening():
                work()
        else:  # the run listens already, around all of its steps
            work()
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
