"""What one machine, or one worker of a cluster, has for recipes that ask for resources."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Mapping
from typing import Any, NamedTuple

from ..amounts import parse_size, size_text
from ..definition.demands import Demands
from ..errors import DefinitionError

__all__ = ["Budget", "Grant", "Solitude", "asked_in_words", "machine_budget", "machine_memory_bytes"]


class Grant(NamedTuple):
    """What a recipe got: amounts by name, and which GPUs, as CUDA_VISIBLE_DEVICES names them, with their
    places among those that this process sees."""

    amounts: Mapping[str, float]
    gpus: tuple[str, ...] = ()
    places: tuple[int, ...] = ()


class Budget:
    """Amounts by name, of which `take` gives while they last. The caller sees to it that one thread at a time
    is here."""

    def __init__(self, amounts: Mapping[str, float], gpus: tuple[str, ...] = ()) -> None:
        self.amounts = dict(amounts)
        self._left = dict(amounts)
        self._gpus = list(enumerate(gpus))

    def lacks(self, demands: Demands) -> bool:
        """Whether it asks for more than there ever is."""
        return any(amount > self.amounts.get(name, 0) for name, amount in demands.resources)

    def take(self, demands: Demands) -> Grant | None:
        """What is asked for, if it is to be had now."""
        if any(amount > self._left[name] for name, amount in demands.resources):
            return None
        amounts = dict(demands.resources)
        for name, amount in amounts.items():
            self._left[name] -= amount
        given = [self._gpus.pop(0) for _ in range(int(amounts.get("GPU", 0)))]
        return Grant(amounts, tuple(gpu for _, gpu in given), tuple(place for place, _ in given))

    def give(self, grant: Grant) -> None:
        """It is to be had again."""
        for name, amount in grant.amounts.items():
            self._left[name] += amount
        self._gpus = sorted([*self._gpus, *zip(grant.places, grant.gpus, strict=True)])


def machine_budget(said: Mapping[str, Any] | None) -> Budget:
    """What this machine has: its memory, its GPUs, and what ``said`` says otherwise or besides."""
    gpus = _gpus()
    amounts: dict[str, float] = {"memory": machine_memory_bytes(), "GPU": len(gpus)}
    for name, amount in (said or {}).items():
        try:
            amounts[name] = parse_size(amount) if name == "memory" else float(amount)
        except (TypeError, ValueError) as error:
            raise DefinitionError(
                f"resources={dict(said or {})!r}: {name}={amount!r} can't be meant: {error}."
            ) from None
    count = int(amounts["GPU"])
    if count > len(gpus):
        gpus = tuple(map(str, range(count)))
    return Budget(amounts, gpus[:count])


def machine_memory_bytes() -> int:
    """All that this process may come to use: the machine's, or what its control group is held to."""
    import psutil

    total = int(psutil.virtual_memory().total)
    for path in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            with open(path, encoding="ascii") as file:
                total = min(total, int(file.read()))
        except (OSError, ValueError):
            pass
    return total


def _gpus() -> tuple[str, ...]:
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        names = [name.strip() for name in visible.split(",")]
        return tuple(names[: next((at for at, name in enumerate(names) if name in ("", "-1")), len(names))])
    torch = sys.modules.get("torch")
    if torch is not None and hasattr(torch, "cuda"):
        return tuple(map(str, range(torch.cuda.device_count())))
    try:
        said = subprocess.run(
            ["nvidia-smi", "-L"], capture_output=True, text=True, timeout=10, check=True
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return ()
    return tuple(str(place) for place, line in enumerate(said.splitlines()) if line.startswith("GPU "))


def asked_in_words(resources: Mapping[str, float]) -> str:
    """``GPU: 1, memory: 20 GB``."""
    return ", ".join(
        f"{name}: {size_text(int(amount)) if name == 'memory' else f'{amount:g}'}"
        for name, amount in resources.items()
    )


class Solitude:
    """Lets many run beside each other, or one alone; and of those who say how much memory they take, no more
    than there is. For the threads of one worker."""

    def __init__(self, memory_bytes: float) -> None:
        self._changed = threading.Condition()
        self._memory_left = memory_bytes
        self._running = 0
        self._is_alone = False
        self._waiting: deque[object] = deque()

    def enter(self, alone: bool, memory_bytes: float) -> None:
        ticket = object()
        with self._changed:
            if alone:
                self._waiting.append(ticket)  # nobody goes ahead of who waits to be alone
            while not self._may_enter(ticket, alone, memory_bytes):
                self._changed.wait()
            if alone:
                self._waiting.remove(ticket)
            self._running += 1
            self._is_alone = alone
            self._memory_left -= memory_bytes

    def _may_enter(self, ticket: object, alone: bool, memory_bytes: float) -> bool:
        if self._running == 0:
            return not alone or self._waiting[0] is ticket
        return not (alone or self._is_alone or self._waiting) and memory_bytes <= max(self._memory_left, 0)

    def leave(self, memory_bytes: float) -> None:
        with self._changed:
            self._running -= 1
            self._is_alone = False
            self._memory_left += memory_bytes
            self._changed.notify_all()
