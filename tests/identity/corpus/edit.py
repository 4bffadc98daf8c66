"""An edit of the project, as data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from .cautious import CAUTIOUS
from .project import Files, Project

TRAIN = "warm slow tuned"


@dataclass(frozen=True)
class Edit:
    """``affects`` names the nodes whose own edge the edit touches; those below them follow.

    ``changes`` are (file, old text, new text); ``rewrite`` is for what no replacement says. ``then`` is done
    to the imported project, and the tree defined again.
    """

    name: str
    group: str
    changes: tuple[tuple[str, str, str], ...] = ()
    affects: frozenset[str] = frozenset()
    rewrite: Callable[[Files], Files] | None = None
    then: Callable[[Project], None] | None = None

    @property
    def is_cautious(self) -> bool:
        """Whether more keys change than it affects, as decided: something else might be meant."""
        return self.name in CAUTIOUS

    def applied(self, files: Files) -> Files:
        """The edited files. Raises ValueError where there is nothing to edit."""
        edited = dict(files)
        for file, old, new in self.changes:
            if old not in edited.get(file, ""):
                raise ValueError(f"{self.name}: {file} has no {old!r}")
            edited[file] = edited[file].replace(old, new, 1)
        return edited if self.rewrite is None else self.rewrite(edited)


def affecting(group: str, file: str, rows: list[tuple[str, str, str, str]]) -> list[Edit]:
    """Edits of one file, as (name, old, new, affected nodes)."""
    return [
        Edit(name, group, ((file, old, new),), frozenset(nodes.split())) for name, old, new, nodes in rows
    ]


def keeping(group: str, file: str, rows: list[tuple[str, str, str]]) -> list[Edit]:
    return [Edit(name, group, ((file, old, new),)) for name, old, new in rows]
