"""Keeping a search for a lottery ticket: a model of 20 MB, trained, then ten times pruned and trained on.

Side by side: dagtree; dagtree with masks and pruned tensors kept as they are, which is what it costs to keep
only what changed; `torch.save` and safetensors, one file for each state. Pruned by `torch.nn.utils.prune`,
which keeps float32 masks and what the weights were, and by hand, with masks of bools. What is timed to the
line: the docstring of `tickets.py`.

Every measurement is a fresh process with one thread of torch and a new directory.
"""

from __future__ import annotations

from functools import partial

from .harness import (
    Options,
    Report,
    Series,
    Target,
    Times,
    fresh_python,
    installed,
    interleave,
    number,
    repeats_in_words,
    say,
    script,
    table,
)
from .places import Place, places

SIZE, QUICK_SIZE = (5, 1_000, 10), (2, 150, 2)
TITLES = {
    "torch": "`torch.save`",
    "safetensors": "safetensors",
    "dense": "dagtree, everything as it is",
    "dagtree": "**dagtree**",
}
MANNERS = {"torch": "`torch.nn.utils.prune`", "own": "masks of bools"}


def measure(options: Options) -> Report:
    report = Report("Lottery tickets of 20 MB")
    size = QUICK_SIZE if options.quick else SIZE
    repeats = options.times(5)
    found_places, remarks = places()
    if options.quick:
        del found_places[1:]
    report.notes.extend(remarks)
    say(f"tickets: {repeats_in_words(repeats)} on each of {len(found_places)} places")
    for place in found_places:
        rows = []
        for manner in MANNERS:
            tools = ["dagtree", "dense", "torch"]
            if manner == "own" and installed("safetensors"):
                tools.append("safetensors")  # it has no way to keep a module
            contestants = {tool: partial(one_repeat, tool, manner, size, place) for tool in tools}
            found = interleave(repeats, contestants)
            for tool in (tool for tool in TITLES if tool in tools):
                report.series.update(
                    {f"{place.name}/{manner}/{tool}/{what}": each for what, each in found[tool].items()}
                )
                rows.append(row(manner, tool, found))
            report.targets += targets(manner, found, place)
        head = [
            f"{place.title}, {repeats_in_words(repeats)}",
            "MB on disk",
            "of it dagtree's",
            "to keep all states, ms",
            "of which processor, ms",
            "to load the last and add it up, ms",
        ]
        report.tables.append(table(head, rows))
    states = 1 + 2 * size[2]
    report.notes.append(f"{states} states. What dagtree keeps of masks and pruned tensors: docs/space.md.")
    return report


def one_repeat(tool: str, manner: str, size: tuple[int, int, int], place: Place, repeat: int) -> Times:
    call = "from benchmarks.tickets import main; main()"
    with place.scratch() as scratch:
        return fresh_python(["-c", call, tool, manner, *map(str, size), str(scratch / "kept")])


def row(manner: str, tool: str, found: dict[str, dict[str, Series]]) -> list[str]:
    times, ours = found[tool], found["dagtree"]
    share = ours["disk_bytes"].over(times["disk_bytes"]).median
    return [
        f"{MANNERS[manner]}: {TITLES[tool]}",
        number(times["disk_bytes"].median / 1e6),
        f"{number(share)} ×" if tool != "dagtree" else "",
        times["save_s"].scaled(1e3).text(),
        times["save_cpu_s"].scaled(1e3).text(),
        times["restore_s"].scaled(1e3).text(),
    ]


def targets(manner: str, found: dict[str, dict[str, Series]], place: Place) -> list[Target]:
    ours, dense, title = found["dagtree"], found["dense"], f"{MANNERS[manner]}, {place.name}"
    disk = ours["disk_bytes"].over(dense["disk_bytes"]).median
    saving = ours["save_s"].over(found["torch"]["save_s"]).median
    return [
        Target(f"bytes on disk, {title}", disk, 0.4, "× everything as it is"),
        Target(f"time to keep, {title}", saving, 1.0, "× torch.save"),
    ]


if __name__ == "__main__":
    raise SystemExit(script(measure, __doc__))
