"""Interleaved repeats in fresh processes; medians, ratios and verdicts as Markdown and JSON.

The rules that every script keeps:

- A measurement is one fresh process (`child.py`), which prints the seconds that it timed with
  `time.perf_counter` and checks its own result. This side adds `process_s`, the life of that process as
  its parent saw it: interpreter, imports and exit included.
- Repeats are interleaved: all contestants once, in an order that rotates, then all again. A burst of
  other work on the machine so hits all of them, and not one.
- Before the first repeat every contestant goes once unmeasured, at a tiny size: bytecode is compiled,
  and the libraries' files are in the page cache.
- A number in a table is the median of the repeats, with the least and the greatest in brackets. A ratio
  is the median of the ratios within each repeat, not the ratio of two medians.
- A peer that isn't installed is a line that says so.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent
PATIENCE_S = 1800.0

Times = dict[str, float]


class ChildFailed(RuntimeError):
    """A measuring process ended badly or its result was wrong; holds what it wrote."""


@dataclass(frozen=True)
class Series:
    """The repeats of one measurement, in the order in which they were taken."""

    values: tuple[float, ...]

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    @property
    def least(self) -> float:
        return min(self.values)

    @property
    def most(self) -> float:
        return max(self.values)

    def scaled(self, factor: float) -> Series:
        return Series(tuple(value * factor for value in self.values))

    def over(self, other: Series) -> Series:
        """The ratio within each repeat; both must have been taken in the same repeats."""
        return Series(tuple(a / b for a, b in zip(self.values, other.values, strict=True)))

    def minus(self, other: Series) -> Series:
        return Series(tuple(a - b for a, b in zip(self.values, other.values, strict=True)))

    def text(self, digits: int | None = None) -> str:
        """`median (least–most)`; a single repeat has no spread to show."""
        if len(self.values) == 1:
            return number(self.median, digits)
        spread = f"{number(self.least, digits)}–{number(self.most, digits)}"
        return f"{number(self.median, digits)} ({spread})"


@dataclass(frozen=True)
class Target:
    """A promise, the measured value, and the limit that it must not pass."""

    promise: str
    measured: float
    limit: float
    unit: str

    @property
    def verdict(self) -> str:
        return "ok" if self.measured <= self.limit else "missed"


@dataclass
class Report:
    """What one script found: text for people, and the same numbers for programs."""

    title: str
    notes: list[str] = field(default_factory=list)
    tables: list[str] = field(default_factory=list)
    targets: list[Target] = field(default_factory=list)
    series: dict[str, Series] = field(default_factory=dict)

    def markdown(self) -> str:
        parts = [f"### {self.title}", *self.tables]
        if self.targets:
            rows = [
                [t.promise, f"{number(t.measured)} {t.unit}", f"≤ {t.limit:g} {t.unit}", t.verdict]
                for t in self.targets
            ]
            parts.append(table(["target", "measured", "limit", "verdict"], rows))
        parts.extend(self.notes)
        return "\n\n".join(parts) + "\n"

    def plain(self) -> dict[str, object]:
        return {
            "title": self.title,
            "notes": self.notes,
            "targets": [{**asdict(t), "verdict": t.verdict} for t in self.targets],
            "series": {
                name: {"median": s.median, "least": s.least, "most": s.most, "values": list(s.values)}
                for name, s in self.series.items()
            },
        }


@dataclass(frozen=True)
class Options:
    """What the command line asked for. `quick` takes tiny sizes: it shows that all works, and no number."""

    quick: bool = False
    repeats: int | None = None
    json_file: Path | None = None
    dagger: Path | None = None

    def times(self, full: int) -> int:
        """How many repeats: as asked, else one when quick, else `full`."""
        return self.repeats or (1 if self.quick else full)


def number(value: float, digits: int | None = None) -> str:
    """Three significant digits unless told, thousands separated."""
    if digits is None:
        size = abs(value)
        digits = 0 if size >= 100 else 1 if size >= 10 else 2 if size >= 0.1 else 3
    return f"{value:,.{digits}f}"


def repeats_in_words(repeats: int) -> str:
    return "one repeat" if repeats == 1 else f"{repeats} repeats"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def installed(module: str) -> bool:
    return importlib.util.find_spec(module) is not None


def child_environment() -> dict[str, str]:
    """This process's environment, with this checkout first on the path of imports, and with bytecode kept.

    Some containers set PYTHONDONTWRITEBYTECODE: a library in a checkout would be compiled anew in every
    process, and one in site-packages not.
    """
    paths = [str(CHECKOUT), os.environ.get("PYTHONPATH", "")]
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return {**kept, "PYTHONPATH": os.pathsep.join(p for p in paths if p)}


def fresh_python(arguments: Sequence[str]) -> Times:
    """Runs Python anew; what it printed last, a JSON object of seconds, and `process_s`.

    Raises ChildFailed with all that the process wrote.
    """
    command = [sys.executable, *arguments]
    started = time.perf_counter()
    done = subprocess.run(
        command, env=child_environment(), capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )
    process_s = time.perf_counter() - started
    try:
        if done.returncode:
            raise ValueError
        times = json.loads(done.stdout.splitlines()[-1])
    except (ValueError, IndexError):
        wrote = f"{done.stdout}\n{done.stderr}".strip()
        raise ChildFailed(f"{' '.join(command)} ended with {done.returncode}:\n{wrote}") from None
    return {**times, "process_s": process_s}


def interleave(
    repeats: int, contestants: Mapping[str, Callable[[int], Times]]
) -> dict[str, dict[str, Series]]:
    """Each contestant's times over all repeats, as contestant → name of the time → Series."""
    taken: dict[str, dict[str, list[float]]] = {name: {} for name in contestants}
    names = list(contestants)
    for repeat in range(repeats):
        shift = repeat % len(names)
        for name in names[shift:] + names[:shift]:
            for what, seconds in contestants[name](repeat).items():
                taken[name].setdefault(what, []).append(seconds)
    return {n: {what: Series(tuple(v)) for what, v in times.items()} for n, times in taken.items()}


def say(text: str) -> None:
    """Progress goes to stderr, so that stdout is the report alone."""
    print(text, file=sys.stderr, flush=True)


def version(distribution: str) -> str:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        if distribution == "dagtree" and installed("dagtree"):
            return "of this checkout"
        return "not installed"


def machine(options: Options) -> str:
    """One paragraph: the machine, its load at this moment, the versions, the date."""
    cpu = platform.processor() or platform.machine()
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                cpu = line.partition(":")[2].strip()
                break
    except OSError:
        pass
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    load = f"load {os.getloadavg()[0]:.1f} at the start" if hasattr(os, "getloadavg") else "load unknown"
    packages = ", ".join(f"{name} {version(name)}" for name in ("dagtree", "dask", "joblib"))
    system = f"{platform.system()} {platform.release()}"
    warning = "**Quick sizes: they show that all works, and no figure.** " if options.quick else ""
    return (
        f"{warning}{time.strftime('%Y-%m-%d')}; {cpu}, {cores} cores ({load}), {system}; "
        f"Python {platform.python_version()}, {packages}."
    )


def options_from(arguments: Sequence[str] | None, description: str | None) -> Options:
    return to_options(parser(description).parse_args(arguments))


def parser(description: str | None) -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("--quick", action="store_true", help="tiny sizes: shows that all works, not how fast")
    made.add_argument("--repeats", type=int, metavar="N", help="repeats of every measurement")
    made.add_argument("--json", type=Path, metavar="FILE", help="also write every number to FILE")
    made.add_argument(
        "--dagger", type=Path, metavar="PATH", help="where dagger's package and dill lie, to be measured too"
    )
    return made


def to_options(parsed: argparse.Namespace) -> Options:
    return Options(parsed.quick, parsed.repeats, parsed.json, parsed.dagger)


def write_json(file: Path, about: str, reports: Sequence[Report]) -> None:
    content = {"machine": about, "reports": [report.plain() for report in reports]}
    file.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def script(measure: Callable[[Options], Report], description: str | None) -> int:
    """The body of every script: read the options, measure, print, write."""
    options = options_from(None, description)
    about = machine(options)
    report = measure(options)
    print(f"{about}\n\n{report.markdown()}", end="")
    if options.json_file:
        write_json(options.json_file, about, [report])
    return 0
