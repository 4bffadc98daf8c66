"""dagtree orchestrates trees of experiments on models.

Subclass ``ExperimentState`` (a node: a model and its context) and ``Recipe`` (an edge: train, prune, merge),
define a tree in an ``Experiment``, and ``run`` it: what is missing is computed, on one core or on a cluster,
and kept once on disk.
"""

from __future__ import annotations

from .definition.promise import ExperimentStatePromise
from .definition.recipe import Function, Recipe, function
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
from .experiment import Experiment
from .identity.canonical import register_encoding
from .version import VERSION as _VERSION

__version__ = _VERSION

__all__ = [
    "BusyError",
    "CodeNotFoundError",
    "DagtreeError",
    "DamagedError",
    "DefinitionError",
    "Experiment",
    "ExperimentState",
    "ExperimentStatePromise",
    "FormatVersionError",
    "Function",
    "KeptError",
    "NotAnExperimentError",
    "NotComputedError",
    "PropertyError",
    "Recipe",
    "RecipeError",
    "RunError",
    "RunInterrupted",
    "SelectionError",
    "StorageError",
    "TreeError",
    "UndeclaredAttributeError",
    "UnsavableError",
    "UnsupportedValueError",
    "WorkerError",
    "devices",
    "function",
    "register_encoding",
]
