"""The chains with joblib.Memory, as its users write them: the cached step is called with its parent's result.

cold   from `Memory(...)` on an empty directory to the last result; joblib has no definition apart from
       the call
warm   the same program in a fresh process: every call finds its result and reads it, as the next call
       needs it
list   every entry of the cache, which is the nearest to opening a tree again; joblib keeps no parents
       and no tags

joblib is imported before the clock starts.
"""

from __future__ import annotations

from joblib import Memory  # type: ignore[import-untyped]

from .chains import Clock, Phase, Shape, check


def root() -> dict[str, int]:
    return {"x": 0}


computed = 0


def add(parent: dict[str, int], i: int) -> dict[str, int]:
    global computed
    computed += 1
    return {"x": parent["x"] + i}


def call_chains(shape: Shape) -> dict[str, float]:
    clock = Clock()
    ends = []
    with clock("total_s"):
        memory = Memory(shape.directory, verbose=0)
        cached_root = memory.cache(root)
        cached_add = memory.cache(add)
        for chain in range(shape.chains):
            state = cached_root()
            for i in shape.steps(chain):
                state = cached_add(state, i)
            ends.append(state["x"])
    check("x at the ends", ends, shape.expected())
    return clock.times


def cold(shape: Shape) -> dict[str, float]:
    times = call_chains(shape)
    check("steps computed", computed, shape.nodes)
    return times


def warm(shape: Shape) -> dict[str, float]:
    times = call_chains(shape)
    check("steps computed", computed, 0)
    return times


def list_entries(shape: Shape) -> dict[str, float]:
    clock = Clock()
    with clock("total_s"):
        entries = Memory(shape.directory, verbose=0).store_backend.get_items()
    check("entries", len(entries), shape.nodes + 1)
    return clock.times


PHASES: dict[str, Phase] = {"cold": cold, "warm": warm, "list": list_entries}
