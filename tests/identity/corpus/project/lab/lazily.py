"""Loaded only when somebody needs it."""

OFFSET = 100


def helper(x):
    return x + OFFSET
