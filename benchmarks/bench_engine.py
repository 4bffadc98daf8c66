"""As fast as the engine: trivial steps on top of raw Dask, and beside other tools with their caches on.

First Dask alone runs the same low-level graph on the same scheduler, in turns with dagtree in one process
(`engine_dask.py`): chains and fan-outs of 1,000 and 10,000 nodes, and of 200 that sleep 20 ms each. Then the
chains of `bench_nodes.py`, cold and warm in fresh processes: 1,000 and 10,000 nodes with joblib.Memory, and
100 with those that take milliseconds for each: redun, exca, ai2-tango and dagger (`--dagger PATH`, where its
package lies). What isn't installed is a line. All on a RAM disk, where there is one.

What keeps its state as files is at its best on a RAM disk. Raw Dask keeps nothing.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from .harness import (
    PATIENCE_S,
    ChildFailed,
    Options,
    Report,
    Series,
    Target,
    Times,
    child_environment,
    fresh_python,
    installed,
    interleave,
    number,
    say,
    script,
    table,
)
from .places import Place, places

CHAINS = 10


@dataclass(frozen=True)
class Beside:
    """One comparison with raw Dask. `limit` is of the ratio, 0 where nothing is promised."""

    scheduler: str
    nodes: int
    is_fan: bool
    task_ms: int
    repeats: int
    limit: float = 0.0

    @property
    def title(self) -> str:
        shape = "a fan-out" if self.is_fan else f"{CHAINS} chains"
        task = f", {self.task_ms} ms each" if self.task_ms else ""
        return f"{self.scheduler}: {shape} of {self.nodes:,}{task}"


COMPARISONS = [
    Beside("single-threaded", 1_000, False, 0, 5),
    Beside("single-threaded", 1_000, True, 0, 5),
    Beside("single-threaded", 10_000, False, 0, 3),
    Beside("single-threaded", 10_000, True, 0, 3),
    Beside("single-threaded", 100, False, 20, 1),
    Beside("threads", 1_000, False, 0, 5),
    Beside("threads", 1_000, True, 0, 5),
    Beside("threads", 10_000, True, 0, 1),
    Beside("threads", 200, False, 20, 1),
    Beside("cluster", 1_000, False, 0, 3, 0.3),
    Beside("cluster", 1_000, True, 0, 3, 1.1),
    Beside("cluster", 10_000, False, 0, 1, 0.3),
    Beside("cluster", 10_000, True, 0, 1, 1.1),
    Beside("cluster", 200, False, 20, 3, 1.05),
    Beside("cluster", 200, True, 20, 3, 1.05),
]
QUICK = [Beside("single-threaded", 20, False, 0, 1), Beside("threads", 20, True, 1, 1, 1.1)]

SLOW = {"redun": "redun", "exca": "exca", "tango": "ai2-tango"}
SLOW_NODES = 100


def beside_dask(compared: Beside, repeats: int, place: Place) -> tuple[Series, Series]:
    """The seconds of dagtree and of Dask, taken in turns."""
    say(compared.title)
    chains = compared.nodes if compared.is_fan else CHAINS
    with place.scratch() as scratch:
        asked = [compared.scheduler, compared.nodes, chains, compared.task_ms, repeats, scratch]
        command = [sys.executable, "-m", "benchmarks.engine_dask", *map(str, asked)]
        done = subprocess.run(
            command, env=child_environment(), capture_output=True, text=True, timeout=PATIENCE_S, check=False
        )
    if done.returncode:
        raise ChildFailed(f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}")
    times = json.loads(done.stdout.splitlines()[-1])
    return Series(tuple(times["dagtree_s"])), Series(tuple(times["dask_s"]))


def on_top_of_dask(report: Report, options: Options, place: Place) -> None:
    rows = []
    for compared in QUICK if options.quick else COMPARISONS:
        repeats = options.repeats or compared.repeats
        ours, theirs = beside_dask(compared, repeats, place)
        ratio = ours.over(theirs)
        rows.append(
            [
                compared.title,
                theirs.scaled(1e6 / compared.nodes).text(),
                ours.scaled(1e6 / compared.nodes).text(),
                f"{ratio.text()} ×",
            ]
        )
        shape = "fan" if compared.is_fan else "chains"
        name = f"{compared.scheduler}/{shape}/{compared.nodes}/{compared.task_ms}ms"
        report.series |= {f"{name}/dagtree_s": ours, f"{name}/dask_s": theirs}
        if compared.limit:
            report.targets.append(Target(compared.title, ratio.median, compared.limit, "× raw Dask"))
    head = ["scheduler, shape, nodes", "raw Dask, µs a node", "dagtree, µs a node", "dagtree / raw Dask"]
    report.tables.append(table(head, rows))


def one_phase(tool: str, phase: str, nodes: int, home: Path) -> Times:
    arguments = [f"chains_{tool}", phase, str(nodes), str(min(CHAINS, nodes)), str(home / tool)]
    return fresh_python(["-W", "ignore", "-m", "benchmarks.child", *arguments])


def with_peers(report: Report, options: Options, place: Place) -> None:
    slow = [tool for tool in SLOW if installed(tool)]
    missing = [title for tool, title in SLOW.items() if tool not in slow]
    if options.dagger is not None:
        os.environ["DAGGER_AT"] = str(options.dagger)
        slow.append("dagger")
    else:
        report.notes.append("dagger: not measured; `--dagger PATH` says where its package lies.")
    fast = ["dagtree", *(tool for tool in ("joblib",) if installed(tool))]
    missing += ["joblib.Memory"] if "joblib" not in fast else []
    report.notes += [f"{title}: not installed, so not measured." for title in missing]
    sizes = {20: 1} if options.quick else {SLOW_NODES: 1, 1_000: 5, 10_000: 3}
    smallest = min(sizes)
    for nodes, repeats in sizes.items():
        tools = fast + (slow if nodes == smallest else [])

        def everyone(repeat: int, nodes: int = nodes, tools: list[str] = tools) -> Times:
            say(f"{nodes:,} nodes beside {', '.join(tools)}, repeat {repeat + 1}")
            taken: Times = {}
            turned = tools[repeat % len(tools) :] + tools[: repeat % len(tools)]
            phases = ["cold", "warm", *(["unread"] if nodes > smallest else [])]
            with place.scratch() as home:
                for phase in phases:
                    for tool in turned if phase != "unread" else ["dagtree"]:
                        times = one_phase(tool, phase, nodes, home)
                        taken |= {f"{tool}/{phase}/{what}": seconds for what, seconds in times.items()}
            if "dagger" in tools:
                for tool in ("dagtree", "dagger"):
                    with place.scratch() as home:
                        taken[f"{tool}/threads/total_s"] = one_phase(tool, "threads", nodes, home)["total_s"]
            return taken

        found = interleave(options.times(repeats), {"all": everyone})["all"]
        report.series |= {f"{nodes}/{name}": series for name, series in found.items()}
        report.tables.append(peers_table(found, nodes, tools))
        report.targets += peers_targets(found, nodes, options.quick)


def peers_table(found: dict[str, Series], nodes: int, tools: list[str]) -> str:
    rows = []
    for tool in tools:
        row = [f"**{tool}**" if tool == "dagtree" else {"joblib": "joblib.Memory", **SLOW}.get(tool, tool)]
        for phase in ("cold", "warm"):
            series = found[f"{tool}/{phase}/total_s"]
            ratio = found[f"dagtree/{phase}/total_s"].over(series).median
            row += [series.scaled(1e6 / nodes).text(), "" if tool == "dagtree" else f"{number(ratio)} ×"]
        rows.append([*row, found[f"{tool}/warm/process_s"].text()])
    head = [
        f"{nodes:,} nodes in {CHAINS} chains",
        "cold, µs a node",
        "dagtree / this",
        "warm, µs a node",
        "dagtree / this",
        "warm, whole process, s",
    ]
    return table(head, rows)


def peers_targets(found: dict[str, Series], nodes: int, quick: bool) -> list[Target]:
    decided = []
    if "dagger/threads/total_s" in found:
        ratio = found["dagtree/threads/total_s"].over(found["dagger/threads/total_s"]).median
        decided.append(Target(f"threads, {nodes:,} nodes", ratio, 0.2, "× dagger"))
    if (nodes == 1_000 or quick) and "joblib/cold/total_s" in found:
        ratio = found["dagtree/warm/process_s"].over(found["joblib/warm/process_s"]).median
        decided.append(Target(f"all cached, {nodes:,} nodes, whole process", ratio, 1.0, "× joblib.Memory"))
        ratio = found["dagtree/cold/total_s"].over(found["joblib/cold/total_s"]).median
        decided.append(Target(f"cold single-threaded, {nodes:,} nodes", ratio, 0.5, "× joblib.Memory"))
    if nodes == 10_000:
        cost_us = found["dagtree/unread/run_cpu_s"].median * 1e6 / nodes
        decided.append(
            Target("all cached, 10,000 nodes, no state read", cost_us, 10, "µs of processor time a node")
        )
    return decided


def measure(options: Options) -> Report:
    report = Report("As fast as the engine")
    found_places, remarks = places()
    report.notes += remarks
    on_top_of_dask(report, options, found_places[0])
    with_peers(report, options, found_places[0])
    return report


if __name__ == "__main__":
    raise SystemExit(script(measure, __doc__))
