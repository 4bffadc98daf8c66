"""The fingerprint of a class's code: what does it cost the first time, and what after that?

Two recipes of 30 lines that call five helpers each, and their state class, in a script of 250 lines, in a
module of 1,800 and in one of 20,000; all else in the file is never reached. Timed, in a fresh process each,
after `import dagtree` and the import of the file: `recipe_code(Train, State)`, in which all of this code runs
for the first time; then `root_code(State)`; then another recipe's, `recipe_code(Tune, State)`; then the first
one's again, a thousand times: what looking whether anything has changed costs, at every node that is
defined. No other tool here has a fingerprint of the code that a class reaches, so there is nothing beside it.

Judged are the processor's seconds, since nothing is waited for: the file was just imported.
"""

from __future__ import annotations

import importlib
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from .chains import Clock, Phase, Shape, check
from .harness import (
    Options,
    Report,
    Target,
    Times,
    fresh_python,
    interleave,
    repeats_in_words,
    say,
    script,
    table,
)
from .places import Place, places

LIMIT_MS = 5
LIMIT_AGAIN_US = 5
AGAIN = 1_000
HELPERS = 5
REACHED = {
    name: {f"{name}.run", f"{name}.smooth"} | {f"helper_{first + place}" for place in range(HELPERS)}
    for name, first in (("Train", 0), ("Tune", HELPERS))
}

HEAD = '''"""A study."""

import math
import os.path
from collections import (
    defaultdict,
    deque,
)

import dagtree as dg

RATES = (0.1, 0.5)
SEEN = {}
'''
HELPER = '''

def helper_%d(values, weight=0.1, *, clip=None):
    """Scale values by weight.

    values: numbers
    """
    total = 0.0
    for index, value in enumerate(values):
        if clip is not None and value > clip:
            value = clip  # as the paper says
        total += weight * value / (index + %d)
    if math.isnan(total):
        raise ValueError(f"helper got nan at {len(values)} values: {values!r}")
    return {"total": total, "mean": total / max(len(values), 1)}
'''
FILLER = '''

class Block%d:
    """A block of layers that nothing here reaches."""

    scale = %d

    def __init__(self, width, depth=3):
        self.width = width
        self.layers = [(width * (place + 1), depth) for place in range(depth)]

    def forward(self, x, mask=None):
        for width, depth in self.layers:
            x = [value * width + depth for value in x]
            if mask is not None:
                x = [value if keep else 0.0 for value, keep in zip(x, mask)]
        return x
'''
TAIL = """

class State(dg.ExperimentState):
    PROPERTIES = ["dataset"]
    NONHASHED_ATTRIBUTES = ["model"]

    def initialize_state(self, **properties):
        self.model = [float(place) for place in range(10)]

    def plot(self):
        return defaultdict(deque), os.path.sep
"""
RECIPE = '''

class Train(dg.Recipe):
    """Trains."""

    epochs: int
    lr: float = 0.1

    def run(self, state):
        rate = self.lr * RATES[0]
        best = None
        for epoch in range(self.epochs):
            found = helper_0(state.model, rate)
            other = helper_1(state.model, clip=3)
            if best is None or found["total"] < best:
                best = found["total"]
            state.model = [value + rate * helper_2([value])["mean"] for value in state.model]
            if epoch % 2:
                state.model = self.smooth(state.model, other["total"])
            else:
                helper_3(state.model)
        SEEN[rate] = best
        return state

    def smooth(self, values, total):
        out = []
        for index, value in enumerate(values):
            before = values[index - 1] if index else 0
            out.append((before + value) / 2 + math.sqrt(abs(total)))
        return helper_4(out) and out
'''


def another(recipe: str) -> str:
    """The same recipe with a name and helpers of its own."""
    for place in range(HELPERS):
        recipe = recipe.replace(f"helper_{place}(", f"helper_{place + HELPERS}(")
    return recipe.replace("Train", "Tune")


def study(lines: int) -> str:
    """The text of a module of about that many lines."""
    parts = [HEAD, *(HELPER % (place, place + 1) for place in range(2 * HELPERS))]
    ends = [TAIL, RECIPE, another(RECIPE)]
    needed = lines - sum(part.count("\n") for part in [*parts, *ends])
    parts += [FILLER % (place, place) for place in range(needed // FILLER.count("\n"))]
    return "".join([*parts, *ends])


def first(shape: Shape) -> dict[str, float]:
    """`first_s`, `root_s`, `second_s`, and `again_s` for one of a thousand; `shape.nodes` are lines."""
    sys.path.insert(0, str(shape.directory))
    module = importlib.import_module(f"study_{shape.nodes}")
    from dagtree.identity.source import recipe_code, root_code

    clock = Clock()
    with clock("first_s"):
        code = recipe_code(module.Train, module.State)
    with clock("root_s"):
        root_code(module.State)
    with clock("second_s"):
        second = recipe_code(module.Tune, module.State)
    started = time.perf_counter()
    for _ in range(AGAIN):
        again = recipe_code(module.Train, module.State)
    clock.times["again_s"] = (time.perf_counter() - started) / AGAIN
    check("the same again", again is code, True)
    for recipe, reached in (("Train", code), ("Tune", second)):
        names = {source.name for source in reached.sources}
        check(f"functions that {recipe} did not reach", REACHED[recipe] - names, set())
    return clock.times


PHASES: dict[str, Phase] = {"first": first}


def first_once(lines: int, place: Place, repeat: int) -> Times:
    with place.scratch() as scratch:
        Path(scratch, f"study_{lines}.py").write_text(study(lines), encoding="utf-8")
        return fresh_python(
            ["-m", "benchmarks.child", "bench_fingerprint", "first", str(lines), "1", str(scratch)]
        )


def measure(options: Options) -> Report:
    report = Report("Fingerprints of code")
    sizes = (250, 400) if options.quick else (250, 1_800, 20_000)
    repeats = options.times(15)
    place = places()[0][0]
    contestants: dict[str, Callable[[int], Times]] = {
        str(lines): partial(first_once, lines, place) for lines in sizes
    }
    say(f"fingerprint: {repeats_in_words(repeats)}")
    first_once(sizes[0], place, 0)
    found = interleave(repeats, contestants)
    report.series = {f"{name}/{what}": s for name, times in found.items() for what, s in times.items()}
    rows = []
    for lines in sizes:
        times = found[str(lines)]
        cells = [times["first_cpu_s"], times["first_s"], times["root_cpu_s"], times["second_cpu_s"]]
        again = times["again_s"].scaled(1e6)
        rows.append([f"{lines:,}", *(cell.scaled(1e3).text() for cell in cells), again.text()])
    limited = sizes[:-1] if len(sizes) > 2 else sizes
    for lines in limited:
        for which, timed in (("the process's first class", "first"), ("its next", "second")):
            measured = found[str(lines)][f"{timed}_cpu_s"].median * 1e3
            name = f"first fingerprint of {which}, a file of {lines:,} lines"
            report.targets.append(Target(name, measured, LIMIT_MS, "ms of processor time"))
    again_us = max(found[str(lines)]["again_s"].median for lines in sizes) * 1e6
    report.targets.append(Target("and after that", again_us, LIMIT_AGAIN_US, "µs"))
    head = [
        f"lines of the file, {repeats_in_words(repeats)}",
        "recipe, ms of processor time",
        "ms on the wall",
        "then its root",
        "then another recipe",
        "then again, µs",
    ]
    report.tables.append(table(head, rows))
    report.notes.append(
        f"Each recipe has 30 lines and {HELPERS} helpers of its own. A file of 20,000 lines is read and "
        "searched, but not parsed either."
    )
    return report


if __name__ == "__main__":
    raise SystemExit(script(measure, __doc__))
