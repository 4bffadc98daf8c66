"""What the experiments are set to."""

import logging
import threading
from dataclasses import dataclass, field
from enum import Enum, IntEnum
from types import SimpleNamespace
from typing import ClassVar, NamedTuple

log = logging.getLogger("lab")
lock = threading.Lock()

SEED = 7
SAMPLES = 6
SPREAD = 1_000
SCALE = 2.0
RATES = {"relu": 1, "tanh": [0.5, 0.25]}
LIMITS = (0.125, 64.0)
KEEP = frozenset({"largest", "middle"})
UNUSED = 7
options = SimpleNamespace(depth=2, verbose=False)


class Mode(Enum):
    SOFT = "soft"
    HARD = "hard"

    def strength(self):
        return {"soft": 0.5, "hard": 0.75}[self.value]


class Level(IntEnum):
    LOW = 1
    HIGH = 3


@dataclass(frozen=True)
class Grid:
    levels: int = 8
    offset: float = 0.5
    names: list = field(default_factory=lambda: ["first", "second"])
    title: ClassVar[str] = "grid"

    def snap(self, value):
        return round(value * self.levels) / self.levels + self.offset

    def describe(self):
        return f"{self.title}: {self.levels}"


class Point(NamedTuple):
    x: float = 1.0
    y: float = 2.0

    def length(self):
        return (self.x**2 + self.y**2) ** 0.5
