"""What the benchmark needs to know: which steps really ran, and from what. It is no part of the project."""

import copy
import os


def ran(state, step, *given):
    """The step's own copy of a state, which carries the path by which it was made; writes that path down."""
    child = copy.deepcopy(state)
    parents = [state.path, *(value.path if hasattr(value, "path") else repr(value) for value in given)]
    child.path = f"{step}({', '.join(parents)})"
    with open(os.environ["LAB_RAN"], "a", encoding="utf-8") as file:
        file.write(child.path + "\n")
    return child
