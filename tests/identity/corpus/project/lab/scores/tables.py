"""Scores by name."""

from .basic import mean, weight

TABLE = {}


def register(name):
    def enter(function):
        TABLE[name] = function
        return function

    return enter


@register("heavy")
def heavy(values):
    return mean(values) * weight()


@register("light")
def light(values):
    return mean(values) / weight()


def named(name, values):
    return TABLE[name](values)
