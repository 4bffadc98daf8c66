"""Reads all that a store holds and says what of it is damaged, missing, or belongs to nothing."""

from __future__ import annotations

import errno
import mmap
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from html import escape
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias, overload

from xxhash import xxh3_128

from ..amounts import size_text
from .buffer import Buffer
from .files import open_regular
from .ground import Ground, Range
from .known import Known
from .reading import unreadable
from .record import Record
from .sizes import label_of_line
from .space import Orphan, find_orphans
from .table import MALFORMED, understand_table

__all__ = ["Fault", "Verified", "check", "prefix_of"]

_CHUNK_BYTES = 1 << 20
_SHARE_BYTES = 1 << 26  # what a thread reads before progress is told
_THREADS = min(4, os.cpu_count() or 1)
_SHOWN = 20


class Fault(NamedTuple):
    """A node whose bytes are not there as they were written. ``kind`` is "damaged" or "missing"; ``file`` is
    the first file where that shows, in the experiment's directory, empty when none is known."""

    key: str
    label: str
    kind: str
    file: str
    reason: str

    def __str__(self) -> str:
        return f"{self.kind} {self.label} [{self.key[:8]}]: {self.reason}"


class Verified(Sequence[str]):
    """What reading everything found. As a sequence, it holds the keys of the nodes that are not as they were
    written, and is equal to any sequence of the same; the next run computes them again.

    ``faults`` says of each what is wrong; ``orphans`` are files and bytes that no record points to (evicting
    or dropping anything removes them; of a run that is under way, they are what it writes just now);
    ``beside`` are problems of logs, environments and sources, which cost no node. ``nodes`` and
    ``read_bytes`` count what was read.
    """

    def __init__(
        self,
        faults: Iterable[Fault],
        orphans: Iterable[Orphan] = (),
        beside: Iterable[str] = (),
        nodes: int = 0,
        read_bytes: int = 0,
    ) -> None:
        self.faults = tuple(faults)
        self.orphans = tuple(orphans)
        self.beside = tuple(beside)
        self.nodes = nodes
        self.read_bytes = read_bytes
        self._keys = tuple(fault.key for fault in self.faults)

    @property
    def ok(self) -> bool:
        """Whether every node that is kept is as it was written."""
        return not self.faults and not self.beside

    @property
    def damaged(self) -> tuple[Fault, ...]:
        """The nodes whose bytes are there and are not what was written."""
        return tuple(fault for fault in self.faults if fault.kind == "damaged")

    @property
    def missing(self) -> tuple[Fault, ...]:
        """The nodes of whose bytes some are gone."""
        return tuple(fault for fault in self.faults if fault.kind == "missing")

    @property
    def orphaned_bytes(self) -> int:
        return sum(orphan.size_bytes for orphan in self.orphans)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[str, ...]: ...
    def __getitem__(self, index: Any) -> Any:
        return self._keys[index]

    def __len__(self) -> int:
        return len(self._keys)

    def __iter__(self) -> Iterator[str]:
        return iter(self._keys)

    def __eq__(self, other: object) -> bool:
        is_sequence = isinstance(other, Sequence) and not isinstance(other, str)
        return self._keys == tuple(other) if is_sequence else NotImplemented  # type: ignore[arg-type]

    def __hash__(self) -> int:
        return hash(self._keys)

    @property
    def headline(self) -> str:
        """One line: how much was read, and what was found."""
        parts = [f"{self.nodes:,} nodes, {size_text(self.read_bytes)} read"]
        parts += [f"{len(self.damaged):,} damaged"] if self.damaged else []
        parts += [f"{len(self.missing):,} missing"] if self.missing else []
        parts += [f"{len(self.beside):,} damaged beside the nodes"] if self.beside else []
        parts += ["all whole"] if self.ok else []
        parts += [f"{size_text(self.orphaned_bytes)} orphaned"] if self.orphans else []
        return ", ".join(parts)

    def __str__(self) -> str:
        lines = [str(fault) for fault in self.faults[:_SHOWN]]
        lines += [f"… and {len(self.faults) - _SHOWN:,} more nodes, in `faults`"] * (
            len(self.faults) > _SHOWN
        )
        lines += [f"beside the nodes: {problem}" for problem in self.beside[:_SHOWN]]
        lines += [f"orphaned {orphan}" for orphan in self.orphans[:_SHOWN]]
        lines += [f"… and {len(self.orphans) - _SHOWN:,} more, in `orphans`"] * (len(self.orphans) > _SHOWN)
        return "\n  ".join([self.headline, *lines])

    def __repr__(self) -> str:
        return f"<Verified: {self.headline}>"

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><td>{fault.kind}</td><td><code>{fault.key[:8]}</code></td><td>{escape(fault.label)}</td>"
            f"<td>{escape(fault.file)}</td><td>{escape(fault.reason)}</td></tr>"
            for fault in self.faults[: 5 * _SHOWN]
        )
        head = "<tr><th></th><th>key</th><th>node</th><th>file</th><th>what</th></tr>"
        others = [f"beside the nodes: {problem}" for problem in self.beside]
        others += [f"orphaned {orphan}" for orphan in self.orphans]
        listed = "".join(f"<li>{escape(one)}</li>" for one in others[:_SHOWN])
        table = f"<table>{head}{rows}</table>" if rows else ""
        return f"<div>{escape(self.headline)}</div>{table}<ul>{listed}</ul>"


class _Want(NamedTuple):
    """Bytes that some node needs: where they lie, what goes before them into the digest, and the digest."""

    file: str
    offset: int
    size_bytes: int
    prefix: bytes
    said: str


_Wrong: TypeAlias = dict[_Want, tuple[str, str]]  # kind and words


def check(
    store: Known, tell: Callable[[int, int], None] = lambda done, total: None
) -> tuple[list[Fault], list[Orphan], int, int]:
    """Reads the bytes of every node, what several share once, and marks the nodes that are damaged.

    ``tell`` is called with the bytes read so far and in all. Gives the faults, the orphans,
    and how many nodes and bytes were read. Unpickles nothing. Raises StorageError where a file may not be
    read.
    """
    store.refresh()
    index, ground = store.index(), store.ground()
    needed_by: dict[_Want, list[tuple[str, str]]] = {}
    reasons: dict[str, tuple[str, str, str]] = {}  # by key: kind, file, reason
    packed: list[str] = []
    keys = [line.key for line in sorted(map(index.records.__getitem__, index.there), key=_place)]
    for key in keys:
        record = index.lines(key)[0]
        try:
            for want, name in _parts(record):
                needed_by.setdefault(want, []).append((key, name))
            if any("encoding" in entry for entry in record.more["payload"]["buffers"]):
                packed.append(key)
        except MALFORMED as error:
            reasons[key] = "damaged", "", f"its record doesn't say where its state lies ({error!r})"
        finally:
            record.forget_more()
    for want, (kind, what) in _look_at_all(ground, needed_by, tell).items():
        for key, name in needed_by[want]:
            reasons.setdefault(key, (kind, want.file, f"{name} in {ground.location}/{want.file} {what}"))
    # Also whole parts may make something else than they should; those that many have are put together once.
    seen: set[str] = set()
    for key in packed:
        if key not in reasons:
            wrong = ground.check_packed(index.lines(key)[0], seen)
            index.lines(key)[0].forget_more()
            if wrong is not None:
                said = str(wrong).removeprefix(f"node {key}: ").removesuffix("; run again to compute it")
                reasons[key] = "damaged", "", said
    faults = []
    for key in keys:
        if key in reasons:
            kind, file, reason = reasons[key]
            store.mark_damaged(key, f"node {key}: {reason}; run again to compute it")
            faults.append(Fault(key, label_of_line(index.records[key]), kind, file, reason))
    faults += _known_faults(store, set(keys))
    used = {Range(want.file, want.offset, want.size_bytes) for want in needed_by}
    orphans = find_orphans(store, ground.sizes(), used)
    return faults, orphans, len(keys), sum([one.size_bytes for one in used])


def _place(record: Record) -> tuple[int, str]:
    return record.position, record.key


def _parts(record: Record) -> list[tuple[_Want, str]]:
    """What a node needs, and what that is to it."""
    table = understand_table(record.more.get("payload"))
    files, (file, offset, size_bytes, said) = table.files, table.skeleton
    parts = [(_Want(files[file], offset, size_bytes, b"", said), "its skeleton")]
    for entry in table.stored:
        prefix = prefix_of(entry["dtype"], tuple(entry["shape"]), entry["size"])
        want = _Want(files[entry["file"]], entry["offset"], entry["size"], prefix, entry["digest"])
        parts.append((want, f"its buffer {entry['name']}"))
    return parts


def prefix_of(dtype: str, shape: tuple[int, ...], size_bytes: int) -> bytes:
    """What goes before a buffer's bytes into its digest."""
    known = _prefixes.get((dtype, shape, size_bytes))
    if known is None:
        buffer = Buffer("", dtype, shape, size_bytes, "cpu", "raw", b"")
        known = f"{buffer.dtype}[{','.join(map(str, buffer.shape))}]".encode()
        if len(_prefixes) >= _MOST_PREFIXES:
            _prefixes.clear()
        _prefixes[dtype, shape, size_bytes] = known
    return known


_prefixes: dict[tuple[str, tuple[int, ...], int], bytes] = {}
_MOST_PREFIXES = 10_000


def _look_at_all(ground: Ground, wants: Iterable[_Want], tell: Callable[[int, int], None]) -> _Wrong:
    """What isn't as it should be; several threads read."""
    ordered, directory = sorted(wants), ground.directory
    total = sum([want.size_bytes for want in ordered])
    share = min(_SHARE_BYTES, total // (2 * _THREADS) + 1)
    shares: list[list[_Want]] = []
    file, size_bytes = "", share
    for want in ordered:
        if (want.file != file and directory is not None) or size_bytes >= share:
            shares.append([])
            file, size_bytes = want.file, 0
        shares[-1].append(want)
        size_bytes += want.size_bytes
    done, lock = 0, threading.Lock()

    def read(size_bytes: int) -> None:
        nonlocal done
        with lock:
            done += size_bytes
            tell(done, total)

    def look(share: list[_Want]) -> _Wrong:
        if directory is None:
            return _look_afar(ground, share, read)
        return _look(directory / share[0].file, share, read)

    wrong: _Wrong = {}
    with ThreadPoolExecutor(_THREADS) as threads:
        for found in threads.map(look, shares):
            wrong.update(found)
    return wrong


def _look_afar(ground: Ground, wants: list[_Want], read: Callable[[int], None]) -> _Wrong:
    """What isn't as it should be of objects."""
    wrong: _Wrong = {}
    for want, content in zip(wants, ground.read(wants), strict=True):  # type: ignore[arg-type]
        if content is None:
            wrong[want] = "missing", "is gone, or cut off"
            continue
        taken = xxh3_128(want.prefix)
        taken.update(content)
        if taken.hexdigest() != want.said:
            wrong[want] = "damaged", "is not what was written"
    read(sum([want.size_bytes for want in wants]))
    return wrong


def _look(path: Path, wants: list[_Want], read: Callable[[int], None]) -> _Wrong:
    """What of a file isn't as it should be."""
    wrong: _Wrong = {}
    try:
        with open_regular(path) as file:
            fd = file.fileno()
            memory = _memory(fd, wants)
            for want in wants:
                problem = _read(fd, want, memory)
                if problem:
                    wrong[want] = problem
            read(sum([want.size_bytes for want in wants]))
    except (FileNotFoundError, NotADirectoryError):
        return dict.fromkeys(wants, ("missing", "is gone"))
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.EIO, errno.EISDIR):
            raise unreadable(error, "by node", str(path)) from error
        return {want: wrong.get(want, ("damaged", f"can't be read: {error}")) for want in wants}
    return wrong


def _memory(fd: int, wants: list[_Want]) -> memoryview | None:
    """A file of tensors, mapped, which saves copying it. Packs are read: their writer may cut back what it
    could not write whole."""
    if not wants[0].file.startswith("tensors/") or not os.fstat(fd).st_size:
        return None
    return memoryview(mmap.mmap(fd, 0, access=mmap.ACCESS_READ))


def _read(fd: int, want: _Want, memory: memoryview | None) -> tuple[str, str] | None:
    content = xxh3_128(want.prefix)
    at, end = want.offset, want.offset + want.size_bytes
    if memory is not None and end <= len(memory):
        content.update(memory[at:end])
        at = end
    while at < end:
        chunk = os.pread(fd, min(_CHUNK_BYTES, end - at), at)
        if not chunk:
            return "missing", f"is cut off: the file ends at byte {at}"
        content.update(chunk)
        at += len(chunk)
    return None if content.hexdigest() == want.said else ("damaged", "is not what was written")


def _known_faults(store: Known, read: set[str]) -> list[Fault]:
    """The nodes that were found damaged or missing before, and not computed again since."""
    index = store.index()
    faults = []
    for key, record in list(index.records.items()):
        if key in read or record.status != "done" or key in index.evicted:
            continue
        said = next((problem for problem in store.problems() if key in problem), "")
        kind = "missing" if index.is_missing(index.lines(key)[0]) else "damaged"
        faults.append(
            Fault(key, label_of_line(record), kind, "", said or "found before, and not computed since")
        )
    return faults
