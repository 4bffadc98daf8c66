"""What the records of a directory say, as far as this process has read them."""

from __future__ import annotations

import contextlib
from pathlib import Path

from xxhash import xxh3_64_hexdigest

from ..garbage import uncollected
from . import reading
from .files import disk_errors, replace_file
from .index import Index
from .indexfile import INDEX_FILE, Chapter, Told, read_index, summarize, write_index
from .kept import KeptLines
from .lines import Said, decode_at
from .notes import Damage, Note, Removal, damage_text
from .record import Record

__all__ = ["NO_NODE", "Ledger"]

NO_NODE = "0" * 32
"""The key under which damage is written down that belongs to no node."""
_LONG_AGO_S = 3600.0
_FORMER_INDEX = "index.json"
_WORTH_INDEXING = 1 << 20  # bytes of lines that are read one by one: some 1,200 records, 7 ms


class Ledger:
    """Reads the files of records, each line once, and keeps what they say.

    Where they lie is the business of four methods: `_sizes`, `_extents`, `_content`, `_where`.
    """

    def __init__(self, directory: Path) -> None:
        self.index = Index()
        self.problems: dict[str, None] = {}
        self.is_open = False
        self.removals = 0
        """Grows when bytes turn out to have been given up."""
        self._directory = directory
        self._unnamed: list[str] = []
        self._consumed: dict[str, int] = {}
        self._chapters: dict[str, Chapter] = {}
        self._indexed: dict[str, int] = {}

    def _sizes(self) -> dict[str, int]:
        """How long each file of records is now, by name."""
        return reading.list_files(self._directory / "records", ".jsonl")

    def _extents(self) -> reading.Extents:
        """How long the files are that records point into."""
        return reading.Extents(self._directory)

    def _content(self, name: str, start: int) -> bytes:
        """What a file of records holds from there on."""
        path = self._directory / "records" / name
        with disk_errors("read the records", path):
            return reading.read_large(path, start)

    def _where(self, name: str) -> str:
        """A file of records as a reader would find it."""
        return str(self._directory / "records" / name)

    def _prepare(self, sizes: dict[str, int], new: list[str]) -> None:
        """These files are about to be read."""
        if not self.is_open and sum(sizes.values()) >= _WORTH_INDEXING:
            with contextlib.suppress(OSError):  # what can't be read is as good as missing
                self._chapters = read_index(reading.read_from(self._directory / INDEX_FILE, 0))

    def refresh(self) -> bool:
        """Reads what was written since; whether anything was."""
        with uncollected():
            return self._refresh()

    def _refresh(self) -> bool:
        names, sizes = self._sizes(), self._consumed
        if any(names.get(name, -1) < end for name, end in sizes.items()):
            self._forget()  # files that were read are gone or shorter: what they said no longer holds
        new = [name for name, size in names.items() if size > self._consumed.get(name, 0)]
        waiting = self.index.missing()
        self._prepare(names, new)
        if new or waiting:
            extents = self._extents()
            for record in waiting:
                if extents.hold(record.needs):
                    self.index.add(record)
            suspects: list[tuple[str, str, str]] = []
            self._read_all(new, extents, suspects)
            if any(not mark and self.index.is_lost(key) for key, _, mark in suspects):
                self._catch_up()
            for key, problem, mark in suspects:
                if mark and not self.index.is_named(mark):
                    self._unnamed.append(mark)
                    self.report(problem)
                elif not mark and self.index.is_lost(key):  # else it was written again, or given up, since
                    self.report(problem)
        self.is_open = True
        self._chapters = {}
        return bool(new)

    def _catch_up(self) -> None:
        """Reads what was written while we looked: who frees space says so before the bytes are gone."""
        sizes = self._sizes()
        new = [name for name, size in sizes.items() if size > self._consumed.get(name, 0)]
        if new:
            self.is_open = True
            self._prepare(sizes, new)
            self._read_all(new, self._extents(), [])

    def take(self, said: Said) -> None:
        """Takes in what this process has written, or was told."""
        if isinstance(said, Record):
            self.index.add(said)
        elif isinstance(said, Note):
            self.index.note(said)
        elif isinstance(said, Removal):
            self.index.remove(said)
            self.removals += 1
        else:
            self.index.damage(said)

    def wrote(self, name: str, offset: int, size_bytes: int) -> None:
        """What lies there in a file of records was taken in already."""
        if self._consumed.setdefault(name, 0) == offset:
            self._consumed[name] = offset + size_bytes

    def report(self, problem: str) -> None:
        self.problems[problem] = None

    def take_unnamed(self) -> tuple[str, ...]:
        """The marks of lines that can't be read and that nobody wrote down as such; they are handed out
        once."""
        marks, self._unnamed = tuple(self._unnamed), []
        return marks

    def _read_all(
        self, names: list[str], extents: reading.Extents, suspects: list[tuple[str, str, str]]
    ) -> None:
        told = [self._read_lines(name, extents, suspects) for name in sorted(names)]
        for one in told:  # what is noted about nodes comes sooner when they are known
            if one is not None:
                self.index.learn(one.notes, one.noted)

    def _read_lines(
        self, name: str, extents: reading.Extents, suspects: list[tuple[str, str, str]]
    ) -> Told | None:
        """Takes in a file's new lines; what looks damaged is added to `suspects`, with the node's key. What
        the index says of the file, whose notes are still to be taken in."""
        start = self._consumed.get(name, 0)
        told = None
        if not start and (chapter := self._chapters.get(name)) is not None:
            with disk_errors("read the records", self._where(name)):
                kept = KeptLines.open(self._directory / "records" / name, chapter.size_bytes, chapter.digest)
            told = chapter.tell(kept) if kept is not None else None
            if told is not None:
                if extents.hold(chapter.needs):
                    self.index.extend(told.keys, told.records, told.are_done)
                else:
                    told.doubtful.extend(told.records)
                for said in (*told.doubtful, *told.others):
                    self._hear(said, extents, suspects)
                self._consumed[name] = self._indexed[name] = start = chapter.size_bytes
        content = self._content(name, start)
        add, hold = self.index.add, extents.hold
        view, begin, number = memoryview(content), 0, 0
        while (
            end := content.find(b"\n", begin)
        ) >= 0:  # what follows the last is torn, or still being written
            heard = decode_at(content, view, begin, end)
            line_start, begin, number = begin, end + 1, number + 1
            if type(heard) is Record and hold(heard.needs):
                add(heard)
            elif heard is not None:
                self._hear(heard, extents, suspects)
            elif end > line_start:
                where = f"line {number}" if not start else f"a line after byte {start}"
                key = reading.guess_key(content[line_start:end])
                of_node = f" (it seems to be about node {key})" if key else ""
                problem = f"{self._where(name)}: {where} is damaged{of_node}; what it said is lost"
                mark = xxh3_64_hexdigest(content[line_start:end])
                suspects.append((key, problem, mark))
        self._consumed[name] = self._consumed.get(name, 0) + begin
        return told

    def _hear(self, said: Said, extents: reading.Extents, suspects: list[tuple[str, str, str]]) -> None:
        """Takes in what isn't the record of a node that is there."""
        if isinstance(said, Record):
            lacks = extents.lacks(said.needs)
            self.index.add(said, is_there=not lacks)
            if lacks:
                problem = f"{said.recipe or said.kind} node {said.key}: {lacks}; it will be computed again"
                suspects.append((said.key, problem, ""))
        else:
            self.take(said)
            if isinstance(said, Damage) and said.key != NO_NODE:
                suspects.append((said.key, damage_text(said.key, said.reason), ""))

    def write_index(self, anew: bool = False) -> None:
        """Writes the file that makes the next opening fast, when that is worth it; with ``anew`` also when
        little was written since, for what there is points to other places now."""
        read, indexed = sum(self._consumed.values()), sum(self._indexed.values())
        if read < _WORTH_INDEXING or (not anew and read - indexed < max(_WORTH_INDEXING, indexed // 4)):
            return
        known = {record.check: record for record in self.index.written()}
        chapters = []
        for name in self._consumed:
            content = reading.read_large(self._directory / "records" / name, 0)
            chapter = summarize(name, content, known, self.index.is_usable)
            if chapter is not None:
                chapters.append(chapter)
        path = self._directory / INDEX_FILE
        replace_file(path, [write_index(chapters)])
        self._indexed = dict(self._consumed)
        with contextlib.suppress(OSError):
            (self._directory / _FORMER_INDEX).unlink(missing_ok=True)
        for left in self._directory.glob(f".{INDEX_FILE}.*.tmp"):  # by one that was killed at this
            with contextlib.suppress(OSError):
                if left.stat().st_mtime < path.stat().st_mtime - _LONG_AGO_S:
                    left.unlink()

    def _forget(self) -> None:
        self.index = Index()
        self._consumed = {}
        self._indexed = {}
        self.is_open = False
