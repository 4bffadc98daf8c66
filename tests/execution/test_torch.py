"""Real models: trained, pruned and restored bit for bit, on every scheduler."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import dagtree as dg

torch = pytest.importorskip("torch")
datasets = pytest.importorskip("sklearn.datasets")


class Classifier(dg.ExperimentState):
    PROPERTIES = ["width"]
    NONHASHED_ATTRIBUTES = ["model", "optimizer", "data", "ema"]

    def initialize_state(self, **properties: Any) -> None:
        digits = datasets.load_digits()
        self.data = (
            torch.tensor(digits.data[:300], dtype=torch.float32) / 16,
            torch.tensor(digits.target[:300]),
        )
        self.model = torch.nn.Sequential(
            torch.nn.Linear(64, self.width),
            torch.nn.ReLU(),
            torch.nn.Dropout(0.2),
            torch.nn.Linear(self.width, 10),
        )
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=0.01)
        self.ema = self.model[0].weight  # shared with the model, on purpose


class Train(dg.Recipe):
    epochs: int

    def run(self, state: Classifier) -> Any:
        inputs, targets = state.data
        for _ in self.steps(range(self.epochs)):
            order = torch.randperm(len(inputs))
            for batch in order.split(64):
                state.optimizer.zero_grad()
                loss = torch.nn.functional.cross_entropy(state.model(inputs[batch]), targets[batch])
                loss.backward()
                state.optimizer.step()
            yield {"loss": loss}


class Halve(dg.Recipe):
    def run(self, state: Classifier) -> Classifier:
        with torch.no_grad():
            for parameter in state.model.parameters():
                parameter.mul_(0.5)
        return state


class Average(dg.Recipe):
    def run(self, first: Classifier, second: Classifier) -> Classifier:
        with torch.no_grad():
            for mine, other in zip(first.model.parameters(), second.model.parameters(), strict=True):
                mine.add_(other).div_(2)
        return first


def define(directory: Path) -> tuple[dg.Experiment, dict[str, dg.ExperimentStatePromise]]:
    exp = dg.Experiment(directory, Classifier)
    root = exp.spawn_new_tree(width=16)
    trained = Train(3)(root)
    again = Train(1)(trained)
    halved = Halve()(trained)
    merged = Average()(again, trained.at(1))
    return exp, {
        "root": root,
        "trained": trained,
        "early": trained.at(1),
        "again": again,
        "halved": halved,
        "merged": merged,
    }


def tensors(state: Any) -> dict[str, Any]:
    found = dict(state.model.state_dict())
    for number, moments in state.optimizer.state_dict()["state"].items():
        found.update(
            {f"optimizer.{number}.{name}": torch.as_tensor(value) for name, value in moments.items()}
        )
    return {name: value.detach().cpu().numpy().tobytes() for name, value in found.items()}


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    exp, promises = define(tmp_path_factory.mktemp("torch") / "tree")
    exp.run()
    return {name: (promise.key, tensors(promise.get())) for name, promise in promises.items()}


@pytest.mark.parametrize("scheduler", ["single-threaded", "threads", "processes", "cluster"])
def test_training_gives_the_same_bits_on_every_scheduler(
    scheduler: Any, tmp_path: Path, reference: dict[str, Any], request: pytest.FixtureRequest
) -> None:
    if scheduler == "cluster":
        scheduler = request.getfixturevalue("client")
    exp, promises = define(tmp_path / "tree")
    exp.run(scheduler, workers=2)
    assert {name: (p.key, tensors(p.get())) for name, p in promises.items()} == reference
    assert len({str(bits) for _, bits in reference.values()}) == len(reference)


def test_a_restored_optimizer_points_at_its_model_and_shared_tensors_stay_shared(tmp_path: Path) -> None:
    exp, promises = define(tmp_path / "tree")
    exp.run()
    for state in (promises["trained"].get(), exp.graph.node(promises["trained"].key).restore()):
        parameters = list(state.model.parameters())
        assert [id(p) for p in state.optimizer.param_groups[0]["params"]] == [id(p) for p in parameters]
        assert state.ema is state.model[0].weight
        with torch.no_grad():
            state.ema.zero_()
        assert not state.model[0].weight.any()


def test_changing_a_restored_state_changes_neither_the_node_nor_its_siblings(tmp_path: Path) -> None:
    exp, promises = define(tmp_path / "tree")
    exp.run()
    before = tensors(promises["trained"].get())
    state = promises["trained"].get()
    with torch.no_grad():
        for parameter in state.model.parameters():
            parameter.fill_(float("nan"))
    assert tensors(promises["trained"].get()) == before


def test_a_child_may_be_the_last_to_take_the_live_state_and_the_node_stays_as_it_was(tmp_path: Path) -> None:
    exp, promises = define(tmp_path / "tree")
    exp.run()
    trained, halved = promises["trained"].get(), promises["halved"].get()
    for mine, other in zip(trained.model.parameters(), halved.model.parameters(), strict=True):
        assert torch.equal(mine * 0.5, other)


class Share(dg.Recipe):
    def run(self, state: Classifier) -> Classifier:
        import numpy as np

        array = np.zeros(50_000)
        state.data, state.ema = array, torch.from_numpy(array)  # one memory, known to two libraries
        OUTSIDE.append(array)
        return state


class Write(dg.Recipe):
    def run(self, state: Classifier) -> Classifier:
        state.data[0] = 5.0
        state.optimizer = float(state.ema[0])
        return state


OUTSIDE: list[Any] = []


def test_memory_that_something_else_shares_never_reaches_a_child(tmp_path: Path) -> None:
    found = []
    for name in ("at once", "in two runs"):
        exp = dg.Experiment(tmp_path / name, Classifier)
        shared = Share()(exp.spawn_new_tree(width=4))
        if name == "in two runs":
            exp.run()
        found.append(Write()(shared).get().optimizer)
    assert found[0] == found[1]


def test_a_live_state_that_is_written_to_from_outside_is_read_from_disk(tmp_path: Path) -> None:
    exp = dg.Experiment(tmp_path / "tree", Classifier)
    shared = Share()(exp.spawn_new_tree(width=4))

    @dg.function
    def vandal(state: Any) -> None:
        OUTSIDE[-1][:] = -1

    child = Halve()(vandal(shared))
    exp.run()
    assert float(child.get().data[0]) == 0.0


def test_metrics_of_a_training_loop_are_numbers(tmp_path: Path) -> None:
    exp, promises = define(tmp_path / "tree")
    exp.run()
    history = exp.graph.node(promises["trained"].key).history
    losses = [entry["values"]["loss"] for entry in history]
    assert len(losses) == 3
    assert all(type(loss) is float for loss in losses)


@pytest.mark.gpu
def test_a_model_on_a_gpu_comes_back_on_it(tmp_path: Path) -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device here")

    class ToGpu(dg.Recipe):
        def run(self, state: Classifier) -> Classifier:
            state.model = state.model.cuda()
            return state

    exp, promises = define(tmp_path / "tree")
    moved = ToGpu()(promises["trained"])
    exp.run()
    weight = exp.graph.node(moved.key).restore().model[0].weight
    assert weight.is_cuda
    assert torch.equal(weight.cpu(), promises["trained"].get().model[0].weight)
    assert exp.graph.node(moved.key).record.more["device"].startswith("cuda")
