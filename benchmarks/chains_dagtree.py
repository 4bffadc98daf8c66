"""The chains with dagtree, as on the user's page; each chain has a tag.

define   `Experiment(...)`, the root, every node, and every key read; the first fingerprint of the code
         included
cold     define, then `run()` on the single-threaded scheduler, from a directory that isn't there:
         fingerprints, keys, files, environment and records included. `leaves_s`, apart: the ends read
         back with `get()`
warm     the same program in a fresh process: nothing is computed. `leaves_s` as above, here from the
         disk
unread   the same as `warm`, where reading any state is an error
threads  `cold` with Dask's threads
reopen   `open_s`: `Experiment.restore(slim=True)`, its graph, and the number of its nodes; `filter_s`:
         the first filter by tag, and the keys it found; `touch_s`: recipe, properties, tags and parents
         of every node
reopen_dropped   the same after the kernel was asked to forget the files

Before the clock starts: `import dagtree`, and for `cold` also `import dask.local`, as raw Dask is
imported before its clock starts. What dagtree imports later than that is inside the clock.
"""

from __future__ import annotations

from typing import Any

import dagtree as dg

from .chains import Clock, Phase, Shape, check
from .places import drop_from_page_cache


class Number(dg.ExperimentState):
    NONHASHED_ATTRIBUTES = ["x"]  # noqa: RUF012 - how users write it

    def initialize_state(self, **properties: object) -> None:
        self.x = 0


class Add(dg.Recipe):
    i: int

    def run(self, state: Any) -> Any:
        state.x += self.i
        return state


def define_chains(shape: Shape) -> tuple[dg.Experiment, list[Any], int]:
    experiment = dg.Experiment(shape.directory, state_class=Number)
    root = experiment.spawn_new_tree()
    nodes = [root]
    ends = []
    for chain in range(shape.chains):
        with experiment.tag(f"chain:{chain}"):
            last = root
            for i in shape.steps(chain):
                last = Add(i=i)(last)
                nodes.append(last)
        ends.append(last)
    return experiment, ends, len({node.key for node in nodes})


def define(shape: Shape) -> dict[str, float]:
    clock = Clock()
    with clock("define_s"):
        _, _, keys = define_chains(shape)
    check("keys", keys, shape.nodes + 1)
    check("defining wrote to the disk", shape.directory.exists() and any(shape.directory.iterdir()), False)
    return clock.times


def run_chains(
    shape: Shape, computed: int, scheduler: str = "single-threaded", leaves: bool = True
) -> dict[str, float]:
    clock = Clock()
    with clock("total_s"):
        with clock("define_s"):
            experiment, ends, _ = define_chains(shape)
        with clock("run_s"):
            report = experiment.run(scheduler)
    if leaves:
        with clock("leaves_s"):
            states = [end.get() for end in ends]
        check("x at the ends", [state.x for state in states], shape.expected())
    check("nodes computed", count(report.computed), computed)
    return clock.times


def count(value: Any) -> int:
    return value if isinstance(value, int) else len(value)


def cold(shape: Shape) -> dict[str, float]:
    import dask.local  # noqa: F401 - not at the top: `warm` has to do without

    return run_chains(shape, computed=shape.nodes + 1)


def warm(shape: Shape) -> dict[str, float]:
    return run_chains(shape, computed=0)


def unread(shape: Shape) -> dict[str, float]:
    from dagtree.storage.local import LocalStore

    def refuse(*_: Any) -> Any:
        raise SystemExit("a state was read, and everything was cached")

    LocalStore.restore = refuse  # type: ignore[method-assign]
    return run_chains(shape, computed=0, leaves=False)


def threads(shape: Shape) -> dict[str, float]:
    import dask.threaded  # noqa: F401 - as in `cold`

    return run_chains(shape, computed=shape.nodes + 1, scheduler="threads")


def reopen(shape: Shape) -> dict[str, float]:
    clock = Clock()
    with clock("open_s"):
        experiment = dg.Experiment.restore(shape.directory, slim=True)
        nodes = experiment.graph.nodes
        found = len(nodes)
    with clock("filter_s"):
        chosen = nodes.filter("chain:0")
        keys = list(chosen.keys)
    with clock("touch_s"):
        facts = [(node.recipe, node.properties, node.tags, node.parents) for node in nodes]
    check("nodes", found, shape.nodes + 1)
    check("nodes with the tag", len(keys), shape.depth)
    check("numbers added", sum(f[1].get("i", 0) for f in facts), sum(shape.expected()))
    return clock.times


def reopen_dropped(shape: Shape) -> dict[str, float]:
    drop_from_page_cache(shape.directory)
    return reopen(shape)


PHASES: dict[str, Phase] = {
    "define": define,
    "cold": cold,
    "warm": warm,
    "unread": unread,
    "threads": threads,
    "reopen": reopen,
    "reopen_dropped": reopen_dropped,
}
