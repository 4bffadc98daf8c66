"""The statistics of replicates, on plain numbers. scipy computes; where a method is from stands with it."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import SelectionError
from .extras import needed
from .text import number_text

__all__ = ["Difference", "Part", "Spread", "paired", "parts_of_variance", "spread", "unpaired"]


@dataclass(frozen=True, slots=True)
class Spread:
    """Replicates as one: ``mean``, sample standard deviation ``std`` (divisor n - 1), the confidence interval
    of the mean from ``low`` to ``high`` at ``level``, and ``n``, how many independent ones there are.
    ``std``, ``low`` and ``high`` are NaN for a single one."""

    mean: float
    std: float
    low: float
    high: float
    n: int
    level: float = 0.95

    @property
    def half(self) -> float:
        """Half the width of the interval."""
        return (self.high - self.low) / 2

    def __str__(self) -> str:
        return f"{self.short} (n={self.n})"

    @property
    def short(self) -> str:
        """``0.912 ± 0.0043``; the mean alone of a single one."""
        return f"{number_text(self.mean)} ± {self.half:.2g}" if self.n > 1 else number_text(self.mean)


@dataclass(frozen=True, slots=True)
class Difference:
    """How much one branch is above another: the mean difference, its confidence interval and the p-value of
    its being 0.

    ``is_paired`` says whether replicates were compared with those that share their ancestors; ``n`` is then
    how many pairs there are, else how many replicates in the two branches together. ``left_out`` nodes had no
    partner.
    """

    mean: float
    std: float
    low: float
    high: float
    p: float
    n: int
    is_paired: bool
    left_out: int = 0
    level: float = 0.95

    def __str__(self) -> str:
        how = f"{self.n} pairs" if self.is_paired else f"unpaired, {self.n} replicates"
        left = f", {self.left_out} without a partner left out" if self.left_out else ""
        interval = f"{self.level:.0%} interval {number_text(self.low)} to {number_text(self.high)}"
        return f"{number_text(self.mean)} ({interval}; p={number_text(self.p)}; {how}{left})"


@dataclass(frozen=True, slots=True)
class Part:
    """One level's part of the variance. ``groups`` are the branches at this level, ``variance`` is its
    component, ``share`` of their sum; ``F`` and ``p`` test against the level below."""

    level: str
    groups: int
    df: int
    sum_of_squares: float
    mean_square: float
    F: float
    p: float
    variance: float
    share: float


def spread(values: Sequence[float], level: float = 0.95) -> Spread:
    """Mean and spread of independent values, and Student's t interval of the mean: mean ± t s/√n with n - 1
    degrees of freedom (Student, "The probable error of a mean", Biometrika 6, 1908). It is exact for normal
    values, and close for others unless they are few and skewed."""
    check_level(level)
    n = len(values)
    if not n:
        raise SelectionError("there is no value to take the mean of")
    mean = math.fsum(values) / n
    if n < 2:
        return Spread(mean, math.nan, math.nan, math.nan, n, level)
    std = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (n - 1))
    half = t_quantile(level, n - 1) * std / math.sqrt(n)
    return Spread(mean, std, mean - half, mean + half, n, level)


def t_quantile(level: float, freedom: float) -> float:
    """How many standard errors a two-sided interval reaches."""
    special: Any = needed("scipy.special", "intervals")
    return float(special.stdtrit(freedom, (1 + level) / 2))


def paired(differences: Sequence[float], level: float = 0.95, left_out: int = 0) -> Difference:
    """Student's t of the differences within pairs ("The probable error of a mean", Biometrika 6, 1908)."""
    stats: Any = needed("scipy.stats", "differences")
    own = spread(differences, level)
    p = _p(stats, own.mean, own.std / math.sqrt(own.n), own.n - 1)
    return Difference(own.mean, own.std, own.low, own.high, p, own.n, True, left_out, level)


def unpaired(first: Sequence[float], second: Sequence[float], level: float = 0.95) -> Difference:
    """First minus second by Welch's t, which doesn't take the two variances for equal ("The generalization of
    'Student's' problem when several different population variances are involved", Biometrika 34, 1947), with
    Satterthwaite's degrees of freedom.

    Raises SelectionError when there are fewer than two of one.
    """
    stats: Any = needed("scipy.stats", "differences")
    a, b = spread(first, level), spread(second, level)
    if a.n < 2 or b.n < 2:
        raise SelectionError(
            f"a difference of {a.n} and {b.n} replicates has no interval: no pairs share ancestors, so "
            "each branch needs two or more"
        )
    va, vb = a.std**2 / a.n, b.std**2 / b.n
    mean, error = a.mean - b.mean, math.sqrt(va + vb)
    freedom = (va + vb) ** 2 / (va**2 / (a.n - 1) + vb**2 / (b.n - 1)) if error else 1.0
    half = t_quantile(level, freedom) * error
    std = math.sqrt((a.std**2 + b.std**2) / 2)
    p = _p(stats, mean, error, freedom)
    return Difference(mean, std, mean - half, mean + half, p, a.n + b.n, False, level=level)


def _p(stats: Any, mean: float, error: float, freedom: float) -> float:
    """How likely a t at least as far from 0 is; of values without any spread 0 or 1."""
    if error == 0:
        return 1.0 if mean == 0 else 0.0
    return float(stats.t.sf(abs(mean) / error, freedom) * 2)


def parts_of_variance(
    names: Sequence[str], groups: Sequence[Sequence[Hashable]], values: Sequence[float]
) -> list[Part]:
    """The variance of values, split by nested levels: a nested analysis of variance with random effects.

    ``groups`` has, for each level from the outermost, each value's group; a group lies within one group of
    the level before, and what is left below the last level is the part ``"within"``. Components are estimated
    by the method of moments, expected mean squares for unequal groups after Gates and Shiue ("The analysis of
    variance of the s-stage hierarchical classification", Biometrics 18, 1962; Searle, Casella and McCulloch,
    Variance Components, 1992, chapter 5.2); an estimate below 0 counts as 0. F compares a mean square with
    the next one below: exact when groups are equally large, approximate otherwise.

    Raises SelectionError when a level can't be told from the one above it, or there is nothing to split.
    """
    stats: Any = needed("scipy.stats", "variance components")
    size = len(values)
    levels: list[list[Hashable]] = [[()] * size]
    for own in groups:
        levels.append([(above, mine) for above, mine in zip(levels[-1], own, strict=True)])
    labels = list(names)
    if len(set(levels[-1])) < size:
        levels.append(list(range(size)))
        labels.append("within")
    counts = [len(set(level)) for level in levels]
    for label, above, here in zip(labels, counts, counts[1:], strict=False):
        if here == above:
            raise SelectionError(
                f"the level {label!r} has one branch in each branch above it ({here:,} in {above:,}), so its "
                "part of the variance can't be told from theirs: leave it out, or replicate it"
            )
    if len(labels) == 0:
        raise SelectionError("there is one value only: no variance to split")

    means, sizes = [], []
    for level in levels:
        members: dict[Hashable, list[float]] = {}
        for group, value in zip(level, values, strict=True):
            members.setdefault(group, []).append(value)
        means.append({group: math.fsum(own) / len(own) for group, own in members.items()})
        sizes.append({group: len(own) for group, own in members.items()})
    freedoms, squares = [], []
    for at in range(1, len(levels)):
        freedoms.append(counts[at] - counts[at - 1])
        pairs = zip(levels[at], levels[at - 1], strict=True)
        squares.append(math.fsum((means[at][own] - means[at - 1][above]) ** 2 for own, above in pairs))
    mean_squares = [square / freedom for square, freedom in zip(squares, freedoms, strict=True)]

    def weight(at: int, source: int) -> float:
        """How often the component of the level ``source`` is in the mean square of the level ``at``."""
        total = 0.0
        seen = set()
        for row in range(size):
            group = levels[source][row]
            if group not in seen:
                seen.add(group)
                share = 1 / sizes[at][levels[at][row]] - 1 / sizes[at - 1][levels[at - 1][row]]
                total += sizes[source][group] ** 2 * share
        return total / freedoms[at - 1]

    components = [0.0] * len(labels)
    for at in reversed(range(len(labels))):
        below = math.fsum(
            weight(at + 1, other + 1) * components[other] for other in range(at + 1, len(labels))
        )
        components[at] = max(0.0, (mean_squares[at] - below) / weight(at + 1, at + 1))
    total = math.fsum(components)
    parts = []
    for at, label in enumerate(labels):
        F = p = math.nan
        if at + 1 < len(labels) and mean_squares[at + 1] > 0:
            F = mean_squares[at] / mean_squares[at + 1]
            p = float(stats.f.sf(F, freedoms[at], freedoms[at + 1]))
        share = components[at] / total if total else math.nan
        parts.append(
            Part(
                label,
                counts[at + 1],
                freedoms[at],
                squares[at],
                mean_squares[at],
                F,
                p,
                components[at],
                share,
            )
        )
    return parts


def check_level(level: float) -> None:
    if isinstance(level, bool) or not isinstance(level, int | float) or not 0 < level < 1:
        raise ValueError(f"a confidence level lies between 0 and 1, as 0.95 does; not {level!r}")
