"""Scores of a list of numbers."""

from ..settings import Level, Point
from ..tools import total

ORIGIN = Point(x=3.0)


def mean(values):
    return total(values) / len(values)


def spread(values):
    middle = mean(values)
    return sum((value - middle) ** 2 for value in values if value != middle) / ORIGIN.length()


def weight(level=Level.HIGH):
    return level * 2
