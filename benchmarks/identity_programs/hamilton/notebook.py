# ruff: noqa
# The cells of a notebook that has run script.py; what is above the first one is in no cell.
# %%
from hamilton import ad_hoc_utils
from lab.state import State
from ran import ran

# %%
SHARPNESS = 1.5


def _sharpen(value):
    return value * SHARPNESS - 1


# %%
def sharp(pruned: State, power: int = 2) -> State:
    state = ran(pruned, "sharp")
    state.values = [_sharpen(value) ** power for value in state.values]
    state.note(f"{FACTOR}")
    return state


# %%
nodes["sharp"] = _define(["sharp"], ad_hoc_utils.create_temporary_module(sharp))["sharp"]
