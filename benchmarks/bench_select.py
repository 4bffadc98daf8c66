"""Selecting out of 100,000 nodes: does an answer come before one notices?

A tree of chains `Train/Prune/Train/…`, ten edges deep, with properties, tags, two moments of metrics and a
function's result at each node, is made by a run and reopened in a fresh process, slim. Each question is asked
once (`first`: the column that it needs is made, which parses what records say about it) and then seven times
more, of which the median counts. Judged are the processor's seconds of the later ones, since nothing waits.
"""

from __future__ import annotations

from pathlib import Path

from .harness import Options, Report, Series, Target, fresh_python, repeats_in_words, say, script, table
from .places import places

LIMIT_MS = 50
QUESTIONS = {
    "filter": "`filter('lr:0.1')`",
    "value": "`where(lr=0.1)`",
    "set": "`where(recipe='Prune', fraction={0.5, 0.9})`",
    "range": "`where(seed=range(100))`",
    "between": "`where(lr=between(0.05, 1))`",
    "test": "`where(seed=lambda seed: seed % 7 == 0)`, 10 % distinct values",
    "path_property": "`where({'Train.lr': 0.1})`, anywhere on the path",
    "turn": "`where({'Train[2].lr': 0.1})`",
    "metric": "`where(loss=lambda loss: loss < 0.5)`, all distinct",
    "result": "`where(accuracy=between(0.5))`, all distinct",
    "path": "`path('Train/(Prune/Train)*')`",
    "path_conditions": "`path('**/Prune[fraction>=0.6]/Train[lr=0.1]')`",
    "not": "`~chosen`",
    "and": "`chosen & others`",
}


def measure(options: Options) -> Report:
    nodes = 1_000 if options.quick else 100_000
    report = Report(f"Selecting out of {nodes:,} nodes")
    repeats = options.times(3)
    place = places()[0][0]
    taken: dict[str, list[float]] = {}
    with place.scratch() as scratch:
        tree = str(Path(scratch) / "tree")
        say(f"select: {nodes:,} nodes, {repeats_in_words(repeats)}")
        fresh_python(["-m", "benchmarks.child", "select_dagtree", "make", str(nodes), "10", tree])
        for _ in range(repeats):
            times = fresh_python(["-m", "benchmarks.child", "select_dagtree", "ask", str(nodes), "10", tree])
            for name, seconds in times.items():
                taken.setdefault(name, []).append(seconds)
    report.series = {f"dagtree/{name}": Series(tuple(values)) for name, values in taken.items()}
    rows = []
    for name, title in QUESTIONS.items():
        first, again = (
            report.series[f"dagtree/{name}_{which}_s"].scaled(1e3) for which in ("first", "again")
        )
        rows.append([title, first.text(), again.text()])
        report.targets.append(
            Target(f"{title.rpartition('`')[0]}`, asked again", again.median, LIMIT_MS, "ms")
        )
    report.tables.append(table(["question", "first, ms", "again, ms"], rows))
    return report


if __name__ == "__main__":
    raise SystemExit(script(measure, __doc__))
