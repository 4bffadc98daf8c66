"""Keeping states of a model's size: 100 MB, of which each step changes 1 %, or all.

A state is 100 float32 tensors of 250,000 numbers each. Side by side: dagtree; `torch.save`, safetensors and
`joblib.dump`, one file for each node; dagger, which pickles the whole state with dill (say where both lie
with `--dagger PATH`); and the floor, a bare loop that hashes every tensor with xxh3-128 and writes those
that are new to files. Then restoring, and verifying. What each phase times to the line: the docstring of
`states.py`.

Every measurement is a fresh process with one thread of torch and a new directory. Nobody flushes anything to
the platter, and what was written is read from the page cache.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

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

PEERS = ("floor", "torch", "safetensors", "joblib", "dagger")
TITLES = {
    "floor": "the floor: hash all, write what is new",
    "torch": "`torch.save`",
    "safetensors": "safetensors",
    "joblib": "`joblib.dump`",
    "dagger": "dagger",
    "dagtree": "**dagtree**",
}
CHAINS = {"one": "1 % changed", "all": "all changed"}
SIZE, QUICK_SIZE = (100, 250_000, 10), (10, 20_000, 3)

Found = dict[str, Series]


def measure(options: Options) -> Report:
    report = Report("States of 100 MB")
    size = QUICK_SIZE if options.quick else SIZE
    repeats = options.times(7)
    tools = ["dagtree", "floor", "torch"]
    for tool in ("safetensors", "joblib"):
        if installed(tool):
            tools.append(tool)
        else:
            report.notes.append(f"{tool}: not installed, so not measured.")
    if options.dagger is not None:
        tools.append("dagger")
    else:
        report.notes.append("dagger: not measured; say where it and dill lie with --dagger PATH.")
    found_places, remarks = places()
    if options.quick:
        del found_places[1:]
    report.notes.extend(remarks)
    say(f"states: {repeats_in_words(repeats)} on each of {len(found_places)} places")
    for place in found_places:
        found = measure_place(tools, size, place, repeats, options)
        report.series.update({f"{place.name}/{name}": series for name, series in found.items()})
        report.tables += [saving(found, tools, place, repeats), restoring(found, tools, place, repeats)]
        report.targets += targets(found, tools, place, size)
    report.notes.append(
        "Something small is loaded, for its imports, before the clock starts. dagtree compares large tensors "
        "with their digests when it restores them first, before anybody sees them; "
        'check="never" leaves that out, and `node.tensors()` compares only what is asked for.'
    )
    return report


def once(tool: str, phase: str, size: tuple[int, int, int], directory: Path, options: Options) -> Times:
    numbers = [str(part) for part in size]
    rest = [str(options.dagger)] if tool == "dagger" else []
    call = "from benchmarks.states import main; main()"
    return fresh_python(["-c", call, tool, phase, *numbers, str(directory), *rest])


def one_repeat(
    tool: str, phase: str, size: tuple[int, int, int], place: Place, options: Options, repeat: int
) -> Times:
    """Keeps a chain, and reads it, each in a fresh process."""
    times: Times = {}

    def take(name: str, directory: Path) -> None:
        found = once(tool, name, size, directory, options)
        times.update({f"{name}/{what}": value for what, value in found.items() if what != "process_s"})

    with place.scratch() as scratch:
        take(phase, scratch / "kept")
        if tool in ("dagtree", "safetensors", "torch") and phase == "one":
            for name in ("restore", "touch"):
                take(name, scratch / "kept")
        if tool == "dagtree":
            others = ["restore-never", "touch-never", "tensors"] if phase == "one" else ["verify"]
            for name in others:
                take(name, scratch / "kept")
    if tool == "dagtree" and phase == "one":
        with place.scratch() as scratch:
            take("one-resumed", scratch / "kept")
    return times


def measure_place(
    tools: list[str], size: tuple[int, int, int], place: Place, repeats: int, options: Options
) -> Found:
    if not options.quick:
        for tool in tools:
            one_repeat(tool, "one", QUICK_SIZE, place, options, 0)
    found: Found = {}
    for phase in CHAINS:
        contestants = {tool: partial(one_repeat, tool, phase, size, place, options) for tool in tools}
        for tool, times in interleave(repeats, contestants).items():
            found.update({f"{tool}/{what}": series for what, series in times.items()})
    return found


def saving(found: Found, tools: list[str], place: Place, repeats: int) -> str:
    rows = []
    for phase, title in CHAINS.items():
        ours = found[f"dagtree/{phase}/chain_s"]
        for tool in (*[tool for tool in PEERS if tool in tools], "dagtree"):
            at = f"{tool}/{phase}"
            peak = found.get(f"{at}/peak")
            rows.append([
                f"{title}: {TITLES[tool]}",
                found[f"{at}/chain_s"].scaled(1e3).text(),
                f"{number(ours.over(found[f'{at}/chain_s']).median)} ×" if tool != "dagtree" else "",
                number(found[f"{at}/disk_bytes"].median / 1e6),
                peak.text(2) if peak is not None else "",
            ])  # fmt: skip
    rows.append([
        "1 % changed: **dagtree**, by a second run, restoring the root",
        found["dagtree/one-resumed/chain_s"].scaled(1e3).text(), "", "", "",
    ])  # fmt: skip
    head = [
        f"{place.title}, {repeats_in_words(repeats)}",
        "the steps, ms",
        "dagtree's over it",
        "MB on disk, with the root",
        "peak memory, states",
    ]
    return table(head, rows)


def restoring(found: Found, tools: list[str], place: Place, repeats: int) -> str:
    lines = [
        ('restore and read one number, check="never": **dagtree**', "dagtree/restore-never/first_s"),
        ("restore and read one number, for the first time: **dagtree**", "dagtree/restore/first_s"),
        ("the same again, in the same process: **dagtree**", "dagtree/restore/again_s"),
        ("`node.tensors()`, and one number of one of them: **dagtree**", "dagtree/tensors/first_s"),
        ("load and read one number: `torch.load`", "torch/restore/first_s"),
        ("load and read one number: safetensors", "safetensors/restore/first_s"),
        ("load and add up every tensor: `torch.load`", "torch/touch/touch_s"),
        ("load and add up every tensor: safetensors", "safetensors/touch/touch_s"),
        ("restore, check, and add up every tensor: **dagtree**", "dagtree/touch/touch_s"),
        ('restore and add up every tensor, check="never": **dagtree**', "dagtree/touch-never/touch_s"),
        ("verify, after all changed: **dagtree**", "dagtree/verify/verify_s"),
        ("xxh3-128 over as many bytes in memory", "dagtree/verify/hash_s"),
    ]
    rows = [
        [title, found[name].scaled(1e3).text()] for title, name in lines if name.partition("/")[0] in tools
    ]
    return table([f"{place.title}, {repeats_in_words(repeats)}", "ms"], rows)


def targets(found: Found, tools: list[str], place: Place, size: tuple[int, int, int]) -> list[Target]:
    made = []

    def judge(promise: str, series: Series | float, limit: float, unit: str) -> None:
        measured = series if isinstance(series, float) else series.median
        made.append(Target(f"{promise}, {place.name}", measured, limit, unit))

    one, every = found["dagtree/one/chain_s"], found["dagtree/all/chain_s"]
    judge("1 % changed", one.over(found["floor/one/chain_s"]), 1.3, "× the floor")
    judge("1 % changed", one.over(found["torch/one/chain_s"]), 1 / 3, "× torch.save")
    if "dagger" in tools:
        judge("1 % changed", one.over(found["dagger/one/chain_s"]), 0.1, "× dagger")
    tensors, elements, steps = size
    distinct = 4.0 * elements * (tensors + steps)
    judge("1 % changed", found["dagtree/one/disk_bytes"].median / distinct, 1.02, "× the distinct bytes")
    if "safetensors" in tools:
        judge("all changed", every.over(found["safetensors/all/chain_s"]), 1.3, "× safetensors")
    judge("restoring: first access, unchecked", found["dagtree/restore-never/first_s"].scaled(1e3), 5, "ms")
    judge("restoring: first access to one tensor", found["dagtree/tensors/first_s"].scaled(1e3), 5, "ms")
    if "safetensors" in tools:
        touch = found["dagtree/touch/touch_s"].over(found["safetensors/touch/touch_s"])
        judge("restoring: load, check and touch", touch, 1, "× safetensors")
        touch = found["dagtree/touch-never/touch_s"].over(found["safetensors/touch/touch_s"])
        judge("restoring: load and touch, unchecked", touch, 1, "× safetensors")
    judge("peak memory while saving", found["dagtree/all/peak"], 1.1, "× the state")
    verify = found["dagtree/verify/verify_s"].over(found["dagtree/verify/hash_s"])
    judge("verify", verify, 2, "× xxh3's time")
    return made


if __name__ == "__main__":
    raise SystemExit(script(measure, __doc__))
