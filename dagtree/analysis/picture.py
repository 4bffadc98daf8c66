"""What a drawing says, before anyone decides where and how: boxes, arrows and their short texts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .facts import NodeFacts, measured, property_lines, title
from .recorded import members
from .text import STATUSES, shorten

__all__ = ["Box", "Picture"]

_TAGS, _VALUES, _PROPERTIES = 6, 6, 8


@dataclass(frozen=True, slots=True)
class Box:
    """One node: every text is on one line, visible and short, and not yet escaped for any format."""

    key: str
    short_key: str
    status: str
    start: bool  # a root, or what hangs below nothing that is drawn
    heading: str  # a root's class; empty for others
    tags: tuple[str, ...]
    more_tags: int  # how many tags are not among them
    values: tuple[str, ...]
    recipe: str  # what the arrow into it carries; empty for a root
    properties: tuple[str, ...]  # a root has no arrow, and its box carries them
    label: str
    title: str  # several lines, for a tooltip
    parents: tuple[int, ...]  # places in the picture, in the recipe's order
    missing: tuple[str, ...]  # short keys of parents that aren't in the picture
    statuses: tuple[str, ...]  # of each node that it stands for; several where replicates are one


@dataclass(frozen=True, slots=True)
class Picture:
    """All boxes, parents before children where there is no cycle."""

    boxes: tuple[Box, ...]
    title: str = ""

    @classmethod
    def of(cls, nodes: Sequence[NodeFacts], title: str = "") -> Picture:
        places = {node.key: place for place, node in enumerate(nodes)}
        return cls(tuple(_box(node, places) for node in nodes), shorten(title, 120))

    def counts(self) -> list[tuple[str, int]]:
        """How many nodes have each status, in the order of a life."""
        counts: dict[str, int] = {}
        for box in self.boxes:
            for status in box.statuses:
                counts[status] = counts.get(status, 0) + 1
        known = [(status, counts.pop(status)) for status in STATUSES if status in counts]
        return known + list(counts.items())

    @property
    def size(self) -> str:
        """``79 nodes``, or, where replicates are one, ``79 nodes as 27 branches``."""
        total, shown = sum(len(box.statuses) for box in self.boxes), len(self.boxes)
        nodes = f"{total:,} node{'' if total == 1 else 's'}"
        return nodes if total == shown else f"{nodes} as {shown:,} branch{'' if shown == 1 else 'es'}"


def _cut(texts: Sequence[str], most: int) -> tuple[str, ...]:
    return tuple(texts) if len(texts) <= most else (*texts[: most - 1], f"+{len(texts) - most + 1:,} more")


def _box(node: NodeFacts, places: dict[str, int]) -> Box:
    parents = tuple(dict.fromkeys(places[key] for key in node.parent_keys if key in places))
    missing = tuple(shorten(key[:8], 8) for key in node.parent_keys if key not in places)
    root = node.kind == "root"
    values = [f"{name} {value}" for name, value in measured(node)]
    if node.error:
        values.insert(0, shorten(f"{node.error.get('type', 'error')}: {node.error.get('message', '')}", 34))
    properties = property_lines(node, 24)
    return Box(
        key=node.key,
        short_key=shorten(node.key[:8], 8),
        status=shorten(node.status, 20),
        start=not parents,
        heading=shorten(node.name, 30) if root else "",
        tags=tuple(shorten(tag, 26) for tag in node.tags[:_TAGS]),
        more_tags=max(len(node.tags) - _TAGS, 0),
        values=_cut(values, _VALUES),
        recipe="" if root else shorten(node.name, 30),
        properties=_cut(properties, _PROPERTIES),
        label=shorten(node.label, 200),
        title=title(node),
        parents=parents,
        missing=missing,
        statuses=tuple(shorten(one.status, 20) for one in members(node)),
    )
