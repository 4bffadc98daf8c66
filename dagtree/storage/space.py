"""What a tree costs: which bytes belong to which nodes, by their records, and what lies on disk beyond."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from html import escape
from typing import Any, NamedTuple, overload

from ..amounts import size_text
from .ground import Range
from .known import Known
from .record import Record
from .sizes import label_of_line
from .table import MALFORMED, understand_table

__all__ = [
    "NodeSpace",
    "Orphan",
    "Space",
    "Uses",
    "bytes_kept",
    "find_orphans",
    "measure_space",
    "ranges_of",
]

_SHOWN = 20


def ranges_of(record: Record) -> set[Range]:
    """Where the bytes of a record's node lie; nowhere when it says nothing sensible of that."""
    try:
        table = understand_table(record.more.get("payload"))
    except MALFORMED:
        return set()
    files, skeleton = table.files, table.skeleton
    found = {Range(files[skeleton[0]], skeleton[1], skeleton[2])}
    found.update(Range(files[entry["file"]], entry["offset"], entry["size"]) for entry in table.stored)
    return {one for one in found if one.size_bytes}


class Orphan(NamedTuple):
    """A file of the experiment that no record points to, or as many bytes of it."""

    file: str
    size_bytes: int
    what: str

    def __str__(self) -> str:
        return f"{self.file}: {size_text(self.size_bytes)}, {self.what}"


class Uses:
    """Which nodes use which bytes: of each node that is there, of all its lines whose bytes are there, or of
    the one only that counts."""

    def __init__(self, store: Known, only_counting: bool = False) -> None:
        index = store.index()
        self.ranges: dict[str, set[Range]] = {}
        self.users: dict[Range, list[str]] = {}
        self.logical: dict[str, int] = {}
        for key in list(index.there):
            lines = [line for line in index.lines(key) if line.status == "done" and index.is_usable(line)]
            del lines[1 if only_counting else len(lines) :]
            mine = ranges_of(lines[0]) if len(lines) == 1 else set[Range]().union(*map(ranges_of, lines))
            self.ranges[key] = mine
            self.logical[key] = sum([_state_bytes(line) for line in lines[:1]])
            for line in lines:
                line.forget_more()
            for one in mine:
                self.users.setdefault(one, []).append(key)


class NodeSpace(NamedTuple):
    """What one node costs, in bytes.

    ``logical`` is what its state holds; ``physical`` what of the disk it uses: ``unique`` alone, ``shared``
    with other nodes. Evicting it alone would free ``unique``. ``subtree_…`` are those of the node and of all
    that was made from it (along first parents), with what several of them use counted once.
    """

    key: str
    status: str
    logical_bytes: int
    physical_bytes: int
    unique_bytes: int
    shared_bytes: int
    subtree_logical_bytes: int
    subtree_physical_bytes: int
    record: Record

    @property
    def label(self) -> str:
        """The recipe as one would write it."""
        return label_of_line(self.record)


class Space(Sequence[NodeSpace]):
    """What the tree costs: its nodes, those that use most alone first, and the sums.

    ``logical_bytes`` is what all states that are there hold, ``physical_bytes`` what their bytes take on the
    disk, each counted once; ``on_disk_bytes`` is what all files of the experiment take. ``beyond`` says what
    of that isn't bytes of states: records, sources, environments, files (logs), safepoints, index, claims,
    orphaned (what no record points to: evicting or dropping anything removes it), headers of files of
    tensors, and other.
    """

    def __init__(
        self, nodes: Iterable[NodeSpace], physical_bytes: int, on_disk_bytes: int, beyond: Mapping[str, int]
    ) -> None:
        self._nodes = tuple(nodes)
        self.logical_bytes = sum(node.logical_bytes for node in self._nodes)
        self.physical_bytes = physical_bytes
        self.on_disk_bytes = on_disk_bytes
        self.beyond = dict(beyond)

    @property
    def orphaned_bytes(self) -> int:
        """The bytes that no record points to."""
        return self.beyond["orphaned"]

    def node(self, key: str) -> NodeSpace:
        """What the node with that key costs. KeyError when there is none."""
        for node in self._nodes:
            if node.key == key:
                return node
        raise KeyError(f"no node {key} is kept here")

    @overload
    def __getitem__(self, index: int) -> NodeSpace: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[NodeSpace, ...]: ...
    def __getitem__(self, index: Any) -> Any:
        return self._nodes[index]

    def __len__(self) -> int:
        return len(self._nodes)

    def __iter__(self) -> Iterator[NodeSpace]:
        return iter(self._nodes)

    @property
    def headline(self) -> str:
        """One line with the sums."""
        saved = self.logical_bytes - self.physical_bytes
        shared = f", {size_text(saved)} less, since nodes share bytes" if saved > 0 else ""
        return (
            f"{len(self._nodes):,} nodes hold {size_text(self.logical_bytes)} in "
            f"{size_text(self.physical_bytes)}{shared}; {size_text(self.on_disk_bytes)} on the disk"
        )

    def _beyond(self) -> str:
        parts = [f"{name} {size_text(size)}" for name, size in self.beyond.items() if size]
        return f"beyond the states: {', '.join(parts)}" if parts else ""

    def __str__(self) -> str:
        rows = [_TITLES, *(_row(node) for node in self._nodes[:_SHOWN])]
        widths = [max(len(row[place]) for row in rows) for place in range(len(_TITLES) - 1)]
        lines = [
            "  ".join([*(text.rjust(width) for text, width in zip(row, widths, strict=False)), row[-1]])
            for row in rows
        ]
        more = len(self._nodes) - _SHOWN
        cut = [f"… and {more:,} more nodes"] if more > 0 else []
        beyond = self._beyond()
        return "\n".join([self.headline, *lines, *cut, *([beyond] if beyond else [])])

    def __repr__(self) -> str:
        return f"<Space: {self.headline}>"

    def _repr_html_(self) -> str:
        head = "".join(f"<th>{escape(title)}</th>" for title in _TITLES)
        rows = "".join(
            f"<tr>{''.join(f'<td>{escape(text)}</td>' for text in _row(node))}</tr>"
            for node in self._nodes[: 5 * _SHOWN]
        )
        more = len(self._nodes) - 5 * _SHOWN
        cut = f"<div>… and {more:,} more nodes</div>" if more > 0 else ""
        return (
            f"<div>{escape(self.headline)}</div><table><tr>{head}</tr>{rows}</table>{cut}"
            f"<div>{escape(self._beyond())}</div>"
        )


_TITLES = ("alone", "shared", "state", "subtree", "status", "key", "node")


def _row(node: NodeSpace) -> tuple[str, ...]:
    sizes = (node.unique_bytes, node.shared_bytes, node.logical_bytes, node.subtree_physical_bytes)
    return (*map(size_text, sizes), node.status, node.key[:8], node.label)


def measure_space(store: Known) -> Space:
    """What the nodes of a store cost, and what lies at its place beyond them. Reads records and sizes
    only."""
    uses, index = Uses(store), store.index()
    records = {key: record for key, record in index.records.items() if record.status == "done"}
    subtree = _subtrees(records, uses)
    nodes = []
    for key, record in records.items():
        mine = uses.ranges.get(key, ())
        physical = sum([one.size_bytes for one in mine])
        unique = sum([one.size_bytes for one in mine if len(uses.users[one]) == 1])
        status = "done" if key in index.there else "evicted" if key in index.evicted else "damaged"
        nodes.append(
            NodeSpace(
                key,
                status,
                uses.logical.get(key, 0),
                physical,
                unique,
                physical - unique,
                *subtree[key],
                record,
            )
        )
    nodes.sort(key=lambda node: (-node.unique_bytes, -node.physical_bytes, node.record.position))
    sizes = store.ground().sizes()
    beyond = dict.fromkeys(
        ("records", "sources", "environments", "files", "safepoints", "index", "claims", "other"), 0
    )
    orphaned = {orphan.file: orphan.size_bytes for orphan in find_orphans(store, sizes, uses.users)}
    for name, size_bytes in sizes.items():
        folder = "index" if name.startswith("index.") else name.partition("/")[0]
        if folder not in ("packs", "tensors"):
            beyond[folder if folder in beyond else "other"] += size_bytes - orphaned.get(name, 0)
    physical_bytes, on_disk_bytes = sum(one.size_bytes for one in uses.users), sum(sizes.values())
    beyond["orphaned"] = sum(orphaned.values())
    beyond["headers"] = max(0, on_disk_bytes - physical_bytes - sum(beyond.values()))
    return Space(nodes, physical_bytes, on_disk_bytes, beyond)


def find_orphans(store: Known, sizes: Mapping[str, int], used: Iterable[Range]) -> list[Orphan]:
    """What no record points to: temporary files, files of tensors, parts of packs, files of dropped nodes.
    ``used`` is what the nodes that are there use."""
    index = store.index()
    pointed = set(used)
    for key in index.unsettled():  # what doesn't count, or is damaged or missing, is pointed to all the same
        pointed.update(*(ranges_of(line) for line in index.lines(key) if index.removal(line) is None))
    needed: dict[str, int] = {}
    for one in pointed:
        needed[one.file] = needed.get(one.file, 0) + one.size_bytes
    orphans = []
    for name, size_bytes in sizes.items():
        folder, _, rest = name.partition("/")
        pointed_bytes = needed.get(name, 0)
        if name.endswith(".tmp"):
            orphans.append(Orphan(name, size_bytes, "a temporary file"))
        elif folder in ("packs", "tensors") and not pointed_bytes:
            orphans.append(Orphan(name, size_bytes, "a file that no record points to"))
        elif folder == "packs" and size_bytes > pointed_bytes:
            orphans.append(Orphan(name, size_bytes - pointed_bytes, "parts that no record points to"))
        elif folder == "files" and rest.partition("/")[0] not in index.records:
            orphans.append(Orphan(name, size_bytes, "a file of no node"))
    return orphans


def bytes_kept(sizes: Mapping[str, int]) -> int:
    """What all files of the experiment take, but for those that only say who is at work now."""
    return sum(size for name, size in sizes.items() if not name.startswith("claims/"))


def _state_bytes(record: Record) -> int:
    size: Any = record.more.get("bytes")
    return size if type(size) is int else 0


def _subtrees(records: Mapping[str, Record], uses: Uses) -> dict[str, tuple[int, int]]:
    """Logical and physical bytes of each node with all below it, along first parents."""
    parent = {
        key: next((one for one in record.lineage[:1] if one in records), "")
        for key, record in records.items()
    }
    below: dict[str, list[str]] = {}
    for key, above in parent.items():
        below.setdefault(above, []).append(key)
    order: list[str] = []
    entered, left = dict[str, int](), dict[str, int]()
    waiting = [(key, False) for key in reversed(below.get("", ()))]
    while waiting:
        key, is_done = waiting.pop()
        if is_done:
            left[key] = len(order)
            continue
        entered[key] = len(order)
        order.append(key)
        waiting.append((key, True))
        waiting.extend((child, False) for child in reversed(below.get(key, ())))
    logical = {key: uses.logical.get(key, 0) for key in order}
    physical = dict.fromkeys(order, 0)
    # Bytes that several use count at each of them, and once less where one meets the one before it in the
    # tree's order: what is summed over a subtree then counts them once.
    for one, keys in uses.users.items():
        users = (
            keys if len(keys) == 1 else sorted(filter(physical.__contains__, keys), key=entered.__getitem__)
        )
        before = ""
        for key in users:
            physical[key] = physical.get(key, 0) + one.size_bytes
            while before and left[before] <= entered[key]:
                before = parent[before]
            if before:
                physical[before] -= one.size_bytes
            before = key
    for key in reversed(order):
        above = parent[key]
        if above:
            logical[above] += logical[key]
            physical[above] += physical[key]
    return {key: (logical.get(key, 0), physical.get(key, 0)) for key in records}
