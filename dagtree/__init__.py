"""dagtree orchestrates trees of experiments on models.

Subclass ``ExperimentState`` (a node: a model and its context) and ``Recipe`` (an edge: train, prune, merge),
define a tree in an ``Experiment``, and ``run`` it: what is missing is computed, on one core or on a cluster,
and kept once on disk.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .analysis.conditions import between
from .definition.promise import ExperimentStatePromise
from .definition.recipe import Function, Recipe, function
from .definition.replicate import Replicates
from .definition.state import ExperimentState
from .errors import (
    BusyError,
    CodeNotFoundError,
    DagtreeError,
    DamagedError,
    DefinitionError,
    FormatVersionError,
    KeptError,
    NotAnExperimentError,
    NotComputedError,
    NotInstalledError,
    PropertyError,
    RecipeError,
    RunError,
    RunInterrupted,
    SelectionError,
    StorageError,
    TreeError,
    UndeclaredAttributeError,
    UnsavableError,
    UnsupportedValueError,
    WorkerError,
)
from .execution.granted import devices
from .execution.listener import Listener
from .experiment import Experiment
from .identity.canonical import register_encoding
from .version import VERSION as _VERSION

if TYPE_CHECKING:
    from .execution.events import Event

__version__ = _VERSION

__all__ = [
    "BusyError",
    "CodeNotFoundError",
    "DagtreeError",
    "DamagedError",
    "DefinitionError",
    "Event",
    "Experiment",
    "ExperimentState",
    "ExperimentStatePromise",
    "FormatVersionError",
    "Function",
    "KeptError",
    "Listener",
    "NotAnExperimentError",
    "NotComputedError",
    "NotInstalledError",
    "PropertyError",
    "Recipe",
    "RecipeError",
    "Replicates",
    "RunError",
    "RunInterrupted",
    "SelectionError",
    "StorageError",
    "TreeError",
    "UndeclaredAttributeError",
    "UnsavableError",
    "UnsupportedValueError",
    "WorkerError",
    "between",
    "devices",
    "function",
    "register_encoding",
]


def __getattr__(name: str) -> Any:
    """What only those need who watch a run."""
    if name == "Event":
        from .execution.events import Event

        return Event
    raise AttributeError(f"module 'dagtree' has no attribute {name!r}")
