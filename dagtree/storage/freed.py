"""What freeing space did, or would do."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from typing import Literal, NamedTuple

from ..amounts import size_text

__all__ = ["Freed", "Gone"]

_SHOWN = 20


class Gone(NamedTuple):
    """A node that was evicted or dropped; ``size_bytes`` is what its state holds, shared bytes included."""

    key: str
    label: str
    what: Literal["evicted", "dropped"]
    size_bytes: int

    def __str__(self) -> str:
        return f"{self.what} {self.label} [{self.key[:8]}], {size_text(self.size_bytes)}"


class Freed:
    """What `Experiment.evict`, `drop` or `keep` did; with ``dry_run``, what it would do.

    ``nodes`` are those that go, ``freed_bytes`` what the disk gets by it, ``on_disk_bytes`` what all files of
    the experiment take after it. ``moved_bytes`` are those that others need, and that are written elsewhere
    for it. ``said`` is what else there is to know.
    """

    def __init__(
        self,
        nodes: Iterable[Gone],
        freed_bytes: int,
        moved_bytes: int,
        on_disk_bytes: int,
        dry_run: bool,
        said: Iterable[str] = (),
    ) -> None:
        self.nodes = tuple(nodes)
        self.freed_bytes = freed_bytes
        self.moved_bytes = moved_bytes
        self.on_disk_bytes = on_disk_bytes
        self.dry_run = dry_run
        self.said = tuple(said)

    @property
    def evicted(self) -> tuple[str, ...]:
        """The keys of the nodes whose bytes go and whose records stay."""
        return tuple(node.key for node in self.nodes if node.what == "evicted")

    @property
    def dropped(self) -> tuple[str, ...]:
        """The keys of the nodes that go with their records."""
        return tuple(node.key for node in self.nodes if node.what == "dropped")

    @property
    def headline(self) -> str:
        """One line: how many nodes and bytes."""
        counts = [
            f"{len(keys):,} {'node' if len(keys) == 1 else 'nodes'} {what}"
            for keys, what in ((self.dropped, "dropped"), (self.evicted, "evicted"))
            if keys
        ]
        moved = f", {size_text(self.moved_bytes)} moved that others need" if self.moved_bytes else ""
        dry = "dry run, nothing was done: " if self.dry_run else ""
        freed = max(0, self.freed_bytes)
        return (
            f"{dry}{', '.join(counts) or 'no nodes'}, {size_text(freed)} freed{moved}; "
            f"{size_text(self.on_disk_bytes)} on the disk then"
        )

    def __str__(self) -> str:
        lines = [*self.said, *map(str, self.nodes[:_SHOWN])]
        if len(self.nodes) > _SHOWN:
            lines.append(f"… and {len(self.nodes) - _SHOWN:,} more, in `nodes`")
        return "\n  ".join([self.headline, *lines])

    def __repr__(self) -> str:
        return f"<Freed: {self.headline}>"

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><td>{node.what}</td><td><code>{node.key[:8]}</code></td><td>{escape(node.label)}</td>"
            f"<td>{size_text(node.size_bytes)}</td></tr>"
            for node in self.nodes[: 5 * _SHOWN]
        )
        head = "<tr><th></th><th>key</th><th>node</th><th>state</th></tr>"
        said = "".join(f"<div>{escape(one)}</div>" for one in self.said)
        table = f"<table>{head}{rows}</table>" if rows else ""
        more = len(self.nodes) - 5 * _SHOWN
        cut = f"<div>… and {more:,} more</div>" if more > 0 else ""
        return f"<div>{escape(self.headline)}</div>{said}{table}{cut}"
