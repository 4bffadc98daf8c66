"""Every error that dagtree raises on purpose.

::

    DagtreeError
     ├── DefinitionError (TypeError)          what was written can't be a tree
     │    ├── PropertyError                   a name is missing, unknown or undeclared
     │    ├── UndeclaredAttributeError (AttributeError)
     │    │                                   a state was given an attribute that it doesn't declare
     │    ├── UnsupportedValueError           a value has no canonical bytes, so it can't be identity
     │    └── TreeError                       a second tree, or a node of another experiment
     ├── RecipeError (RuntimeError)           `run` or a function broke its contract
     ├── WorkerError (RuntimeError)           no worker can do what is asked for
     ├── RunError (RuntimeError)              some nodes failed; holds them all
     ├── StorageError (OSError)               the disk said no
     │    ├── NotAnExperimentError            nothing was ever kept there
     │    ├── FormatVersionError              written by another format of dagtree
     │    ├── BusyError                       somebody else is at work there
     │    └── DamagedError                    bytes are there and are not what was written
     ├── UnsavableError (TypeError)           an attribute of a state can't be kept
     ├── NotComputedError (LookupError)       the node has no state yet, or no more
     ├── KeptError (ValueError)               what is tagged "keep" was to be evicted or dropped
     ├── CodeNotFoundError (ImportError)      a state's classes can't be imported here
     ├── NotInstalledError (ImportError)      a library that comes with an extra isn't there
     └── SelectionError (LookupError)         no node, or more than one, answers to that name

    RunInterrupted (KeyboardInterrupt)        Ctrl-C; what was done is kept, and `report` says what
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .execution.report import Failure, Report

__all__ = [
    "BusyError",
    "CodeNotFoundError",
    "DagtreeError",
    "DamagedError",
    "DefinitionError",
    "FormatVersionError",
    "KeptError",
    "NotAnExperimentError",
    "NotComputedError",
    "NotInstalledError",
    "PropertyError",
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
]


class DagtreeError(Exception):
    """The base of all of them: ``except dagtree.DagtreeError`` catches what dagtree says."""


class DefinitionError(DagtreeError, TypeError):
    """What was written can't be a tree; raised at the line that wrote it."""


class PropertyError(DefinitionError):
    """A property's name is missing, unknown or not declared; the message lists the right ones."""


class UndeclaredAttributeError(DefinitionError, AttributeError):
    """A state was given an attribute that its class doesn't declare, so it would be lost."""


class UnsupportedValueError(DefinitionError):
    """A value can't be part of a node's identity.

    ``path`` says where it is (``lr.schedule[2]``).
    """

    def __init__(self, message: str, path: str = "") -> None:
        super().__init__(message)
        self.path = path


class TreeError(DefinitionError):
    """The tree has a root already, or the node belongs to another experiment."""


class RecipeError(DagtreeError, RuntimeError):
    """A recipe's ``run``, or a function, returned or yielded what it may not."""


class WorkerError(DagtreeError, RuntimeError):
    """No worker can do it: there is none, none has the resources that a recipe asks for, or it runs another
    version of dagtree or doesn't see where the experiment is kept."""


class RunError(DagtreeError, RuntimeError):
    """Some nodes failed; all that could be done is done and kept.

    ``report`` is the run's report, ``failures`` one entry for each node or function that failed.
    """

    def __init__(self, message: str, report: Report) -> None:
        super().__init__(message)
        self.report = report

    @property
    def failures(self) -> Sequence[Failure]:
        return self.report.failures


class StorageError(DagtreeError, OSError):
    """The place where nodes are kept could not be read or written; names the node and the path."""


class NotAnExperimentError(StorageError):
    """No experiment was ever kept at that place."""


class FormatVersionError(StorageError):
    """The experiment was written in a format that this dagtree doesn't read."""


class BusyError(StorageError):
    """Another process, or another run in this one, is at work in the experiment, and what was asked for must
    be alone there. Nothing was changed; the message says who."""


class DamagedError(StorageError):
    """A node's bytes are there, but they are not what was written; they are never returned.

    ``key`` is the node's.
    """

    def __init__(self, message: str, key: str = "") -> None:
        super().__init__(message)
        self.key = key


class UnsavableError(DagtreeError, TypeError):
    """An attribute of a state can't be kept; ``attribute`` names it."""

    def __init__(self, message: str, attribute: str = "") -> None:
        super().__init__(message)
        self.attribute = attribute


class NotComputedError(DagtreeError, LookupError):
    """The node has no state to restore: it was never computed, failed, or is gone. ``key`` is the node's."""

    def __init__(self, message: str, key: str = "") -> None:
        super().__init__(message)
        self.key = key


class KeptError(DagtreeError, ValueError):
    """Nodes that are tagged "keep" were to be evicted or dropped; ``keys`` are theirs."""

    def __init__(self, message: str, keys: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.keys = keys


class CodeNotFoundError(DagtreeError, ImportError):
    """The classes that a state is made of can't be imported here; the message says which, and what to do."""


class NotInstalledError(DagtreeError, ImportError):
    """A library that only some of dagtree needs isn't installed; the message says which, and the command."""


class SelectionError(DagtreeError, LookupError):
    """No node, or more than one, answers to what was asked for."""


class RunInterrupted(KeyboardInterrupt):
    """The run was stopped by Ctrl-C. What was done is kept; ``report`` says what."""

    def __init__(self, message: str, report: Report) -> None:
        super().__init__(message)
        self.report = report
