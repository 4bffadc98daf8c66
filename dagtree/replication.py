"""Replicates, as Experiment shows them."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

from .definition.replicate import Axis, replicated

if TYPE_CHECKING:
    from .definition.tree import Tree

__all__ = ["Replication"]


class Replication:
    """Experiment's replicates."""

    _tree: Tree

    def replicate(self, name: str, values: Iterable[Any]) -> AbstractContextManager[Axis]:
        """Define several branches as one: ``with exp.replicate("seed", range(5)):``.

        Within the block a root or a recipe that has a property of that name, and isn't given it, stands for
        one with each of the values, and what it makes is ``Replicates``: recipes, functions, ``at`` and
        ``get`` take them like a promise, also after the block, and several of them go together branch by
        branch. Blocks nest, and then every combination is a branch. The block gives what stands for all
        values, for a recipe that must be told: ``as seed``, ``Train(seed=seed)``.

        The nodes carry the tag ``replicate:<name>``, by which tables, plots and drawings know later that
        these branches are one. Of a class, ``REPLICATES = ["seed"]`` says the same of nodes that are defined
        one by one.

        Raises DefinitionError when there are no values, when two are equal, or in a block for the same name.
        """
        return replicated(self._tree, name, values)
