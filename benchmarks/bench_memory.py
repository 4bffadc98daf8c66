"""How many large states a run holds at once: a chain of 50 recipes and a fan-out of 20, on every scheduler.

Each measurement is a fresh process (`memory_dagtree.py`), whose peak of resident memory the kernel counts,
pages of files that it had mapped included. What the same program needs for states of next to nothing is
subtracted, and the rest is given in states. With "processes" and a cluster it is that of the largest worker.
A recipe holds its own copy; beside it a fan-out needs the parent's.
"""

from __future__ import annotations

from functools import partial

from .harness import Options, Report, Series, Target, Times, fresh_python, interleave, say, script, table
from .memory_dagtree import STEPS
from .places import Place, places

# Scheduler → how many recipes run at once in one process.
SCHEDULERS = {"single-threaded": 1, "threads": 2, "processes": 1, "cluster": 1}
TENSORS = 50
STATE_MB = 200
SLACK = 0.25  # of a state: a tensor or two under way to the disk, and what the allocator keeps


def once(shape: str, scheduler: str, state_bytes: int, place: Place, repeat: int) -> Times:
    say(f"memory: {shape}, {scheduler}, {state_bytes / 1e6:,.1f} MB, repeat {repeat + 1}")
    with place.scratch() as scratch:
        size = [str(TENSORS), str(state_bytes // TENSORS)]
        found = fresh_python(
            ["-m", "benchmarks.memory_dagtree", shape, scheduler, *size, str(scratch / "tree")]
        )
    return {"peak_bytes": found["peak_bytes"]}


def in_states(large: Series, small: Series, state_bytes: int) -> Series:
    """The peak above that of the same program with tiny states; never below a thousandth."""
    above = large.minus(small).scaled(1 / state_bytes)
    return Series(tuple(max(value, 0.001) for value in above.values))


def measure(options: Options) -> Report:
    report = Report("Memory")
    state_bytes = (4 if options.quick else STATE_MB) * 1_000_000
    schedulers = ["single-threaded"] if options.quick else list(SCHEDULERS)
    found_places, remarks = places()
    report.notes += remarks
    place = found_places[-1]
    contestants = {
        f"{shape}/{scheduler}/{size}": partial(once, shape, scheduler, bytes_, place)
        for shape in STEPS
        for scheduler in schedulers
        for size, bytes_ in (("large", state_bytes), ("small", TENSORS * 800))
    }
    found = interleave(options.times(3), contestants)
    rows = []
    for scheduler in schedulers:
        row = [scheduler]
        for shape, steps in STEPS.items():
            large, small = (found[f"{shape}/{scheduler}/{size}"]["peak_bytes"] for size in ("large", "small"))
            states = in_states(large, small, state_bytes)
            report.series[f"{shape}/{scheduler}/states"] = states
            row.append(states.text())
            limit = 3.0 if shape == "chain" else SCHEDULERS[scheduler] + 1 + SLACK
            title = f"{shape} of {steps}, {scheduler}"
            report.targets.append(Target(title, states.median, limit, "states"))
        rows.append(row)
    head = [
        f"states of {state_bytes / 1e6:,.0f} MB at once, on the {place.title}",
        *(f"{shape} of {steps}" for shape, steps in STEPS.items()),
    ]
    report.tables.append(table(head, rows))
    report.notes.append(
        "A fan-out may hold its parent and one copy for each recipe that runs in the process (2 threads: 3 "
        f"states), and {SLACK} of a state for what is on its way to the disk."
    )
    return report


if __name__ == "__main__":
    raise SystemExit(script(measure, __doc__))
