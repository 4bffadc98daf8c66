# ruff: noqa
# The cells of a notebook that has run script.py; what is above the first one is in no cell.
# %%
from ran import ran
from redun import task

# %%
SHARPNESS = 1.5


def sharpen(value):
    return value * SHARPNESS - 1


# %%
@task(namespace="notebook")
def sharp(state, power: int = 2):
    state = ran(state, "sharp")
    state.values = [sharpen(value) ** power for value in state.values]
    state.note(f"{FACTOR}")
    return state


# %%
nodes["sharp"] = scheduler.run(sharp(nodes["pruned"]))
