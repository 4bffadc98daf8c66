"""Comparing two states of 100 MB of which 1 % differs: how far they are from each other, tensor by tensor.

Side by side, each in a fresh process over files that were written before: dagtree's `a.diff(b).tensors`,
which reads only tensors whose digests differ; and the same question to two files of `torch.save`, and to
two of safetensors, by the loop that one would write: load both, compare each pair, add up the squares.
Libraries are imported, and the tree is opened, before the clock starts.
"""

from __future__ import annotations

import json
import math
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

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
from .places import places

LIMIT_S = 0.05
SIZE, QUICK_SIZE = (100, 250_000), (10, 2_000)
TITLES = {
    "dagtree": "**dagtree**",
    "torch": "`torch.load` and a loop",
    "safetensors": "safetensors and a loop",
}


def measure(options: Options) -> Report:
    report = Report("Comparing two states")
    size = QUICK_SIZE if options.quick else SIZE
    repeats = options.times(7)
    found_places, remarks = places()
    report.notes.extend(remarks)
    place = found_places[0]
    say(f"diff: {repeats_in_words(repeats)}")
    with place.scratch() as directory:
        call = partial(once, size=size, directory=directory)
        call("write", 0)
        found = interleave(repeats, {tool: partial(call, tool) for tool in TITLES})
    rows = []
    for tool, title in TITLES.items():
        series = found[tool]["diff_s"]
        report.series[f"{tool}/diff_s"] = series
        ratio = series.over(found["dagtree"]["diff_s"])
        rows.append([title, series.scaled(1e3).text(), "" if tool == "dagtree" else f"{ratio.text()} ×"])
    report.tables.append(table([f"ms, {repeats_in_words(repeats)}", "compare", "of dagtree's"], rows))
    work = report.series["dagtree/cpu_s"] = found["dagtree"]["cpu_s"]
    report.targets.append(Target("two states that differ in 1 %, processor time", work.median, LIMIT_S, "s"))
    return report


def once(tool: str, repeat: int, *, size: tuple[int, int], directory: Path) -> Times:
    call = "from benchmarks.bench_diff import child; child()"
    return fresh_python(["-c", call, tool, *map(str, size), str(directory)])


def child() -> None:
    """What a measuring process does."""
    tool, tensors, elements, directory = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4])
    if tool == "write":
        print(json.dumps(write(tensors, elements, directory)))
        return
    compare = {"dagtree": by_dagtree, "torch": by_torch, "safetensors": by_safetensors}[tool](directory)
    started, worked = time.perf_counter(), time.process_time()
    l2 = compare()
    took, work = time.perf_counter() - started, time.process_time() - worked
    if not math.isclose(l2, math.sqrt(elements * (tensors // 100 or 1)), rel_tol=1e-5):
        raise SystemExit(f"the states are {l2} from each other")
    print(json.dumps({"diff_s": took, "cpu_s": work}))


def write(tensors: int, elements: int, directory: Path) -> Times:
    import torch
    from safetensors.torch import save_file

    import dagtree as dg

    from .states_dagtree import Add, Layers

    exp = dg.Experiment(directory / "tree", Layers)
    root = exp.spawn_new_tree(tensors=tensors, elements=elements)
    Add(names=[f"layer{number}" for number in range(tensors // 100 or 1)], step=0)(root)
    started = time.perf_counter()
    exp.run(progress=False)
    for place, node in enumerate(exp.graph.nodes):
        layers = dict(node.restore().layers)
        torch.save(layers, directory / f"{place}.pt")
        save_file(layers, directory / f"{place}.safetensors")
    return {"write_s": time.perf_counter() - started}


def by_dagtree(directory: Path) -> Any:
    import numpy  # noqa: F401 - imported before the clock starts, as torch is

    import dagtree as dg

    before, after = dg.Experiment.restore(directory / "tree").graph.nodes
    return lambda: before.diff(after).tensors.total.l2


def by_torch(directory: Path) -> Any:
    import torch

    return lambda: _l2(*(torch.load(directory / f"{place}.pt") for place in (0, 1)))


def by_safetensors(directory: Path) -> Any:
    from safetensors.torch import load_file

    return lambda: _l2(*(load_file(directory / f"{place}.safetensors") for place in (0, 1)))


def _l2(before: dict[str, Any], after: dict[str, Any]) -> float:
    squares = sum(float((after[name] - tensor).double().square().sum()) for name, tensor in before.items())
    return math.sqrt(squares)


if __name__ == "__main__":
    raise SystemExit(script(measure, __doc__))
