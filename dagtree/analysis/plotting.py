"""Curves and clouds of points with matplotlib, from numbers that are already put together."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from .extras import needed
from .text import shorten

__all__ = ["Line", "Point", "draw_lines"]

# Okabe and Ito, "Color universal design", 2008: told apart by everybody, in an order of good contrast.
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#5f5f5f", "#a8a000")
_MARKERS = "osD^vPX*"
_STYLES = ("-", "--", ":", "-.")
_MOST_NAMED = 16
_MOST_INSIDE = 6  # of a legend: more would hide what they name, and so would longer ones
_LONGEST_INSIDE = 34
_LINE, _LONGEST = 40, 160


@dataclass(frozen=True, slots=True)
class Point:
    """One branch: its y with an interval (NaN where there is none), over ``n`` replicates."""

    x: Any
    y: float
    low: float = math.nan
    high: float = math.nan
    n: int = 1


@dataclass(slots=True)
class Line:
    """Points under one name; ``is_joined`` when they are one course, in the order of x. Lines of one name
    have one
    colour."""

    name: str
    points: list[Point] = field(default_factory=list)
    is_joined: bool = True


def draw_lines(lines: Sequence[Line], x: str, y: str, title: str, note: str, ax: Any, is_curve: bool) -> Any:
    """The lines on axes, new ones unless ``ax`` is given: bands around curves, bars at points."""
    plt = needed("matplotlib.pyplot", "plots")
    names = list(dict.fromkeys(line.name for line in lines))
    labels = _labels(names)
    is_beside = len(names) > _MOST_INSIDE
    if ax is None:
        is_beside = is_beside or any(len(label) > _LONGEST_INSIDE for label in labels.values())
        _, ax = plt.subplots(figsize=(8.8 if is_beside else 6.4, 4.2), layout="constrained")
    ticks = _categories(lines)
    named_already: set[str] = set()
    for line in lines:
        at = names.index(line.name)
        colour = _COLOURS[at % len(_COLOURS)]
        style = _STYLES[at // len(_COLOURS) % len(_STYLES)]
        is_named = bool(line.name) and at < _MOST_NAMED and line.name not in named_already
        named = _literal(labels[line.name]) if is_named else "_"
        named_already.add(line.name)
        points = line.points
        xs = [point.x if ticks is None else ticks.index(str(point.x)) for point in points]
        ys = [point.y for point in points]
        if is_curve:
            ax.plot(xs, ys, style, color=colour, linewidth=1.8, label=named)
            if any(point.n > 1 for point in points):
                lows = [point.low if point.n > 1 else point.y for point in points]
                highs = [point.high if point.n > 1 else point.y for point in points]
                ax.fill_between(xs, lows, highs, color=colour, alpha=0.18, linewidth=0)
            continue
        below = [0.0 if math.isnan(point.low) else point.y - point.low for point in points]
        above = [0.0 if math.isnan(point.high) else point.high - point.y for point in points]
        ax.errorbar(
            xs, ys, yerr=[below, above] if any((*below, *above)) else None, label=named, color=colour,
            linestyle=style if line.is_joined and ticks is None else "none", linewidth=1.6,
            marker=_MARKERS[at % len(_MARKERS)], markersize=5, capsize=3, elinewidth=1.2,
        )  # fmt: skip
    if ticks is not None:
        ax.set_xticks(range(len(ticks)), [shorten(tick, 24) for tick in ticks])
        ax.margins(x=0.15)
    elif is_curve:
        ax.xaxis.get_major_locator().set_params(integer=True)
    _dress(ax, names, x, y, title, note, is_beside)
    return ax


def _labels(names: Sequence[str]) -> dict[str, str]:
    """What the legend calls each: on several lines where it is long, and no two alike."""
    short = {name: shorten(name, _LONGEST) for name in names}
    if len(set(short.values())) < len(names):  # then what tells them apart stands at the end
        short = {name: shorten(name[::-1], _LONGEST)[::-1] for name in names}
    return {name: "\n".join(textwrap.wrap(text, _LINE)) for name, text in short.items()}


def _categories(lines: Sequence[Line]) -> list[str] | None:
    """The places along x where its values aren't all numbers."""
    values = [point.x for line in lines for point in line.points]
    if all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
        return None
    return list(dict.fromkeys(map(str, values)))


def _dress(ax: Any, names: Sequence[str], x: str, y: str, title: str, note: str, is_beside: bool) -> None:
    ax.set_xlabel(_literal(x))
    ax.set_ylabel(_literal(y))
    ax.grid(True, color="#8b949e", alpha=0.25, linewidth=0.7)
    ax.set_axisbelow(True)
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)
    if note:
        ax.set_title(_literal(note), fontsize="small", color="#57606a", loc="left")
    named = [name for name in names if name]
    if len(named) > 1 or (named and title):
        more = len(named) - _MOST_NAMED
        heading = "\n".join(
            [*([_literal(title)] if title else []), *([f"({more:,} more)"] if more > 0 else [])]
        )
        place: dict[str, Any] = (
            {"loc": "center left", "bbox_to_anchor": (1, 0.5)} if is_beside else {"loc": "best"}
        )
        ax.legend(title=heading or None, frameon=not is_beside, framealpha=0.85, edgecolor="none", **place)


def _literal(text: str) -> str:
    """What a user typed, with no meaning to matplotlib, which sets what stands between dollars as
    formulas."""
    return text.replace("$", r"\$")
