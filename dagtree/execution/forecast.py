"""What a run would do, in words and as data: the nodes, the reasons, and what they are likely to cost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from html import escape
from typing import NamedTuple

from ..amounts import size_text
from ..storage.record import Record
from .estimate import Estimate, Estimator, time_on
from .explain import CodeNews, Explanations
from .plan import Plan
from .report import duration, one_line

__all__ = ["Cost", "Forecast", "costs_of"]

_SHOWN = 12


class Cost(NamedTuple):
    """What one missing edge will take: the key and label of the node at its end, the estimate, and the keys
    of the others that must be computed before."""

    key: str
    label: str
    recipe: str
    estimate: Estimate
    after: tuple[str, ...]


@dataclass(frozen=True)
class Forecast:
    """What ``Experiment.run`` would do now: ``missing`` explains each node that it would compute,
    ``cached`` counts those that are there, ``functions`` the calls of functions; ``code_news`` is what would
    be computed again because code changed, None when that is nothing.

    ``costs`` has an estimate for each missing node, which says how many records it goes by; the totals are
    made of these. Functions are not among them: nothing records how long they take.
    """

    missing: Explanations
    cached: int
    functions: int
    code_news: CodeNews | None = None
    workers: int = 1
    costs: tuple[Cost, ...] = ()

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the keys of the nodes to compute can't see; each once."""
        return self.missing.warnings

    @property
    def unknown(self) -> tuple[Cost, ...]:
        """Those of the costs that no record says anything about. The totals are without them."""
        return tuple(cost for cost in self.costs if cost.estimate.seconds is None)

    @property
    def work_s(self) -> float:
        """The seconds that all missing nodes take, one after another."""
        return sum(cost.estimate.seconds or 0.0 for cost in self.costs)

    @property
    def size_bytes(self) -> int:
        """The bytes that they write."""
        return sum(cost.estimate.size_bytes or 0 for cost in self.costs)

    @property
    def seconds(self) -> float:
        """The seconds that the run takes on so many ``workers``."""
        return self._times[0]

    @property
    def critical_s(self) -> float:
        """The seconds that the run takes on any number of workers: those of the critical path."""
        return self._times[1]

    @property
    def critical_path(self) -> tuple[Cost, ...]:
        """The longest chain of missing nodes, each made from the one before."""
        by_key = {cost.key: cost for cost in self.costs}
        return tuple(by_key[key] for key in self._times[2])

    @cached_property
    def _times(self) -> tuple[float, float, tuple[str, ...]]:
        return time_on(
            {cost.key: (cost.estimate.seconds or 0.0, cost.after) for cost in self.costs}, self.workers
        )

    def __str__(self) -> str:
        count = len(self.missing)
        functions = f", {self.functions} function call{'s' * (self.functions != 1)}" if self.functions else ""
        lines = [f"{count} to compute, {self.cached} cached{functions}" if count else
                 f"nothing to compute, {self.cached} cached{functions}"]  # fmt: skip
        if self.code_news is not None:
            lines.append(str(self.code_news))
        lines += self._cost_lines()
        for why, labels in self._grouped().items():
            lines.append(f"{len(labels):,} × {why}")
            lines += [f"  {label}" for label in labels[:_SHOWN]]
            if len(labels) > _SHOWN:
                lines.append(f"  … and {len(labels) - _SHOWN} more")
        lines += [f"warning: {warning}" for warning in self.warnings]
        return "\n".join(lines)

    def _cost_lines(self) -> list[str]:
        if not self.costs:
            return []
        known = [cost.estimate for cost in self.costs if cost.estimate.seconds is not None]
        if not known:
            return ["time and bytes: unknown, as none of these recipes has been computed here before"]
        at_least = "at least " if self.unknown else ""
        low, high = sum(one.low_s for one in known), sum(one.high_s for one in known)
        span = f" ({duration(low)} to {duration(high)})" if duration(low) != duration(high) else ""
        where = "one worker" if self.workers == 1 else f"{self.workers} workers"
        time = f"{at_least}{duration(self.work_s)}{span} of work"
        if self.workers > 1:
            time += f", {at_least}{duration(self.seconds)} on {where}"
        lines = [f"time: {time}; {at_least}{size_text(self.size_bytes)} on disk"]
        lines += [f"  {line}" for line in self._by_recipe()]
        path = self.critical_path
        if len(path) > 1:
            shown = [f"{one_line(cost.label, 60)} [{cost.key[:8]}]" for cost in path]
            if len(shown) > 6:
                shown = [*shown[:3], f"… {len(shown) - 6} more …", *shown[-3:]]
            lines.append(
                f"critical path, {at_least}{duration(self.critical_s)} on any number of workers: "
                f"{' → '.join(shown)}"
            )
        return lines

    def _by_recipe(self) -> list[str]:
        groups: dict[tuple[str, str], list[Estimate]] = {}
        for cost in self.costs:
            groups.setdefault((cost.recipe, cost.estimate.basis), []).append(cost.estimate)
        lines = []
        for (recipe, basis), found in groups.items():
            if found[0].seconds is None:
                lines.append(f"{len(found):,} × {recipe}: unknown, never computed here before")
                continue
            seconds = sum(one.seconds or 0.0 for one in found) / len(found)
            counts = sorted({one.records for one in found})
            records = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
            plural = "" if counts[-1] == 1 else "s"
            lines.append(
                f"{len(found):,} × {recipe}: {duration(seconds)} each, by {records} record{plural} of {basis}"
            )
        return lines

    def _grouped(self) -> Mapping[str, list[str]]:
        groups: dict[str, list[str]] = {}
        for one in self.missing:
            # What changed of the code alone is said above, once for all.
            differs = [
                str(change)
                for change in one.changes
                if change.kind in ("property", "moment") or not one.only_code
            ]
            own = f": {one_line('; '.join(differs), 240)}" if differs else ""
            groups.setdefault(one.reason, []).append(f"{one.label} [{one.key[:8]}]{own}")
        return groups

    def _repr_html_(self) -> str:
        news = f"<pre>{escape(str(self.code_news))}</pre>" if self.code_news is not None else ""
        costs = "".join(f"<div>{escape(line)}</div>" for line in self._cost_lines())
        missing = self.missing._repr_html_() if self.missing else ""
        return f"<div>{self.cached:,} cached</div>{news}{costs}{missing}"


def costs_of(plan: Plan, records: Mapping[str, Record]) -> tuple[Cost, ...]:
    """The estimate for each missing edge of a plan, parents first."""
    units = {key: unit for key, unit in plan.units.items() if unit.computes}
    estimator = Estimator(records, {unit.promise.name for unit in units.values()})
    costs = []
    for key, unit in units.items():
        promise = unit.promise
        last = 0 if unit.final else max(unit.moments)
        label = promise.label if unit.final else unit.moments[last].label
        estimate = estimator.of(promise.name, key, promise.properties, last)
        costs.append(Cost(key, label, promise.name, estimate, tuple(unit.after)))
    return tuple(costs)
