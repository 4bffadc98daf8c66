"""A script written for dagger: only its import has changed. docs/from-dagger.md says what differs.

python examples/from_dagger.py [directory]
"""

import sys
from functools import partial

import torch
from torch.nn.utils import prune

import dagtree as dg  # it was: import dagger as dg


class MyExperimentState(dg.ExperimentState):
    PROPERTIES = ["model_name", "optimizer_hparams", "seed"]
    NONHASHED_ATTRIBUTES = ["model", "optimizer"]

    def initialize_state(self, init_schema=None, parallel=False, **kwargs):
        self.model = torch.nn.Sequential(torch.nn.Linear(2, 16), torch.nn.Tanh(), torch.nn.Linear(16, 1))
        self.optimizer = torch.optim.Adam(self.model.parameters(), **self.optimizer_hparams)


class SeededRecipe(dg.Recipe):
    def __call__(self, experiment_state):
        self.experiment_object = experiment_state.experiment_object
        if self.seed is None:
            self.seed = self.experiment_object.root.seed
        return super().__call__(experiment_state)


def loss_of(state, x):
    return ((state.model(x) - x.prod(dim=1, keepdim=True)) ** 2).mean()


class TrainRecipe(SeededRecipe):
    PROPERTIES = ["nb_epochs", "seed"]

    def __init__(self, nb_epochs, seed=None):
        self.nb_epochs, self.seed = nb_epochs, seed

    def run(self, new_state):
        torch.manual_seed(self.seed)
        for _ in range(self.nb_epochs):
            new_state.optimizer.zero_grad()
            loss_of(new_state, torch.rand(256, 2) * 2 - 1).backward()
            new_state.optimizer.step()
        return new_state


class PruneRecipe(SeededRecipe):
    PROPERTIES = ["schema", "seed"]

    def __init__(self, schema, seed=None):
        self.schema, self.seed = schema, seed

    def run(self, new_state):
        for (module_name, tensor_name), pruning_fn in self.schema.items():
            pruning_fn(new_state.model.get_submodule(module_name), tensor_name)
        return new_state


directory = sys.argv[1] if len(sys.argv) > 1 else "runs/from_dagger"
exp = dg.Experiment(directory=directory, state_class=MyExperimentState)
x = exp.spawn_new_tree(model_name="tanh", optimizer_hparams={"lr": 0.05}, seed=123)
schema = {("0", "weight"): partial(prune.random_unstructured, amount=0.5)}
with exp.tag(["pruned", "trained"]):
    TrainRecipe(nb_epochs=300)(PruneRecipe(schema=schema)(x))
exp.run()

exp = dg.Experiment.restore(directory=directory, state_class=MyExperimentState)
with exp.tag("dense"):
    TrainRecipe(nb_epochs=300, seed=5)(exp.root.to_promise())
evaluate = dg.Function(lambda s: print(f"loss {loss_of(s, torch.rand(1000, 2)):.4f}"))
evaluate((exp.graph.nodes.filter("*ed") & exp.graph.nodes_at_distance(2))[0].to_promise())
exp.run()
for state in (exp.graph.nodes.filter("!pruned") & exp.graph.leaves).iterator:
    print(state.tags, tuple(state.model[0].weight.shape))
exp.graph.draw(filename=f"{directory}/graph", format="svg")
