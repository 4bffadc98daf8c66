"""Safety: the face of what says how often safe points are kept."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .definition.tree import Tree

__all__ = ["SafePointsFace"]


class SafePointsFace:
    """What an Experiment can be told about safe points; a part of `Experiment`."""

    _tree: Tree

    @property
    def moments(self) -> Any:
        """How often safe points of recipes that yield are kept: ``"auto"``, so that it takes a hundredth of
        the time; ``"all"``; ``10``, at every tenth step; ``"10min"``; or ``"none"``. A safe point is where
        the next run takes up what was interrupted. It is removed when its edge is done.
        """
        return self._tree.moments

    @moments.setter
    def moments(self, said: Any) -> None:
        from .execution.policy import policy_of

        policy_of(said)
        self._tree.moments = said

    @contextlib.contextmanager
    def _moments_of_run(self, said: Any) -> Iterator[None]:
        """Within the block, ``said`` holds, unless it is None."""
        before = self._tree.moments
        if said is not None:
            self.moments = said
        try:
            yield
        finally:
            self._tree.moments = before
