"""Nothing that frees space costs another node a byte; what was evicted is computed again when needed."""

from __future__ import annotations

import logging
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import dagtree as dg
from dagtree import upkeep
from dagtree.storage import freeing, pickling
from dagtree.storage.opening import open_store
from dagtree.storage.presence import Presence
from place import Place, new_place

SIDE = 200  # a layer is 160 kB
LAYER = SIDE * SIDE * 4
LAYERS = 6


class Model(dg.ExperimentState):
    NONHASHED_ATTRIBUTES = ["layers", "bias", "name"]

    def initialize_state(self, **properties: Any) -> None:
        torch.manual_seed(0)
        self.layers = [torch.randn(SIDE, SIDE) for _ in range(LAYERS)]
        self.bias = torch.zeros(10)
        self.name = "root"


class Change(dg.Recipe):
    which: int
    by: float = 1.0

    def run(self, state: Any) -> Any:
        calls.append(self.which)
        state.layers[self.which] = state.layers[self.which] + self.by
        state.bias += 1
        state.name = f"changed {self.which}"
        return state


class Steps(dg.Recipe):
    wanted: int

    def run(self, state: Any) -> Any:
        for step in self.steps(range(self.wanted)):
            state.layers[0] = state.layers[0] * 2 + step
            yield {"step": step}


@dg.function
def mean(state: Any) -> float:
    calls.append("mean")
    return float(state.layers[0].mean())


calls: list[Any] = []


def content(state: Any) -> list[bytes]:
    parts = [*state.layers, state.bias]
    return [*(part.numpy().tobytes() for part in parts), state.name.encode()]


class Tree:
    """A chain of models, and what each of them held when it was computed."""

    def __init__(self, place: Place, length: int = 5) -> None:
        self.place = place
        self.exp = dg.Experiment(place.location, Model)
        self.nodes = [self.exp.spawn_new_tree()]
        for which in range(length):
            self.nodes.append(Change(which=which)(self.nodes[-1]))
        self.exp.run()
        self.held = {node.key: content(node.get()) for node in self.nodes}
        calls.clear()

    def again(self) -> dg.Experiment:
        return dg.Experiment.restore(self.place.location, Model)

    def check(self) -> None:
        """What is there is what it was, for one who opens it anew."""
        fresh = self.again()
        assert fresh.verify().faults == ()
        there = [node for node in fresh.graph.nodes if node.status == "done"]
        for node in there:
            assert content(node.restore()) == self.held[node.key]

    def statuses(self) -> list[str]:
        found = {node.key: node.status for node in self.again().graph.nodes}
        return [found.get(node.key, "gone") for node in self.nodes]


@pytest.fixture(params=["directory", "memory"])
def place(request: pytest.FixtureRequest) -> Place:
    return new_place(request.param, request)


@pytest.fixture
def tree(place: Place) -> Tree:
    return Tree(place)


def test_evicting_frees_what_nobody_else_has_and_keeps_the_rest(tree: Tree) -> None:
    before = tree.place.states_bytes
    freed = tree.exp.evict(tree.nodes[5])
    assert freed.evicted == (tree.nodes[5].key,)
    assert LAYER < freed.freed_bytes < LAYER + 2_000
    assert tree.place.states_bytes == before - freed.freed_bytes
    assert tree.statuses() == ["done"] * 5 + ["evicted"]
    tree.check()
    node = tree.again().graph.node(tree.nodes[5].key)
    assert node.label == "Change(which=4, by=1.0)"
    assert node.seconds is not None


def test_what_others_need_of_a_file_is_moved(tree: Tree) -> None:
    """The root's file holds all layers, of which the last node still has one."""
    freed = tree.exp.evict(tree.nodes[:5])
    assert freed.moved_bytes > LAYER
    assert tree.statuses() == ["evicted"] * 5 + ["done"]
    (name,) = (name for name in tree.place.names("*.safetensors") if len(name.rpartition("-")[2]) == 28)
    from safetensors.numpy import load

    assert set(load(tree.place.read(name))) == {"layers.5"}
    tree.check()


def test_a_file_of_which_little_would_be_freed_stays_as_it_is(tree: Tree) -> None:
    assert tree.exp.evict(tree.nodes[0]).moved_bytes == 0
    tree.check()


def test_a_dry_run_says_what_would_go_and_does_nothing(tree: Tree) -> None:
    files = tree.place.contents()
    for act in (tree.exp.evict, tree.exp.drop):
        told = act(tree.nodes[2:], dry_run=True)
        assert told.dry_run
        assert str(told).startswith("dry run, nothing was done: 4 nodes ")
        assert tree.place.contents() == files
        assert next(node.label for node in told.nodes) == "Change(which=1, by=1.0)"
    told = tree.exp.evict(tree.nodes[2:], dry_run=True)
    done = tree.exp.evict(tree.nodes[2:])
    assert (done.evicted, done.freed_bytes) == (told.evicted, told.freed_bytes)


@pytest.mark.parametrize("place", ["directory", "s3"], indirect=True)
def test_a_run_leaves_evicted_nodes_alone(tree: Tree) -> None:
    tree.exp.evict(tree.nodes[1:3])
    report = tree.exp.run()
    assert (report.computed, report.cached, report.evicted, calls) == (0, 4, 2, [])
    assert "2 evicted" in str(report)
    again = tree.exp.run("processes", workers=1)
    assert (again.computed, again.evicted) == (0, 2)


def test_a_missing_child_of_an_evicted_node_computes_it_from_the_nearest_that_is_there(tree: Tree) -> None:
    tree.exp.evict(tree.nodes[1:4])
    child = Change(which=5)(tree.nodes[3])
    assert "it was evicted, and its state is needed" in str(tree.exp.plan())
    told = tree.nodes[3].explain()
    assert told.headline.endswith(
        f"would be computed: it was evicted, and its state is needed by {child.label} [{child.key[:8]}], "
        f"to be computed"
    )
    below = tree.nodes[3]
    assert f"is needed by {below.label} [{below.key[:8]}], evicted too" in str(tree.nodes[2].explain())
    assert tree.exp.explain().missing == tree.exp.plan().missing
    assert not tree.exp.explain().evicted
    report = tree.exp.run()
    assert calls == [0, 1, 2, 5]
    assert (report.computed, report.differing) == (4, ())
    tree.held[child.key] = content(child.get())
    tree.check()


def test_a_function_computes_an_evicted_node_only_when_it_has_not_said_anything_there(tree: Tree) -> None:
    mean(tree.nodes[1])
    tree.exp.run()
    tree.exp.evict([tree.nodes[1], tree.nodes[3]])
    calls.clear()
    tree.exp.run()
    assert calls == [], "its result is on record"
    assert len(tree.exp.explain().evicted) == 2
    mean(tree.nodes[3])
    needs = "is needed by the function mean, which has said nothing there with the code that it has now"
    assert needs in str(tree.nodes[3].explain())
    assert "computed again only when something needs its state" in str(tree.nodes[1].explain())
    assert tree.exp.explain().missing == tree.exp.plan().missing
    tree.exp.run()
    assert calls == [2, "mean"]


@pytest.mark.parametrize("way", ["promise", "node", "restored"])
def test_restoring_an_evicted_node_computes_it_again(tree: Tree, way: str) -> None:
    tree.exp.evict(tree.nodes[1:4])
    if way == "promise":
        state = tree.nodes[3].get()
    else:
        exp = tree.exp if way == "node" else tree.again()
        state = exp.graph.node(tree.nodes[3].key).restore()
    assert content(state) == tree.held[tree.nodes[3].key]
    assert calls == [0, 1, 2]
    assert tree.statuses() == ["done"] * 6
    tree.check()


def test_an_evicted_moment_and_an_evicted_root_are_computed_again(place: Place) -> None:
    exp = dg.Experiment(place.location, Model)
    root = exp.spawn_new_tree()
    trained = Steps(wanted=4)(root)
    moment = trained.at(2)
    exp.run()
    held = {node.key: content(node.get()) for node in (root, trained, moment)}
    exp.evict([root, trained, moment])
    for node in (moment, trained, root):
        again = dg.Experiment.restore(place.location, Model)
        assert content(again.graph.node(node.key).restore()) == held[node.key]
        assert again.verify().ok


def test_a_restored_tree_grows_from_an_evicted_node(tree: Tree) -> None:
    tree.exp.evict(tree.nodes[2:])
    again = tree.again()
    child = Change(which=0, by=3.0)(again.graph.node(tree.nodes[4].key))
    report = again.run()
    assert (report.computed, report.evicted, calls) == (4, 0, [1, 2, 3, 0])
    assert child.get().name == "changed 0"
    tree.held[child.key] = content(child.get())
    tree.check()


def test_what_comes_out_otherwise_is_said_aloud_and_written_down(
    tree: Tree, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """As when a library adds otherwise on another machine."""
    tree.exp.evict(tree.nodes[2])
    with monkeypatch.context() as patch:
        patch.setattr(torch.Tensor, "__add__", lambda one, other: torch.add(one, other + 1e-3))
        with caplog.at_level(logging.WARNING, logger="dagtree"):
            tree.nodes[2].get()
    (message,) = caplog.messages
    assert message.startswith(f"differs: Change node {tree.nodes[2].key} was evicted and computed again")
    assert "layers.1 differs" in message
    assert tree.exp.graph.node(tree.nodes[2].key).record.more["differs"] == ["layers.1"]


def test_a_tensor_that_an_earlier_dagtree_named_otherwise_is_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    exp = dg.Experiment(tmp_path, Model)
    node = Change(which=0)(exp.spawn_new_tree())
    with monkeypatch.context() as patch:
        patch.setattr(pickling._Taking, "_name", lambda *_: None)
        exp.run()
    names = list(exp.graph.node(node.key).tensors())
    exp.evict(node)
    with caplog.at_level(logging.WARNING, logger="dagtree"):
        node.get()
    assert list(exp.graph.node(node.key).tensors()) != names
    assert caplog.messages == []


def test_dropping_takes_what_was_made_from_it_and_the_next_run_computes_it(tree: Tree) -> None:
    before = tree.place.states_bytes
    freed = tree.exp.drop(tree.nodes[3])
    assert freed.dropped == tuple(node.key for node in tree.nodes[3:])
    assert tree.place.states_bytes == before - freed.freed_bytes
    assert tree.statuses() == ["done"] * 3 + ["gone"] * 3
    assert [tree.exp.graph.node(node.key).status for node in tree.nodes[3:]] == ["planned"] * 3
    assert tree.exp.run().computed == 3
    tree.check()
    assert tree.statuses() == ["done"] * 6


def test_what_was_noted_of_a_dropped_node_goes_with_it(tree: Tree) -> None:
    mean(tree.nodes[5])
    tree.exp.run()
    assert tree.exp.graph.node(tree.nodes[5].key).results
    tree.exp.drop(tree.nodes[5])
    again = dg.Experiment(tree.place.location, Model)
    node = again.spawn_new_tree()
    for which in range(5):
        node = Change(which=which)(node)
    again.run()
    assert again.graph.node(node.key).results == {}


def test_what_is_tagged_keep_stays_with_its_lineage(place: Place) -> None:
    exp = dg.Experiment(place.location, Model)
    root = exp.spawn_new_tree()
    first = Change(which=0)(root)
    second = Change(which=1)(first)
    with exp.tag("keep"):
        third = Change(which=2)(second)
    fourth, other = Change(which=3)(third), Change(which=4)(first)
    exp.run()
    held = content(third.get())
    freed = exp.drop(first)
    assert set(freed.dropped) == {fourth.key, other.key}
    assert set(freed.evicted) == {first.key, second.key}
    assert "1 tagged 'keep' stay, and 2 that lead there are evicted only" in str(freed)
    again = dg.Experiment.restore(place.location, Model)
    assert again.graph.node(third.key).path == "Change/Change/Change"
    assert content(again.graph.node(third.key).restore()) == held
    for act in (exp.drop, exp.evict):
        with pytest.raises(dg.KeptError, match="is tagged 'keep', so nothing was") as raised:
            act(third)
        assert raised.value.keys == (third.key,)
    assert exp.evict(third, force=True).evicted == (third.key,)
    assert exp.drop(first, force=True).dropped == (first.key, second.key, third.key)


def test_keeping_to_a_budget_evicts_what_is_cheapest_to_compute_again(tree: Tree) -> None:
    budget = tree.place.all_bytes - LAYER
    freed = tree.exp.keep(budget)
    assert freed.on_disk_bytes <= budget
    assert tree.place.all_bytes <= budget + 5_000  # the lines that say so
    assert freed.evicted == (tree.nodes[5].key,), "the only one that frees a layer"
    tree.check()
    smallest = tree.exp.keep("1 kB", spare=tree.nodes[3])
    assert "more than the budget of 1 kB stay" in str(smallest)
    assert tree.statuses() == ["done", "evicted", "evicted", "done", "evicted", "evicted"]
    tree.check()
    with pytest.raises(ValueError, match="'20 Gigs' is no size"):
        tree.exp.keep("20 Gigs")


def test_time_decides_which_node_goes(tmp_path: Path) -> None:
    """Of two that free as much the one goes that takes less time, also to get to."""
    from dagtree.storage.choosing import choose
    from dagtree.storage.local import LocalStore
    from dagtree.storage.space import Uses
    from storage.test_space import save

    store = LocalStore(tmp_path)
    keys = [save(store, 1, [1]), *(save(store, number, [number], 1) for number in (2, 3, 4))]
    keys.append(save(store, 5, [5], 4))
    records = dict(store.records())
    for key, seconds in zip(keys, (0.1, 9.0, 1.0, 5.0, 0.2), strict=True):
        records[key].more["seconds"] = seconds
        records[key]._is_noted = True  # so that what this test says isn't forgotten
    order = [choose(records, Uses(store), wanted, set())[0] for wanted in (1, 100_500, 10**9)]
    assert order == [[keys[4]], [keys[4], keys[2]], [keys[4], keys[2], keys[1], keys[3]]]
    assert choose(records, Uses(store), 10**9, {keys[2]})[0] == [keys[4], keys[1], keys[3]]


def test_small_states_are_freed_when_enough_of_a_pack_is_waste(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(freeing, "LEAST_BYTES", 1)
    monkeypatch.setattr(freeing, "_LINE_BYTES", 1)
    from study import Add, Number

    exp = dg.Experiment(place.location, Number)
    nodes = [exp.spawn_new_tree(start=1)]
    for amount in range(8):
        nodes.append(Add(amount)(nodes[-1]))
    exp.run()
    before = place.states_bytes
    freed = exp.evict(nodes[:-1])
    assert 0 < freed.moved_bytes < before / 4
    assert place.states_bytes == before - freed.freed_bytes == freed.moved_bytes
    again = dg.Experiment.restore(place.location)
    assert again.graph.node(nodes[-1].key).restore().value == nodes[-1].get().value == 29
    assert exp.run().evicted == 8
    assert nodes[3].get().value == 4
    assert again.verify().ok


def test_a_state_that_was_restored_survives_its_eviction(tree: Tree) -> None:
    state = tree.again().graph.node(tree.nodes[5].key).restore()
    tree.exp.evict(tree.nodes[5])
    assert content(state) == tree.held[tree.nodes[5].key]


def test_a_reader_who_looked_before_finds_what_was_moved_and_what_was_evicted(tree: Tree) -> None:
    """The graph that somebody else has open speaks of files that are gone."""
    open_before = tree.again().graph
    held = {node.key: open_before.node(node.key) for node in tree.nodes}
    freed = tree.exp.evict(tree.nodes[1:5])
    assert freed.moved_bytes == 0
    assert tree.exp.evict(tree.nodes[0]).moved_bytes > LAYER
    assert tree.statuses() == ["evicted"] * 5 + ["done"]
    for key in (tree.nodes[5].key, tree.nodes[2].key):
        assert content(held[key].restore()) == tree.held[key]
    assert tree.exp.verify().ok
    tree.check()


WAIT = """
import sys
from dagtree.storage.opening import open_store
from dagtree.storage.presence import Presence
with Presence(open_store(sys.argv[1]).board(), "run"):
    print("here", flush=True)
    sys.stdin.read()
"""


@pytest.mark.parametrize("place", ["directory", "s3"], indirect=True)
def test_nothing_is_freed_while_another_is_at_work(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upkeep, "PATIENCE_S", 0.0)
    with subprocess.Popen(
        [sys.executable, "-c", WAIT, str(tree.place.location)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None
        assert other.stdin is not None
        other.stdout.readline()
        for act in (tree.exp.evict, tree.exp.drop):
            with pytest.raises(dg.BusyError, match=r"process \d+ on .* runs in .* so nothing was freed"):
                act(tree.nodes[5])
        assert tree.exp.evict(tree.nodes[5], dry_run=True).evicted
        other.stdin.close()
        other.wait()
    assert tree.exp.evict(tree.nodes[5]).evicted
    with Presence(open_store(tree.place.location).board(), "free"):
        pass
    assert tree.place.names("claims/*") == []


def test_damage_that_would_be_moved_is_named_and_nothing_is_freed(tree: Tree) -> None:
    (name,) = tree.place.names(f"tensors/*/{tree.nodes[0].key}*.safetensors")
    damaged = bytearray(tree.place.read(name))
    damaged[-LAYER // 2] ^= 1  # in the last layer, which all have
    tree.place.write(name, bytes(damaged))
    with pytest.raises(dg.DamagedError, match=r"Nothing was freed\. exp\.verify"):
        tree.exp.evict(tree.nodes[:5])
    assert tree.statuses() == ["done"] * 6
    assert len(tree.exp.verify()) == 6
    assert tree.exp.run().computed == 6
    tree.check()


def test_what_is_no_node_of_this_experiment_is_refused(tree: Tree, tmp_path: Path) -> None:
    other = Tree(Place(tmp_path / "y"), 1)
    for wrong in (other.nodes[1], other.exp.graph.nodes):
        with pytest.raises(dg.TreeError, match="belongs to another experiment"):
            tree.exp.evict(wrong)
    with pytest.raises(dg.SelectionError, match="is no node: give a node, a promise"):
        tree.exp.evict(7)
    with pytest.raises(dg.SelectionError, match="none of the 6 nodes"):
        tree.exp.drop("xyz")
    planned = Change(which=0, by=9.0)(tree.nodes[0])
    assert tree.exp.evict([planned]).nodes == ()
    assert tree.exp.evict(tree.exp.graph.nodes[5:6]).evicted == (tree.nodes[5].key,)


RECIPES = """
import dagtree as dg

class Number(dg.ExperimentState):
    PROPERTIES = ["start"]
    NONHASHED_ATTRIBUTES = ["value"]
    def initialize_state(self, **properties):
        self.value = self.start

class Grow(dg.Recipe):
    by: int
    def run(self, state):
        state.value += self.by
        return state
"""


@pytest.mark.parametrize(
    ("edit", "kind", "said"),
    [
        (lambda text: text, None, ""),
        (lambda text: text.replace("+= self.by", "+= 2 * self.by"), "DefinitionError", "the code of Grow"),
        (
            lambda text: text.replace("Grow", "Shrink"),
            "CodeNotFoundError",
            "Grow can't be imported from recipes",
        ),
        (lambda text: text + "\nGrow = 3\n", "CodeNotFoundError", "recipes.Grow is no Recipe any more"),
    ],
    ids=["the same", "changed", "renamed", "no recipe"],
)
def test_an_evicted_node_whose_code_is_not_here_any_more_says_so(
    tmp_path: Path, edit: Callable[[str], str], kind: str | None, said: str
) -> None:
    code = tmp_path / "recipes.py"
    code.write_text(RECIPES)
    make = """
        import dagtree as dg, recipes
        exp = dg.Experiment("x", recipes.Number)
        node = recipes.Grow(by=3)(exp.spawn_new_tree(start=1))
        exp.run()
        print(exp.evict(node).evicted[0])
    """

    def python(script: str) -> str:
        done = subprocess.run(
            [sys.executable, "-B", "-c", textwrap.dedent(script)],
            cwd=tmp_path, capture_output=True, text=True, check=True,
        )  # fmt: skip
        return done.stdout.strip()

    key = python(make)
    code.write_text(edit(RECIPES))
    told = python(f"""
        import dagtree as dg
        node = dg.Experiment.restore("x").graph.node("{key}")
        try:
            print(node.status, node.restore().value)
        except dg.DagtreeError as error:
            print(node.status, type(error).__name__, error)
    """)
    assert told.startswith(f"evicted {kind}" if kind else "evicted 4")
    assert said in told


def test_explanations_and_drawings_say_what_is_evicted(tree: Tree) -> None:
    tree.exp.evict(tree.nodes[2])
    explained = tree.exp.explain()
    assert str(explained).startswith("5 cached, 1 evicted, 0 to compute")
    assert explained.evicted[0].status == "evicted"
    assert "is evicted: computed again only when something" in tree.nodes[2].explain().headline
    assert "1 evicted" in repr(tree.exp.graph)
    assert tree.exp.graph.nodes.where(status="evicted").keys == (tree.nodes[2].key,)
    with pytest.raises(dg.NotComputedError, match=r"was evicted: its record is kept.*restore\(\)"):
        tree.exp.graph.node(tree.nodes[2].key).tensors()


class Read(dg.Recipe):
    """Reads what no key can see."""

    file: str

    def run(self, state: Any) -> Any:
        state.layers[1] = state.layers[1] + float(Path(self.file).read_text())
        state.name = "read"
        return state


@pytest.mark.parametrize("scheduler", ["threads", "processes", "cluster"])
def test_who_computes_an_evicted_node_compares_it_wherever_that_is(
    tmp_path: Path, scheduler: str, request: pytest.FixtureRequest
) -> None:
    where = request.getfixturevalue("client") if scheduler == "cluster" else scheduler
    (tmp_path / "value").write_text("1")
    exp = dg.Experiment(tmp_path / "x", Model)
    first = Read(file=str(tmp_path / "value"))(exp.spawn_new_tree())
    second = Change(which=0)(first)
    exp.run(where)
    held = content(second.get())
    exp.evict([first, second])
    third = Change(which=2)(second)
    assert exp.run(where).differing == ()
    assert content(second.get()) == held
    exp.evict([first, second])
    (tmp_path / "value").write_text("2")
    Change(which=3)(second)
    report = exp.run(where)
    assert report.computed == 3
    assert len(report.differing) == 2
    assert "2 DIFFERENT than before" in str(report)
    assert f"Read node {first.key} was evicted and computed again" in report.differing[0]
    assert exp.graph.node(first.key).record.more["differs"] == ["layers.1"]
    assert dg.Experiment.restore(tmp_path / "x", Model).graph.node(third.key).restore().name == "changed 2"
    assert exp.verify().ok


def test_a_copy_has_evicted_nodes_too_with_what_was_noted_of_them(tree: Tree, tmp_path: Path) -> None:
    mean(tree.nodes[2])
    tree.exp.run()
    tree.exp.evict(tree.nodes[1:4])
    tree.exp.copy_to(tmp_path / "y")
    copy = dg.Experiment.restore(tmp_path / "y", Model)
    node = copy.graph.node(tree.nodes[2].key)
    assert node.status == "evicted"
    assert node.results.keys() == {"mean"}
    assert copy.verify().ok
    assert content(node.restore()) == tree.held[node.key]
