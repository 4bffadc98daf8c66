"""Trees of real records, without a store and without states."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest

from dagtree.analysis.graph import Graph
from dagtree.storage.describe import describe
from dagtree.storage.record import Record


class State:
    """What the loader restores: it knows whose it is, and can be watched dying."""

    def __init__(self, key: str) -> None:
        self.key_seen = key
        self.model = f"model of {key}"


class FakeLoader:
    def __init__(self) -> None:
        self.restored: list[str] = []

    def restore(self, key: str) -> State:
        self.restored.append(key)
        return State(key)

    def tensors(self, key: str) -> dict[str, object]:
        return {"weight": key}

    def promise(self, key: str) -> tuple[str, str]:
        return ("promise", key)

    def output(self, key: str) -> str:
        return f"printed by {key}"

    def environment(self, digest: str) -> dict[str, Any]:
        return {"digest": digest}

    def sources(self, digest: str) -> list[dict[str, Any]]:
        return [{"digest": digest}]


def hexes(*parts: Any) -> str:
    return hashlib.md5(repr(parts).encode()).hexdigest()


class Grower:
    """Grows a tree as an experiment would: keys chain code, addresses don't."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.statuses: dict[str, str] = {}
        self.loader = FakeLoader()

    def add(
        self,
        recipe: str,
        *parents: Record | str,
        properties: dict[str, Any] | None = None,
        tags: tuple[str, ...] = (),
        status: str = "done",
        moment: int | None = None,
        code: str = "",
        ended: float | None = None,
        position: int | None = None,
        key: str | None = None,
        **more: Any,
    ) -> Record:
        kind = "moment" if moment is not None else "recipe" if parents else "root"
        described = {name: describe(value) for name, value in (properties or {}).items()}
        what = (recipe, moment, json.dumps(described, sort_keys=True))
        above = [one if isinstance(one, str) else one.key for one in parents]
        if kind == "moment":  # its record names the end of its edge, then the edge's parents
            above += [key for one in parents for key in one.parents]
        record = Record.make(
            key=key or hexes(*what, code, above),
            address=hexes(*what, [one if isinstance(one, str) else one.address for one in parents]),
            kind=kind,
            recipe=recipe,
            parents=above,
            tags=tags,
            status=status if status in ("done", "failed") else "done",
            moment=moment,
            position=len(self.records) if position is None else position,
            ended=1000.0 + len(self.records) if ended is None else ended,
            more={
                "module": "study",
                "properties": described,
                "seconds": 1.5,
                "bytes": 2048,
                "code": "c" * 32,
                "sources": "c" * 32,
                **more,
            },
        )
        if status not in ("done", "failed"):
            self.statuses[record.key] = status
        self.records.append(record)
        return record

    def root(self, **properties: Any) -> Record:
        return self.add("State", properties=properties or {"dataset": "digits"})

    @property
    def graph(self) -> Graph:
        return Graph(self.records, self.loader, self.statuses, "study")


@pytest.fixture
def grow() -> Grower:
    return Grower()


@pytest.fixture
def study(grow: Grower) -> Grower:
    """Two learning rates, each pruned twice; one is a lottery ticket, with two parents."""
    root = grow.root(dataset="digits", model_name="mlp")
    for lr in (0.01, 0.1):
        trained = grow.add(
            "Train",
            root,
            properties={"epochs": 20, "lr": lr},
            tags=(f"lr:{lr}",),
            history=[[1, {"loss": 0.91234}, 1.0], [2, {"loss": 0.31234 + lr}, 2.0]],
            results={"accuracy": {"value": {"accuracy": 0.95432 - lr}, "code": "x", "at": 1.0}},
        )
        early = grow.add("Train", trained, properties={"epochs": 20, "lr": lr}, moment=1, tags=(f"lr:{lr}",))
        for fraction in (0.5, 0.8):
            tags = (f"lr:{lr}", "pruned")
            pruned = grow.add(
                "Prune",
                trained,
                properties={"fraction": fraction},
                tags=tags,
                results={"accuracy": {"value": {"accuracy": 0.9 - fraction / 10}, "code": "x", "at": 1.0}},
            )
        rewound = grow.add("Rewind", pruned, early, tags=(f"lr:{lr}", "pruned", "ticket"))
        grow.add("Train", rewound, properties={"epochs": 20, "lr": lr}, tags=(f"lr:{lr}", "pruned", "ticket"))
    return grow
