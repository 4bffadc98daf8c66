# ruff: noqa
# The cells of a notebook that has run script.py; what is above the first one is in no cell.
# %%
import dagtree as dg

# %%
SHARPNESS = 1.5


def sharpen(value):
    return value * SHARPNESS - 1


# %%
class Sharpen(dg.Recipe):
    power: int = 2

    def run(self, state):
        state.values = [sharpen(value) ** self.power for value in state.values]
        state.note(f"{FACTOR}")
        return state


# %%
nodes["sharp"] = Sharpen()(nodes["pruned"])
