"""Scripts as dagger's README and tutorial teach to write them, on scikit-learn's digits.

Only the import is new. They are our own, and use every construct that those two use; what differs on purpose
is in docs/from-dagger.md.
"""

from __future__ import annotations

import os
import random
import re
import subprocess
import sys
import webbrowser
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import torch.nn.utils.prune as prune
from torch import nn

import dagtree as dg

ROOT = Path(__file__).parent.parent

# dagger's own names go on working, and say their new ones: that is one test's business, not all tests'.
pytestmark = pytest.mark.filterwarnings("ignore:.* is the name dagger used:DeprecationWarning")


def fix_all_seeds(seed: int) -> None:
    torch.manual_seed(seed)
    if torch.cuda.is_available():
        torch.cuda.manual_seed_all(seed)
    np.random.seed(seed)
    random.seed(seed)


def make_loaders(
    dataset: str, train_batch_size: int, test_batch_size: int, seed: int, num_workers: int = 0
) -> Any:
    if dataset.lower() != "digits":
        raise ValueError("the only dataset here is digits")
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    x = torch.tensor(images / 16, dtype=torch.float32).reshape(-1, 1, 8, 8)
    y = torch.tensor(labels)
    parts = slice(900), slice(900, None)
    train, test = (torch.utils.data.TensorDataset(x[part], y[part]) for part in parts)

    def start_worker(worker: int, seed: int) -> None:
        np.random.seed(seed)

    loader = partial(
        torch.utils.data.DataLoader, num_workers=num_workers, worker_init_fn=partial(start_worker, seed=seed)
    )
    return loader(train, batch_size=train_batch_size, shuffle=True), loader(test, batch_size=test_batch_size)


class SmallNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 8, 3)
        self.hidden = nn.Linear(8 * 3 * 3, 48)
        self.out = nn.Linear(48, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.max_pool2d(F.relu(self.conv(x)), 2)
        x = F.relu(self.hidden(x.view(-1, x.nelement() // x.shape[0])))
        return self.out(x)


def make_optimizer(name: str, parameters: Any, **hparams: Any) -> Any:
    return {"sgd": torch.optim.SGD, "adam": torch.optim.Adam}[name.lower()](parameters, **hparams)


class DigitsState(dg.ExperimentState):
    PROPERTIES = [
        "dataset_name",
        "model_name",
        "optimizer_name",
        "dataloader_hparams",
        "optimizer_hparams",
        "seed",
    ]
    NONHASHED_ATTRIBUTES = ["train_dataloader", "test_dataloader", "model", "optimizer"]

    def __init__(self, parent_sha: Any, experiment_object: Any) -> None:
        super().__init__(parent_sha, experiment_object)

    def initialize_state(self, init_schema: Any = None, parallel: bool = False, **kwargs: Any) -> None:
        self.seed = kwargs.get("seed", 0)
        fix_all_seeds(self.seed)
        self.train_dataloader, self.test_dataloader = make_loaders(**self.dataloader_hparams)
        self.model = SmallNet()
        self.optimizer = make_optimizer(
            self.optimizer_name, self.model.parameters(), **self.optimizer_hparams
        )


class SeededRecipe(dg.Recipe):
    def __call__(self, experiment_state: Any) -> Any:
        self.experiment_object = experiment_state.experiment_object
        if not hasattr(self, "seed") or self.seed is None:
            self.seed = self.experiment_object.root.seed
        return super().__call__(experiment_state)

    def set_seed(self) -> None:
        fix_all_seeds(self.seed)


class TrainRecipe(SeededRecipe):
    PROPERTIES = ["nb_epochs", "seed"]

    def __init__(self, nb_epochs: int, seed: int | None = None) -> None:
        self.nb_epochs = nb_epochs
        self.seed = seed

    def run(self, new_state: Any) -> Any:
        self.set_seed()
        new_state.model.train()
        loss_func = torch.nn.CrossEntropyLoss()
        for epoch in range(self.nb_epochs):
            print(f"epoch {epoch}")
            for x, y in new_state.train_dataloader:
                new_state.optimizer.zero_grad()
                loss_func(new_state.model(x), y).backward()
                new_state.optimizer.step()
        return new_state


class PruneRecipe(SeededRecipe):
    PROPERTIES = ["schema", "seed"]

    def __init__(self, schema: Any, seed: int | None = None) -> None:
        self.schema = schema
        self.seed = seed

    def run(self, new_state: Any) -> Any:
        self.set_seed()

        def prune_model(model: nn.Module, schema: Any) -> None:
            modules = dict(model.named_modules())
            for (module_name, tensor_name), prune_one in schema.items():
                if module_name not in modules:
                    raise KeyError(f"no module {module_name} in {list(modules)}")
                prune_one(modules[module_name], tensor_name)

        prune_model(model=new_state.model, schema=self.schema)
        return new_state


def evaluate(model: nn.Module, loader: Any, eval_fn: Any = None) -> float:
    if not eval_fn:

        def eval_fn(y_true: torch.Tensor, y_pred: torch.Tensor) -> float:
            return (y_pred.argmax(-1) == y_true).sum().item()

    training = model.training
    model.eval()
    right = 0.0
    with torch.no_grad():
        for x, y in loader:
            right += eval_fn(y_true=y, y_pred=model(x))
    if training:
        model.train()
    return right / len(loader.dataset)


HPARAMS = {"dataset": "digits", "train_batch_size": 20, "test_batch_size": 100, "num_workers": 0, "seed": 123}


def spawn(exp: dg.Experiment) -> Any:
    return exp.spawn_new_tree(
        dataset_name="digits",
        model_name="small",
        optimizer_name="adam",
        dataloader_hparams=HPARAMS,
        optimizer_hparams={"lr": 0.01},
        seed=123,
    )


def schema() -> Any:
    return {
        (module, "weight"): partial(prune.random_unstructured, amount=0.5)
        for module in ("conv", "hidden", "out")
    }


@pytest.fixture
def example(tmp_path: Path) -> Path:
    """The tutorial's experiment: one branch that trains, one that prunes and trains."""
    directory = tmp_path / "example"
    exp = dg.Experiment(directory=directory, state_class=DigitsState)
    x = spawn(exp)
    TrainRecipe(nb_epochs=1)(x)
    TrainRecipe(nb_epochs=1)(PruneRecipe(schema=schema())(x))
    exp.run()
    return directory


def test_an_experiment_is_defined_before_anything_is_computed(tmp_path: Path) -> None:
    exp = dg.Experiment(directory=str(tmp_path / "example"), state_class=DigitsState)
    assert exp.directory == tmp_path / "example"
    assert not exp.leaves
    assert exp.root is None
    x = spawn(exp)
    assert exp.root is x
    assert exp.root.seed == 123
    assert exp.experiment_arguments["dataloader_hparams"] == HPARAMS
    a = TrainRecipe(nb_epochs=1)(x)
    b = TrainRecipe(nb_epochs=1)(PruneRecipe(schema=schema())(x))
    assert list(exp.leaves) == [a, b]
    assert a.properties["seed"] == 123  # the recipe took it from the root
    assert not exp.directory.exists()


def test_two_branches_are_trained_from_one_root(example: Path) -> None:
    """Both train; the pruned one has half its weights, and the root is as it was."""
    exp = dg.Experiment.restore(directory=example, state_class=DigitsState)
    assert [len(exp.graph.nodes_at_distance(level)) for level in range(4)] == [1, 2, 1, 0]
    zeros, accuracies = {}, {}
    for node in exp.graph.nodes.iterator:
        weight = node.model.hidden.weight
        zeros[node.path] = float((weight == 0).float().mean())
        accuracies[node.path] = evaluate(node.model, node.test_dataloader)
    assert zeros == {
        "root": 0,
        "TrainRecipe": 0,
        "PruneRecipe": pytest.approx(0.5, abs=0.01),
        "PruneRecipe/TrainRecipe": pytest.approx(0.5, abs=0.01),
    }
    assert accuracies["TrainRecipe"] > accuracies["root"] + 0.1
    assert accuracies["PruneRecipe/TrainRecipe"] > accuracies["PruneRecipe"] + 0.05


def test_the_tutorial_computes_what_plain_torch_computes(example: Path) -> None:
    fix_all_seeds(123)
    train, _ = make_loaders(**HPARAMS)
    model = SmallNet()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    fix_all_seeds(123)
    for (module, name), prune_one in schema().items():
        prune_one(getattr(model, module), name)
    fix_all_seeds(123)
    for x, y in train:
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        optimizer.step()
    exp = dg.Experiment.restore(directory=example, state_class=DigitsState)
    (leaf,) = exp.graph.nodes_at_distance(2)
    found = leaf.restore().model.state_dict()
    for name, tensor in model.state_dict().items():
        assert torch.equal(found[name], tensor)


def test_a_restored_experiment_grows_from_its_root(example: Path) -> None:
    exp = dg.Experiment.restore(directory=example, state_class=DigitsState)
    with exp.tag("train2epochs"):
        TrainRecipe(nb_epochs=2, seed=123)(exp.root.to_promise())
    assert exp.run().computed == 1
    exp = dg.Experiment.restore(directory=example, state_class=DigitsState)
    (grown,) = exp.graph.nodes.filter("train*epochs")
    assert grown.parents == (exp.graph.root,)
    assert len(exp.graph.nodes) == 5


def test_the_same_training_with_a_tag_is_the_same_node(example: Path) -> None:
    """In the tutorial a tag computes the node again, and it comes out the same; here nothing is computed."""
    exp = dg.Experiment.restore(directory=example, state_class=DigitsState)
    with exp.tag("train1epoch"):
        TrainRecipe(nb_epochs=1, seed=123)(exp.root.to_promise())
    assert exp.run().computed == 0
    exp = dg.Experiment.restore(directory=example, state_class=DigitsState)
    assert [node.path for node in exp.graph.nodes.filter("train*epoch")] == ["TrainRecipe"]
    assert len(exp.graph.nodes) == 4


def test_the_leaves_are_evaluated_one_by_one(example: Path) -> None:
    exp = dg.Experiment.restore(directory=example, state_class=DigitsState)
    leaves = [node for node, children in exp.graph.edge_map.items() if not children]
    found = {}
    for node, state in exp.graph.node_map.items():
        if node in leaves:
            with state.lazy_load():
                found[node] = evaluate(state.model, state.test_dataloader)
    assert set(found) == set(exp.graph.leaves.keys)
    assert min(found.values()) > 0.2


def test_a_function_is_made_from_a_lambda(example: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It runs at every node that it was asked for at, and what it prints reaches the screen."""
    exp = dg.Experiment.restore(directory=example, state_class=DigitsState)
    report_accuracy = dg.Function(
        lambda s: print(f"Node {s.sha()}: {evaluate(s.model, s.test_dataloader):.3f}")
    )
    leaves = [node for node, children in exp.graph.edge_map.items() if not children]
    for node, state in exp.graph.node_map.items():
        if node in leaves:
            report_accuracy(state.to_promise())
    assert exp.run().computed == 0
    printed = capsys.readouterr().out
    assert all(f"Node {leaf}: 0." in printed for leaf in leaves)
    assert printed.count("Node ") == 2


def test_nodes_are_sliced_filtered_and_combined(tmp_path: Path) -> None:
    exp = dg.Experiment(directory=tmp_path / "example", state_class=DigitsState)
    x = spawn(exp)
    with exp.tag("dense"):
        TrainRecipe(nb_epochs=0)(x)
    with exp.tag(["pruned", "half"]):
        pruned = PruneRecipe(schema=schema())(x)
        with exp.tag("trained"):
            TrainRecipe(nb_epochs=0)(pruned)
    exp.run()
    exp = dg.Experiment.restore(directory=tmp_path / "example", state_class=DigitsState)
    nodes = exp.graph.nodes
    assert exp.graph.root == exp.graph.nodes_at_distance(0)[0]
    assert exp.graph.node(exp.graph.root.key) == exp.graph.root
    assert nodes[0] == exp.graph.root
    assert [node.path for node in nodes.filter("prun*") & nodes.filter("!trained")] == ["PruneRecipe"]
    assert [node.path for node in nodes.filter("dense") | nodes.filter("trained")] == [
        "TrainRecipe",
        "PruneRecipe/TrainRecipe",
    ]
    with pytest.raises(TypeError):
        nodes & [nodes[0]]


def test_a_node_is_loaded_and_let_go(example: Path) -> None:
    exp = dg.Experiment.restore(directory=example, state_class=DigitsState)
    s = exp.graph.nodes[0]
    assert s.slim_loaded
    with s.lazy_load():
        assert not s.slim_loaded
        assert isinstance(s.model, SmallNet)
        assert s.optimizer.param_groups[0]["params"][0] is next(s.model.parameters())
    assert s.slim_loaded
    assert isinstance(s.restore().model, SmallNet)
    s.deflate()
    assert s.slim_loaded
    for state in exp.graph.nodes.iterator:
        assert not state.slim_loaded
    assert state.slim_loaded


@pytest.mark.parametrize("found", [True, False])
def test_the_tree_is_drawn_as_png_and_viewed(
    example: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, found: bool
) -> None:
    """Where Graphviz's program is missing, an SVG takes the picture's place, and a warning says so."""
    viewed: list[str] = []
    monkeypatch.setattr(webbrowser, "open", lambda url: bool(viewed.append(url)) or True)
    if not found:
        monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    elif not any(Path(place, "dot").exists() for place in os.environ["PATH"].split(os.pathsep)):
        pytest.skip("Graphviz's program dot isn't here")
    exp = dg.Experiment.restore(directory=example, state_class=DigitsState)
    if found:
        path = exp.graph.draw(filename=str(example / "graph"), format="png", view=True)
        assert Path(path).read_bytes().startswith(b"\x89PNG")
    else:
        with pytest.warns(UserWarning, match="install Graphviz"):
            path = exp.graph.draw(filename=str(example / "graph"), format="png", view=True)
        assert Path(path).name == "graph.svg"
    assert viewed == [Path(path).resolve().as_uri()]
    assert "TrainRecipe" in exp.graph.to_graphviz().source


def test_the_script_computes_nothing_when_it_runs_again(example: Path) -> None:
    exp = dg.Experiment(directory=example, state_class=DigitsState)
    x = spawn(exp)
    TrainRecipe(nb_epochs=1)(x)
    TrainRecipe(nb_epochs=1)(PruneRecipe(schema=schema())(x))
    report = exp.run()
    assert (report.computed, report.cached) == (0, 4)


def test_old_names_say_their_new_ones(example: Path) -> None:
    exp = dg.Experiment.restore(directory=example, state_class=DigitsState)
    root = exp.graph.root
    with pytest.warns(DeprecationWarning, match=r"write node\.key instead"):
        assert root.sha() == root.key
    with pytest.warns(DeprecationWarning, match=r"graph\.node\(key\)"):
        exp.graph.node_map
    with pytest.warns(DeprecationWarning, match=r"node\.children"):
        exp.graph.edge_map
    with pytest.warns(DeprecationWarning, match="lazy_load"):
        root.slim_loaded


KEYS_SCRIPT = """
import sys
import numpy as np
import torch
sys.path.insert(0, sys.argv[1])
from test_dagger_tutorial import DigitsState, TrainRecipe, spawn
import dagtree as dg

if sys.argv[2] == 'used':
    np.random.rand()
    torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1)
print(TrainRecipe(nb_epochs=1)(spawn(dg.Experiment('never', DigitsState))).key)
"""


def test_a_recipe_that_seeds_everything_keeps_its_key(tmp_path: Path) -> None:
    """Also in a process that has used numpy and torch already: both load parts of themselves late."""
    script = [sys.executable, "-c", KEYS_SCRIPT, str(Path(__file__).parent)]
    processes = [
        subprocess.Popen(
            [*script, before],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            text=True,
        )
        for before in ("fresh", "used", "used")
    ]
    keys = [process.communicate(timeout=120)[0].strip() for process in processes]
    assert all(re.fullmatch("[0-9a-f]{32}", key) for key in keys)
    assert len(set(keys)) == 1


README_SCRIPT = """
from types import MethodType

import dagtree as dag
from torch import nn

exp = dag.Experiment(directory='example/', state_class=dag.ExperimentState)


def initialize_state(state):
    state.model = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))


dag.ExperimentState.initialize_state = MethodType(initialize_state, dag.ExperimentState)
root = exp.spawn_new_tree()


def run(recipe, state):
    state.model[2].bias.data.zero_()
    return state


dag.Recipe.run = MethodType(run, dag.Recipe)
new_state = dag.Recipe()(root)
exp.run({scheduler})

root_model, new_model = root.get().model, new_state.get().model
print('before', bool((root_model[2].bias == 0).all()), 'after', bool((new_model[2].bias == 0).all()))
print('same weights', bool((root_model[0].weight == new_model[0].weight).all()))
restored = dag.Experiment.restore('example/')
print(len(restored.graph.nodes), type(restored.graph.nodes[1].restore().model).__name__)
"""


@pytest.mark.parametrize("scheduler", ["", "scheduler='threads'"])
def test_methods_hung_on_the_classes_work_as_in_the_readme(tmp_path: Path, scheduler: str) -> None:
    script = tmp_path / "script.py"
    script.write_text(README_SCRIPT.format(scheduler=scheduler))
    done = subprocess.run(
        [sys.executable, "-W", "error", str(script)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["before False after True", "same weights True", "2 Sequential"]


@pytest.mark.parametrize("scheduler", ["threads", "processes"])
def test_the_tutorial_gives_the_same_models_on_other_schedulers(
    example: Path, tmp_path: Path, scheduler: str
) -> None:
    exp = dg.Experiment(directory=tmp_path / "other", state_class=DigitsState)
    x = spawn(exp)
    leaves = [
        TrainRecipe(nb_epochs=1)(x),
        TrainRecipe(nb_epochs=1)(PruneRecipe(schema=schema())(x)),
    ]
    exp.run(scheduler=scheduler)
    here = dg.Experiment.restore(example, DigitsState).graph
    for leaf in leaves:
        expected = here.node(leaf.key).restore().model.state_dict()
        for name, tensor in leaf.get().model.state_dict().items():
            assert torch.equal(tensor, expected[name])
