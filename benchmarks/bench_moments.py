"""Moments: what do safe points cost a training that runs a minute, kept as often as they are by default?

The digits study's own training (`examples/digits_study.py`), with so many epochs that it takes about a
minute; in a fresh process each, interleaved: without dagtree around it, with dagtree and `moments="none"`,
and with what holds by default. All that saves counts: what the loop waits, and the processor's time in the
thread that writes. Both are also counted directly, since on a shared machine a ratio of two minutes swings
by more than a hundredth. The children's weights are compared: safe points change no bit.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

from .harness import (
    ChildFailed,
    Options,
    Report,
    Target,
    Times,
    fresh_python,
    interleave,
    number,
    repeats_in_words,
    say,
    script,
    table,
)
from .places import Place, places

LIMIT_PERCENT = 1.0
EPOCHS = 3_000
HOW = {"alone": "the loop alone", "none": '`moments="none"`', "auto": "**by default**"}


def train_once(how: str, epochs: int, place: Place, repeat: int) -> Times:
    with place.scratch() as scratch:
        arguments = ["-m", "benchmarks.moments_dagtree", how, str(epochs), str(Path(scratch) / "tree")]
        return fresh_python(arguments)


def measure(options: Options) -> Report:
    report = Report("Moments")
    epochs = 3 if options.quick else EPOCHS
    repeats = options.times(3)
    place = places()[0][-1]
    contestants = {how: partial(train_once, how, epochs, place) for how in HOW}
    say(f"moments: {repeats_in_words(repeats)}")
    for how in HOW:
        train_once(how, 1, place, 0)
    found = interleave(repeats, contestants)
    bits = {value for how in ("none", "auto") for value in found[how].pop("bits").values}
    if len(bits) != 1:
        raise ChildFailed("the trainings ended with different weights")
    report.series = {
        f"{how}/{what}": s for how, times in found.items() for what, s in times.items() if min(s.values) > 0
    }
    rows = []
    for how, title in HOW.items():
        times = found[how]
        over = times["cpu_s"].over(found["none"]["cpu_s"])
        rows.append(
            [
                title,
                times["wall_s"].text(),
                times["cpu_s"].text(),
                over.text(3),
                number(times["kept"].median, 0),
            ]
        )
    head = [
        f"{epochs:,} epochs on the {place.title}, {repeats_in_words(repeats)}",
        "s on the wall",
        "s of the processor",
        "× without safe points",
        "safe points",
    ]
    report.tables.append(table(head, rows))
    auto = found["auto"]
    waited = auto["waited_s"].over(auto["wall_s"]).scaled(100)
    written = auto["written_cpu_s"].over(auto["wall_s"]).scaled(100)
    ratio = auto["cpu_s"].over(found["none"]["cpu_s"])
    report.targets += [
        Target("saving, counted directly, of the time on the wall", waited.median + written.median, 1.0, "%"),
        Target("processor's time over that without safe points", ratio.median, 1 + LIMIT_PERCENT / 100, "×"),
    ]
    report.notes.append(
        f"Of the time on the wall, the loop waited {waited.text(3)} % for safe points, and writing them took "
        f"the processor {written.text(3)} %, beside the loop."
    )
    return report


if __name__ == "__main__":
    raise SystemExit(script(measure, __doc__))
