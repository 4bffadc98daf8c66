"""Cold run, warm run and reopening of a tree of trivial nodes, beside joblib.Memory and raw Dask.

A root and 10 chains, 1,000 and 10,000 nodes, on a RAM disk and on the real disk. Within a repeat every
contestant gets a new directory; cold, warm and reopening are three fresh processes on that directory,
each phase taken by all contestants before the next begins. What each one times: the docstrings of
`chains_dagtree.py`, `chains_joblib.py` and `chains_dask.py`. The page cache holds what was just
written, except where "page cache dropped" is said. Files are flushed only as far as each library does
so itself.

Ratios compare seconds on the wall. Promises in milliseconds are judged by the processor's time, since
all files are in the page cache: on an idle machine the two are the same, and on a busy one only the
second is ours.
"""

from __future__ import annotations

import shutil
from itertools import chain
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

CHAINS = 10
PEERS = {"joblib": "joblib.Memory", "dask": "raw Dask"}
PHASES = {
    "dagtree": ["cold", "warm", "reopen"],
    "joblib": ["cold", "warm", "list"],
    "dask": ["cold"],
}

# Title, what was measured, unit, what it is divided by.
LINES = [
    ("define: raw Dask", "dask/cold/define_s", "µs a node", ""),
    ("define: **dagtree**", "dagtree/cold/define_s", "µs a node", ""),
    ("cold: raw Dask, keeps nothing", "dask/cold/total_s", "µs a node", "joblib/cold/total_s"),
    ("cold: joblib.Memory", "joblib/cold/total_s", "µs a node", ""),
    ("cold: **dagtree**, define and run", "dagtree/cold/total_s", "µs a node", "joblib/cold/total_s"),
    ("cold: **dagtree**, of which the run", "dagtree/cold/run_s", "µs a node", "joblib/cold/total_s"),
    ("cold, whole process: raw Dask", "dask/cold/process_s", "s", "joblib/cold/process_s"),
    ("cold, whole process: joblib.Memory", "joblib/cold/process_s", "s", ""),
    ("cold, whole process: **dagtree**", "dagtree/cold/process_s", "s", "joblib/cold/process_s"),
    ("warm: joblib.Memory", "joblib/warm/total_s", "µs a node", ""),
    ("warm: **dagtree**, define and run", "dagtree/warm/total_s", "µs a node", "joblib/warm/total_s"),
    ("warm: **dagtree**, of which the run", "dagtree/warm/run_s", "µs a node", "joblib/warm/total_s"),
    ("warm, whole process: joblib.Memory", "joblib/warm/process_s", "s", ""),
    ("warm, whole process: **dagtree**", "dagtree/warm/process_s", "s", "joblib/warm/process_s"),
    ("after warm, read the 10 ends: **dagtree**", "dagtree/warm/leaves_s", "ms", ""),
    ("list the cache: joblib.Memory", "joblib/list/total_s", "ms", ""),
    ("reopen: **dagtree**", "dagtree/reopen/open_s", "ms", "joblib/list/total_s"),
    ("reopen, processor time: **dagtree**", "dagtree/reopen/open_cpu_s", "ms", ""),
    ("reopen, page cache dropped: **dagtree**", "dagtree/reopen_dropped/open_s", "ms", ""),
    ("filter by tag: **dagtree**", "dagtree/reopen/filter_s", "ms", ""),
    ("then touch every node: **dagtree**", "dagtree/reopen/touch_s", "ms", ""),
]

Found = dict[str, Series]


def sizes(options: Options) -> dict[int, int]:
    """Nodes → repeats."""
    if options.quick:
        return {20: options.times(1)}
    return {1_000: options.times(7), 10_000: options.times(3)}


def one_phase(tool: str, phase: str, nodes: int, home: Path) -> Times:
    tree = str(home / "tree")
    return fresh_python(["-m", "benchmarks.child", f"chains_{tool}", phase, str(nodes), str(CHAINS), tree])


def one_repeat(tools: list[str], nodes: int, place: Place, repeat: int) -> dict[str, Times]:
    """All phases of all contestants once: "dagtree/cold" → its times."""
    taken: dict[str, Times] = {}
    shift = repeat % len(tools)
    with place.scratch() as scratch:
        homes = {tool: scratch / tool for tool in tools}
        for home in homes.values():
            home.mkdir()
        for step in range(3):
            for tool in tools[shift:] + tools[:shift]:
                if step < len(PHASES[tool]):
                    phase = PHASES[tool][step]
                    taken[f"{tool}/{phase}"] = one_phase(tool, phase, nodes, homes[tool])
        if place.name == "disk":
            taken["dagtree/reopen_dropped"] = one_phase("dagtree", "reopen_dropped", nodes, homes["dagtree"])
        for home in homes.values():
            shutil.rmtree(home)
    return taken


def measure_place(tools: list[str], nodes: int, repeats: int, place: Place) -> Found:
    """One size at one place: "dagtree/cold/total_s" → Series."""

    def everyone(repeat: int) -> Times:
        say(f"{nodes:,} nodes, {place.title}, repeat {repeat + 1} of {repeats}")
        taken = one_repeat(tools, nodes, place, repeat)
        return {f"{name}/{what}": seconds for name, times in taken.items() for what, seconds in times.items()}

    return interleave(repeats, {"all": everyone})["all"]


def cells(found: Found, nodes: int) -> dict[str, tuple[str, str]]:
    """Title → the time and its ratio, for what was measured."""
    made = {}
    for title, name, unit, against in LINES:
        if name in found:
            scale = {"µs a node": 1e6 / nodes, "ms": 1e3, "s": 1.0}[unit]
            ratio = f"{number(found[name].over(found[against]).median)} ×" if against in found else ""
            made[title] = (f"{found[name].scaled(scale).text()} {unit}", ratio)
    return made


def side_by_side(per_place: dict[Place, Found], nodes: int, repeats: int) -> str:
    """One table for one size, places side by side; what a place lacks is an empty cell."""
    columns = [cells(found, nodes) for found in per_place.values()]
    titles = [title for title, *_ in LINES if any(title in column for column in columns)]
    head = [f"{nodes:,} nodes, {repeats_in_words(repeats)}"]
    for place in per_place:
        head += [place.title, "× joblib"]
    rows = [[t, *chain.from_iterable(column.get(t, ("", "")) for column in columns)] for t in titles]
    return table(head, rows)


def targets(found: Found, nodes: int, place: Place, largest: bool) -> list[Target]:
    """The promises that this size at this place decides; joblib's are left out where it isn't installed."""
    where = f"{nodes:,} nodes, {place.name}"
    decided = []
    for phase, limit, decides in (("cold", 0.6, place.name == "ram"), ("warm", 0.25, True)):
        if decides and f"joblib/{phase}/total_s" in found:
            ratio = found[f"dagtree/{phase}/total_s"].over(found[f"joblib/{phase}/total_s"]).median
            decided.append(Target(f"{phase}, {where}", ratio, limit, "× joblib.Memory"))
    if largest:
        for title, name, limit in (("reopen", "open_cpu_s", 60), ("filter by tag", "filter_cpu_s", 10)):
            measured_ms = found[f"dagtree/reopen/{name}"].median * 1e3
            decided.append(Target(f"{title}, {where}", measured_ms, limit, "ms of processor time"))
    return decided


def measure(options: Options) -> Report:
    report = Report("Cold, warm and reopened")
    tools = ["dagtree"]
    for peer, title in PEERS.items():
        if installed(peer):
            tools.append(peer)
        else:
            report.notes.append(f"{title}: not installed, so not measured.")
    found_places, remarks = places()
    report.notes += remarks
    asked = sizes(options)
    one_repeat(tools, CHAINS, found_places[-1], 0)
    for nodes, repeats in asked.items():
        per_place = {place: measure_place(tools, nodes, repeats, place) for place in found_places}
        for place, found in per_place.items():
            report.targets += targets(found, nodes, place, largest=nodes == max(asked))
            report.series |= {f"{nodes}/{place.name}/{name}": series for name, series in found.items()}
        report.tables.append(side_by_side(per_place, nodes, repeats))
    return report


if __name__ == "__main__":
    raise SystemExit(script(measure, __doc__))
