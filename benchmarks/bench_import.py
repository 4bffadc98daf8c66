"""`import dagtree` beside `import dask`, each in a fresh interpreter, interleaved.

Timed inside the process, around the import alone; `process_s` is the whole life of the interpreter.
`import joblib` and an interpreter that imports nothing are there to compare.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

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

LIMIT_S = 0.1
LAZY = ("dask", "distributed", "networkx", "numpy", "torch")
PROGRAM = """
import json, sys, time
started = time.perf_counter()
{line}
import_s = time.perf_counter() - started
brought = [int(name in sys.modules) for name in {lazy!r}]
print(json.dumps({{"import_s": import_s, **dict(zip({lazy!r}, brought))}}))
"""


def import_once(line: str, repeat: int) -> Times:
    return fresh_python(["-c", PROGRAM.format(line=line, lazy=LAZY)])


def measure(options: Options) -> Report:
    report = Report("Importing")
    repeats = max(7, options.times(15)) if not options.quick else options.times(1)
    contestants: dict[str, Callable[[int], Times]] = {"nothing": partial(import_once, "pass")}
    for module in ("dagtree", "dask", "joblib"):
        if installed(module):
            contestants[module] = partial(import_once, f"import {module}")
        else:
            report.notes.append(f"{module}: not installed, so not measured.")
    say(f"import: {repeats_in_words(repeats)}")
    for once in contestants.values():
        once(0)
    found = interleave(repeats, contestants)
    rows = []
    for name, times in found.items():
        brings = [module for module in LAZY if times.pop(module).most > 0 and module != name]
        report.series |= {f"{name}/{what}": series for what, series in times.items()}
        if name == "nothing":
            rows.append(["an empty interpreter", "", times["process_s"].scaled(1e3).text(), ""])
            continue
        title = "**`import dagtree`**" if name == "dagtree" else f"`import {name}`"
        import_ms, process_ms = times["import_s"].scaled(1e3).text(), times["process_s"].scaled(1e3).text()
        rows.append([title, import_ms, process_ms, ", ".join(brings) or "none of them"])
        if name == "dagtree" and any(module in brings for module in LAZY):
            report.notes.append(f"`import dagtree` brings {', '.join(brings)} along: it must not.")
    head = [
        f"ms, {repeats_in_words(repeats)}",
        "the import",
        "whole process",
        f"brings along, of {', '.join(LAZY)}",
    ]
    report.tables.append(table(head, rows))
    if "dask" in found:
        more = found["dagtree"]["import_s"].minus(found["dask"]["import_s"])
        report.series["dagtree minus dask/import_s"] = more
        report.targets.append(Target("`import dagtree` above `import dask`", more.median, LIMIT_S, "s"))
        ratio = found["dagtree"]["import_s"].over(found["dask"]["import_s"]).median
        report.notes.append(
            f"`import dagtree` takes {number(ratio)} × `import dask`; "
            "a negative difference means that it is the cheaper one."
        )
    return report


if __name__ == "__main__":
    raise SystemExit(script(measure, __doc__))
