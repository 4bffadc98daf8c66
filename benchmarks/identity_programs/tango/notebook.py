# ruff: noqa
# The cells of a notebook that has run script.py; what is above the first one is in no cell.
# %%
import tango
from ran import ran

# %%
SHARPNESS = 1.5


def sharpen(value):
    return value * SHARPNESS - 1


# %%
@tango.Step.register("sharpen")
class Sharpen(tango.Step):
    def run(self, state, power: int = 2):
        state = ran(state, "sharp")
        state.values = [sharpen(value) ** power for value in state.values]
        state.note(f"{FACTOR}")
        return state


# %%
nodes["sharp"] = Sharpen(state=made["pruned"]).result(workspace)
