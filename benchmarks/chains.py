"""The tree that all contestants build: a root and chains of trivial steps.

The state is `{x: int}`, the step adds a number. Node n (counted from 1, chain after chain) adds n: no two
steps of a tree get equal arguments, so no contestant can answer one node from another's cache.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Shape:
    """`nodes` below the root, in `chains` chains of equal length; `directory` is where the tree is kept."""

    nodes: int
    chains: int
    directory: Path

    @property
    def depth(self) -> int:
        return self.nodes // self.chains

    def steps(self, chain: int) -> range:
        """What the steps of `chain` add, in order."""
        return range(chain * self.depth + 1, (chain + 1) * self.depth + 1)

    def expected(self) -> list[int]:
        """x at the end of each chain."""
        return [sum(self.steps(chain)) for chain in range(self.chains)]


class Clock:
    """Seconds by name (`run_s`), and the processor's seconds of this process beside them (`run_cpu_s`)."""

    def __init__(self) -> None:
        self.times: dict[str, float] = {}

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        cpu_started = time.process_time()
        started = time.perf_counter()
        yield
        self.times[name] = time.perf_counter() - started
        self.times[f"{name.removesuffix('_s')}_cpu_s"] = time.process_time() - cpu_started


Phase = Callable[[Shape], dict[str, float]]


def check(what: str, found: object, expected: object) -> None:
    """A time of a wrong answer is worth nothing."""
    if found != expected:
        raise SystemExit(f"{what}: expected {expected!r}, found {found!r}")
