# ruff: noqa
# The cells of a notebook that has run script.py; what is above the first one is in no cell.
# %%
from lab.steps import memory
from ran import ran

# %%
SHARPNESS = 1.5


def sharpen(value):
    return value * SHARPNESS - 1


# %%
@memory.cache
def sharp(state, power: int = 2):
    state = ran(state, "sharp")
    state.values = [sharpen(value) ** power for value in state.values]
    state.note(f"{FACTOR}")
    return state


# %%
nodes["sharp"] = sharp(nodes["pruned"])
