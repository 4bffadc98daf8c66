# ruff: noqa
# The cells of a notebook that has run script.py; what is above the first one is in no cell.
# %%
import os

import exca
from ran import ran

# %%
SHARPNESS = 1.5


def sharpen(value):
    return value * SHARPNESS - 1


# %%
class Sharpen(steps.Task):
    state: steps.Task
    power: int = 2
    infra: exca.TaskInfra = exca.TaskInfra(folder=os.environ["LAB_CACHE"])

    @infra.apply
    def run(self):
        state = ran(self.state.run(), "sharp")
        state.values = [sharpen(value) ** self.power for value in state.values]
        state.note(f"{FACTOR}")
        return state


# %%
nodes["sharp"] = Sharpen(state=made["pruned"]).run()
