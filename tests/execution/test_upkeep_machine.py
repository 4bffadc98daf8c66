"""Whatever is done to a tree in whatever order, what is said to be there is what was computed."""

from __future__ import annotations

import itertools
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

import dagtree as dg
from dagtree.storage import freeing
from place import Place

LAYERS = 3
SIDE = 70_000  # bytes of a layer, more than what shares a pack


def layer_of(fill: int) -> Any:
    """A layer with values of its own, which pruning leaves in part."""
    return np.random.default_rng(fill).integers(1, 255, SIDE, np.uint8)


class Layers(dg.ExperimentState):
    NONHASHED_ATTRIBUTES = ["layers", "small", "path"]

    def initialize_state(self, **properties: Any) -> None:
        self.layers = [layer_of(fill) for fill in range(LAYERS)]
        self.small = np.zeros(3)
        self.path = ""


class Set(dg.Recipe):
    """Fills one layer; that two paths lead to equal layers is meant."""

    layer: int
    fill: int

    def run(self, state: Any) -> Any:
        state.layers[self.layer] = layer_of(10 + self.fill)
        state.small = state.small + 1
        state.path += f"{self.layer}{self.fill}"
        return state


class Prune(dg.Recipe):
    """Leaves of a layer what a mask keeps; trained on, its values change."""

    layer: int
    seed: int
    trained: bool

    def run(self, state: Any) -> Any:
        mask = np.random.default_rng(self.seed).random(SIDE) < 0.4
        pruned = state.layers[self.layer] * mask
        state.layers[self.layer] = pruned ^ (3 * mask.astype(np.uint8)) if self.trained else pruned
        state.path += f"pruned{self.layer}{self.seed}{self.trained}"
        return state


class Mix(dg.Recipe):
    def run(self, first: Any, second: Any) -> Any:
        first.layers[0] = second.layers[1]
        first.path += f"({second.path})"
        return first


def content(state: Any) -> tuple[Any, ...]:
    return (*(layer.tobytes() for layer in state.layers), state.small.tobytes(), state.path)


class Upkeep(RuleBasedStateMachine):
    """A tree that is grown, run, freed, damaged, verified and opened anew."""

    def make_place(self) -> Place:
        raise NotImplementedError

    def __init__(self) -> None:
        super().__init__()
        self.place = self.make_place()
        self.held: dict[str, tuple[Any, ...]] = {}
        self.kept: set[str] = set()
        self.harmed: set[str] = set()  # on purpose, and perhaps not computed again yet
        self.least = (freeing.LEAST_BYTES, freeing._LINE_BYTES)
        freeing.LEAST_BYTES = freeing._LINE_BYTES = 1  # so that as much as can be is moved
        self.defined: list[tuple[Any, tuple[int, ...], bool]] = []
        self.reopen()

    def teardown(self) -> None:
        freeing.LEAST_BYTES, freeing._LINE_BYTES = self.least
        self.place.remove()

    def define(self, recipe: Any, parents: tuple[int, ...], keep: bool) -> None:
        with self.exp.tag("keep" if keep else "free"):
            self.nodes.append(recipe(*(self.nodes[parent] for parent in parents)))

    @rule()
    def reopen(self) -> None:
        """As another process would: the same script again."""
        self.exp = dg.Experiment(self.place.location, Layers)
        self.nodes = [self.exp.spawn_new_tree()]
        for one in self.defined:
            self.define(*one)

    @rule(
        layer=st.integers(0, LAYERS - 1),
        fill=st.integers(0, 1),
        parent=st.integers(0, 20),
        keep=st.booleans(),
    )
    def grow(self, layer: int, fill: int, parent: int, keep: bool) -> None:
        one = Set(layer=layer, fill=fill), (parent % len(self.nodes),), keep and parent % 3 == 0
        self.defined.append(one)
        self.define(*one)

    @rule(
        layer=st.integers(0, LAYERS - 1),
        seed=st.integers(0, 1),
        trained=st.booleans(),
        parent=st.integers(0, 20),
    )
    def prune(self, layer: int, seed: int, trained: bool, parent: int) -> None:
        one = Prune(layer=layer, seed=seed, trained=trained), (parent % len(self.nodes),), False
        self.defined.append(one)
        self.define(*one)

    @rule(first=st.integers(0, 20), second=st.integers(0, 20))
    def mix(self, first: int, second: int) -> None:
        one = Mix(), (first % len(self.nodes), second % len(self.nodes)), False
        self.defined.append(one)
        self.define(*one)

    @rule()
    def run(self) -> None:
        report = self.exp.run()
        assert report.ok
        assert report.differing == ()
        self.harmed.clear()
        self.remember()
        statuses = {node.key: node.status for node in self.exp.graph.nodes}
        assert {statuses[node.key] for node in self.nodes} <= {"done", "evicted"}

    def remember(self) -> None:
        for node in self.exp.graph.nodes:
            if node.status == "done":
                found = content(node.restore())
                assert self.held.setdefault(node.key, found) == found
            if node.status != "planned" and "keep" in node.tags:
                self.kept.add(node.key)

    def some(self, picks: list[int]) -> list[Any]:
        return [self.nodes[pick % len(self.nodes)] for pick in picks]

    def frees(self, act: Any, *arguments: Any, **named: Any) -> None:
        told = act(*arguments, dry_run=True, **named)
        before = self.place.states_bytes
        done = act(*arguments, **named)
        assert (done.nodes, done.freed_bytes) == (told.nodes, told.freed_bytes)
        assert self.place.states_bytes == before - done.freed_bytes
        statuses = {node.key: node.status for node in self.exp.graph.nodes}
        assert all(statuses[key] == "evicted" for key in done.evicted)
        assert all(statuses.get(key, "planned") == "planned" for key in done.dropped)

    @rule(picks=st.lists(st.integers(0, 20), min_size=1, max_size=6))
    def evict(self, picks: list[int]) -> None:
        self.frees(self.exp.evict, [node for node in self.some(picks) if "keep" not in node.tags])

    @rule(pick=st.integers(0, 20))
    def drop(self, pick: int) -> None:
        (node,) = self.some([pick])
        if "keep" not in node.tags:
            self.frees(self.exp.drop, node)
            there = {node.key for node in self.exp.graph.nodes if node.status != "planned"}
            assert self.kept <= there, "what is tagged keep is there, with what it was made from"

    @rule(share=st.floats(0, 1))
    def keep(self, share: float) -> None:
        self.frees(self.exp.keep, int(share * self.place.states_bytes))

    @precondition(lambda self: self.held)
    @rule(pick=st.integers(0, 20))
    def restore(self, pick: int) -> None:
        (node,) = self.some([pick])
        if node.key in self.held:
            assert content(node.get()) == self.held[node.key]

    @precondition(lambda self: self.held)
    @rule(pick=st.integers(0, 20), place=st.floats(0, 0.99))
    def damage(self, pick: int, place: float) -> None:
        names = self.place.names("tensors/*.safetensors")
        if names:
            name = names[pick % len(names)]
            changed = bytearray(self.place.read(name))
            changed[1_000 + int(place * (len(changed) - 1_000))] ^= 1
            self.place.write(name, bytes(changed))
            verified = self.exp.verify()
            self.kept -= set(verified)
            self.harmed |= set(verified)
            assert all(fault.kind == "damaged" for fault in verified.faults), verified.faults

    @invariant()
    def what_is_there_is_what_was_computed(self) -> None:
        fresh = dg.Experiment.restore(self.place.location, Layers) if self.held else None
        if fresh is None:
            return
        assert set(fresh.verify()) <= self.harmed
        for node in fresh.graph.nodes:
            if node.status == "done":
                assert content(node.restore()) == self.held[node.key]


class InDirectory(Upkeep):
    def make_place(self) -> Place:
        return Place(Path(tempfile.mkdtemp(prefix="dagtree-machine-")))

    def teardown(self) -> None:
        super().teardown()
        shutil.rmtree(self.place.location)


class InMemory(Upkeep):
    NUMBERS = itertools.count()

    def make_place(self) -> Place:
        return Place(f"memory://upkeep/{os.getpid()}-{next(self.NUMBERS)}")


SEARCH = settings(
    max_examples=25, stateful_step_count=20, deadline=None, suppress_health_check=list(HealthCheck)
)
TestInDirectory = InDirectory.TestCase
TestInDirectory.settings = SEARCH
TestInMemory = InMemory.TestCase
TestInMemory.settings = SEARCH
