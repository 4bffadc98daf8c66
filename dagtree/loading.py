"""What a graph may ask of its experiment."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .reopening import Beside
from .storage.tensors import Tensors

if TYPE_CHECKING:
    from .experiment import Experiment
    from .storage.copying import Copied

__all__ = ["GraphLoader"]


class GraphLoader(Beside):
    """What a graph may ask of its experiment."""

    def __init__(self, experiment: Experiment) -> None:
        super().__init__(experiment._store, experiment.location)
        self.experiment = experiment

    def restore(self, key: str) -> Any:
        return self.experiment._restored_state(key)

    def promise(self, key: str) -> Any:
        return self.experiment._promise(key)

    def apply(
        self, keys: Sequence[str], functions: Sequence[Callable[[Any], Any]], **how: Any
    ) -> tuple[list[str], dict[tuple[str, str], str]]:
        from .execution.calls import call_functions

        return call_functions(self.experiment, keys, functions, how)

    def results(self, keys: Iterable[str]) -> dict[str, dict[str, Any]]:
        graph = self.experiment.graph
        nodes = {node.key: node for node in (*graph.nodes, *graph.superseded)}
        return {key: nodes[key].results for key in keys if key in nodes}

    def outcome(self, key: str, function: Callable[[Any], Any]) -> Any:
        """What a function gives for a state; it draws the same random numbers for each."""
        from .execution.generators import generators, preserved

        state = self.restore(key)
        with preserved(), generators.seeded(0, "outcome", shared=False):
            return function(state)

    def tensors(self, key: str) -> Tensors:
        return Tensors(self.experiment._store.restore(key).buffers)

    def export(self, key: str, path: str | os.PathLike[str], overwrite: bool) -> Path:
        from .storage.exporting import export_tensors

        return export_tensors(self.experiment._store.restore(key), key, path, overwrite)

    def copy_to(self, keys: Iterable[str], place: str | os.PathLike[str], progress: bool | None) -> Copied:
        return self.experiment._copy_to(place, keys, progress)
