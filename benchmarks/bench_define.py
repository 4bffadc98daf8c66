"""Defining a tree: is it linear, in many short chains and in one long one?

1,000 and 10,000 nodes, in 10 chains and in one. Timed, in a fresh process each: `Experiment(...)`, the
root, every node with its tags, and every key read; the fingerprint of the code, made once, is included,
so small trees pay more of it per node. Raw Dask's is the same chains as a dict of tasks, which hashes
nothing. joblib.Memory has no definition apart from the call, so it has no line.

Judged are the processor's seconds, since defining waits for nothing: on an idle machine they are the
seconds on the wall, and on a busy one they are much nearer to them than the wall is.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from .harness import (
    Options,
    Report,
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

LIMIT_US = 15
NOISE = 1.1
TITLES = {"dagtree": "**dagtree**", "dask": "raw Dask"}


def define_once(tool: str, nodes: int, chains: int, place: Place, repeat: int) -> Times:
    with place.scratch() as scratch:
        tree = str(Path(scratch) / "tree")
        arguments = ["-m", "benchmarks.child", f"chains_{tool}", "define", str(nodes), str(chains), tree]
        return fresh_python(arguments)


def measure(options: Options) -> Report:
    report = Report("Defining")
    few, many = (20, 40) if options.quick else (1_000, 10_000)
    repeats = options.times(7)
    tools = ["dagtree"]
    if installed("dask"):
        tools.append("dask")
    else:
        report.notes.append("raw Dask: not installed, so not measured.")
    place = places()[0][0]
    contestants: dict[str, Callable[[int], Times]] = {
        f"{tool}/{chains}/{nodes}": partial(define_once, tool, nodes, chains, place)
        for chains in (10, 1)
        for nodes in (few, many)
        for tool in tools
    }
    say(f"define: {repeats_in_words(repeats)}")
    for tool in tools:
        define_once(tool, 10, 1, place, 0)
    found = interleave(repeats, contestants)
    report.series = {f"{name}/{what}": s for name, times in found.items() for what, s in times.items()}
    rows = []
    for tool in tools:
        for chains in (10, 1):
            small = found[f"{tool}/{chains}/{few}"]["define_cpu_s"].scaled(1e6 / few)
            large = found[f"{tool}/{chains}/{many}"]["define_cpu_s"].scaled(1e6 / many)
            growth = large.over(small).median
            where = "one chain" if chains == 1 else f"{chains} chains"
            rows.append([f"{TITLES[tool]}, {where}", small.text(), large.text(), f"{number(growth)} ×"])
            wall = [found[f"{tool}/{chains}/{n}"]["define_s"].scaled(1e6 / n) for n in (few, many)]
            rows.append([f"{TITLES[tool]}, {where}, on the wall", wall[0].text(), wall[1].text(), ""])
            if tool == "dagtree":
                report.targets += [
                    Target(f"define, {few:,} nodes, {where}", small.median, LIMIT_US, "µs a node"),
                    Target(f"define, {many:,} nodes, {where}", large.median, LIMIT_US, "µs a node"),
                    Target(f"a node of {many:,} over one of {few:,}, {where}", growth, NOISE, "×"),
                ]
    head = [
        f"µs of processor time a node, {repeats_in_words(repeats)}",
        f"{few:,} nodes",
        f"{many:,} nodes",
        "growth",
    ]
    report.tables.append(table(head, rows))
    report.notes.append(
        f"Linear means a growth of at most {NOISE}: none, and a tenth for the noise of a shared machine. "
        "raw Dask's hashes nothing: it is the floor for making that many Python objects."
    )
    return report


if __name__ == "__main__":
    raise SystemExit(script(measure, __doc__))
