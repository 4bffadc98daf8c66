"""A run that yields, followed through its moments: metrics, wanted states, and safe points."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from types import GeneratorType
from typing import TYPE_CHECKING, Any

from ..definition.recipe import Recipe, shape_of
from ..definition.state import content_of
from ..errors import RecipeError
from ..storage.describe import plain
from ..storage.payload import Payload
from ..storage.store import Store
from .halts import Stopped, Unfaithful
from .handle import Handle
from .output import Log
from .task import NodeFacts, Outcome, Step

# What only a recipe that yields needs is imported when one runs: a run of others doesn't wait for it.
if TYPE_CHECKING:
    from ..storage.snapshot import Snapshot
    from .safepoints import SafePoints

__all__ = ["Following", "kind_of_value"]

LOG = logging.getLogger("dagtree")


class Following:
    """What a step does between the first moment and the last; a part of `Work`."""

    step: Step
    outcome: Outcome
    handles: Mapping[str, Handle]
    store: Store
    log: Log
    waiting: list[tuple[NodeFacts, Payload, dict[str, Any]]]
    history: list[list[Any]]
    started: float
    clock: float
    seconds: float
    provisional: bool
    anew: bool
    found: Snapshot | None
    points: SafePoints | None
    number: int
    resumed: list[dict[str, Any]]
    accepted: dict[str, dict[str, Any]]

    if TYPE_CHECKING:

        def facts(self) -> dict[str, Any]: ...
        def keep(self, node: NodeFacts, payload: Payload, facts: dict[str, Any]) -> None: ...

    def find_safe_point(self) -> Snapshot | None:
        """Where an earlier run of the edge stood when it was interrupted, or where one that this one extends
        has ended; None where it must begin at its start."""
        step = self.step
        recipe = None if step.recipe is None else step.context.recipes[step.recipe]
        if recipe is None or step.context.moments.is_never or not shape_of(recipe).has_moments:
            return None
        from ..storage.snapshot import Kept
        from .safepoints import find

        kept = Kept(self.store, step.node.parents)
        there = self.store.keys()  # moments of an earlier attempt of this run among them
        first = min((number for number, node in step.moments.items() if node.key not in there), default=None)
        # What was accepted has random numbers of its own: those of no edge that it could go on from.
        for key in (step.node.key, *(() if self.accepted else step.extended)):
            found = find(self.store, key, step.code, kept, ended=key != step.node.key)
            if found is not None and (first is None or found.facts["moment"] < first):
                return found
        return None

    def begin_anew(self, reason: str) -> None:
        self.anew = True
        LOG.warning(
            "%s [%s] begins at its start, since its safe point can't be taken up: %s",
            self.step.label(), self.step.node.key[:8], reason,
        )  # fmt: skip

    def follow(self, recipe: Recipe, moments: GeneratorType[Any, Any, Any], state: Any) -> Any:
        """Go through the moments of a run; the state that it returns, or its own copy when it returns
        nothing.
        """
        step = self.step
        last = max(step.moments, default=0)
        points = self.points = self.safe_points()
        try:
            with points.following(recipe, moments, state):
                while True:
                    try:
                        metrics = next(moments)
                    except StopIteration as stopped:
                        result = points.state if stopped.value is None else stopped.value
                        break
                    if points.found is not None:
                        continue  # before the loop, and told by the run that was interrupted
                    self.number += 1
                    self.note_metrics(self.number, metrics)
                    wanted = step.moments.get(self.number)
                    if wanted is not None:
                        self.keep_moment(wanted, points.state)
                    if not step.final and self.number >= last:
                        moments.close()
                        return None
                    if step.context.stopping() and not points.is_within:
                        moments.close()
                        raise Stopped
        finally:
            points.finish()
        if points.found is not None:
            raise Unfaithful("its loop over `self.steps(…)` isn't reached")
        number = self.number
        if number < last:
            raise self.broken(
                f"made {number} moment{'' if number == 1 else 's'}, but {self.wanted_moments()} was asked for"
            )
        return result

    def safe_points(self) -> SafePoints:
        from ..storage.snapshot import Kept
        from .safepoints import SafePoints

        step, context = self.step, self.step.context
        sizes = [known.size_bytes for key in step.node.parents if (known := self.handles.get(key))]
        return SafePoints(
            self.store,
            step.node.key,
            step.code,
            step.label(),
            context.moments,
            found=self.found,
            kept=Kept(self.store, step.node.parents),
            size_bytes=sum(sizes),
            keeps_end=step.extends and step.final and not context.moments.is_never and not self.accepted,
            progress=self.so_far,
            resumed=self.take_up,
            is_beside=self.provisional,
            stopping=context.stopping,
        )

    def so_far(self) -> dict[str, Any]:
        """What goes with a safe point, so that the record tells of all of the run."""
        return {
            "moment": self.number,
            "history": self.history,
            "started": self.started,
            "seconds": time.perf_counter() - self.clock,
            "output": "".join(self.log.parts),
            "resumed": self.resumed,
        }

    def take_up(self, facts: dict[str, Any]) -> None:
        """The run goes on from a safe point with these facts."""
        self.number = facts["moment"]
        self.history = list(facts["history"])
        self.started = facts["started"]
        self.clock = time.perf_counter() - facts["seconds"]
        self.log.parts[:] = [facts["output"]] if facts["output"] else []
        self.resumed = [
            *facts["resumed"],
            {"moment": self.number, "at": round(time.time(), 6), "from": facts["key"]},
        ]
        records = self.store.records()
        for number, node in self.step.moments.items():
            if number <= self.number:  # it is there, or there would be no going on behind it
                self.outcome.statuses[node.key] = "done"
                if self.step.context.is_abroad:
                    self.outcome.records.append(records[node.key])

    def keep_moment(self, node: NodeFacts, state: Any) -> None:
        self.seconds = time.perf_counter() - self.clock
        payload = Payload.dump(content_of(state))
        if self.provisional:
            payload = Payload.dump(payload.load())
            self.waiting.append((node, payload, self.facts()))
        else:
            self.keep(node, payload, self.facts())

    def note_metrics(self, number: int, metrics: Any) -> None:
        if metrics is None:
            values: dict[str, Any] = {}
        elif isinstance(metrics, Mapping):
            values = plain(dict(metrics), f"moment {number} of {self.step.label()}")
        else:
            raise self.broken(
                f'yielded {kind_of_value(metrics)}. Yield a mapping of metrics, like {{"loss": loss}}, or '
                "nothing"
            )
        self.history.append([number, values, round(time.time(), 6)])
        self.outcome.metrics, self.outcome.moments = values, number
        self.step.context.watch.moment(self.step, number, values)

    def wanted_moments(self) -> str:
        return ", ".join(f".at({number})" for number in sorted(self.step.moments))

    def broken(self, what: str) -> RecipeError:
        recipe = self.step.recipe
        cls = self.step.context.recipes[recipe] if recipe is not None else type(None)
        run = getattr(getattr(cls, "run", None), "__code__", None)
        where = f" ({run.co_filename}:{run.co_firstlineno})" if run is not None else ""
        return RecipeError(f"{self.step.node.name}.run{where} {what}.")


def kind_of_value(value: object) -> str:
    name = type(value).__name__
    return "nothing" if value is None else f"{'an' if name[0] in 'AEIOUaeiou' else 'a'} {name}"
