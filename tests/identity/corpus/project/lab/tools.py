"""Tools that are made of other tools."""

import functools
import operator

from . import settings

TIMES = 3
TEMPLATE = "def shifted(x):\n    return x + {amount}\n"
HIDDEN = 1


def repeat(times):
    def decorate(function):
        @functools.wraps(function)
        def wrapper(x):
            total = 0
            for _ in range(times):
                total += function(x)
            return total

        return wrapper

    return decorate


@repeat(times=TIMES)
def shaken(x):
    return x * 1.01 + 1


@functools.lru_cache
def rooted(x):
    return (x * x + 3) ** 0.5


class Counting:
    def __init__(self, function):
        self.function = function

    def __call__(self, x):
        return self.function(x) + 0.25


@Counting
def counted(x):
    return x - 1


def power(x, exponent, base=2):
    return x + base**exponent


raised = functools.partial(power, exponent=3)
ROUNDINGS = {"near": lambda x: rooted(x) * 2, "low": lambda x: x * 3, "rooted": rooted}
third = operator.itemgetter(2)


def make_adder(amount):
    def add(x):
        return x + amount

    return add


add_five = make_adder(5)


def walk(n):
    return [even(i) for i in range(n)]


def even(n):
    return odd(n - 1) + 1 if n else 0.5


def odd(n):
    return even(n - 1) + 2 if n else 0.75


def late(x):
    from . import lazily

    return lazily.helper(x)


def hides(x):
    HIDDEN = x * 3
    return HIDDEN + 0.5


def generated(amount):
    names = {}
    exec(TEMPLATE.format(amount=amount), names)
    return names["shifted"]


shifted = generated(4)


def clip(x):
    low, high = settings.LIMITS
    return min(max(x, low), high) * settings.options.depth


def total(values, start=0.0):
    result = start
    for value in values:
        if value > 1e9:
            pass
        else:
            result += value
    return result
