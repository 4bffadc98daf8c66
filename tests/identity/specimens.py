"""Classes and functions for the tests of values. Needs nothing but Python, so that any interpreter can load
it."""

from __future__ import annotations

import dataclasses
import enum
import typing


class Colour(enum.Enum):
    RED = 1
    BLUE = 2


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Word(enum.StrEnum):
    LOW = "low"


class Mode(enum.Flag):
    READ = 1
    WRITE = 2
    KEEP = 4


class Bits(enum.IntFlag):
    READ = 1
    WRITE = 2


class Point(typing.NamedTuple):
    x: object
    y: object = 0


class Pair(typing.NamedTuple):
    x: object
    y: object = 0


@dataclasses.dataclass
class Config:
    lr: object
    layers: object = None

    def doubled(self) -> object:
        return self.lr * 2  # type: ignore[operator]


@dataclasses.dataclass(frozen=True, slots=True)
class Slotted:
    lr: object
    layers: object = None


def double(x: int) -> int:
    return x * 2


def triple(x: int) -> int:
    return x * 3
