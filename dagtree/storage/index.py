"""What a store's lines say about its nodes, whichever order they are read in."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import cast

from .notes import Damage, Note, Removal
from .record import NoteSource, Record, with_notes

__all__ = ["Index"]

_NAMES = re.compile(r'"([^"]*)":')
_STRENGTH = {"moved": 0, "evicted": 1, "dropped": 2}  # of two removals of one line, which counts


class Index:
    """The records of a store, and which of their nodes are there.

    Several lines may be about one node. One that is done and whose bytes are there goes before one whose
    bytes were evicted, that before one that failed, and that before one whose bytes are damaged, missing or
    moved elsewhere; among equals, the one that ended later counts. Lines that were dropped count for nothing.
    The order in which lines arrive never matters.
    """

    def __init__(self) -> None:
        self.records: dict[str, Record] = {}
        self.there: dict[str, None] = {}
        self.evicted: dict[str, None] = {}
        self._written: dict[str, Record] = {}  # as their lines say, where notes changed what `records` says
        self._others: dict[str, list[Record]] = {}  # lines of a node that don't count now
        self._notes: dict[str, list[Note] | NoteSource] = {}
        self._damaged: dict[str, str] = {}  # by line
        self._missing: dict[str, Record] = {}  # by line
        self._removed: dict[str, Removal] = {}  # by line
        self._removed_keys: set[str] = set()

    def add(self, record: Record, is_there: bool = True) -> None:
        """Takes in a node's line; `is_there` tells whether the files that it points into are long enough."""
        key = record.key
        is_removed = key in self._removed_keys and record.check in self._removed
        if not is_there and not is_removed:
            self._missing[record.check] = record
        elif self._missing:
            self._missing.pop(record.check, None)
        if (
            key not in self.records
            and is_there
            and not is_removed
            and not (self._damaged and record.check in self._damaged)
        ):
            self.records[key] = record
            if record.status == "done":
                self.there[key] = None
        else:
            lines = {line.check: line for line in self.lines(key)}
            lines.setdefault(record.check, record)
            self._choose(key, list(lines.values()))
        if key in self._notes and key in self.records:
            self._apply(key)

    def extend(self, keys: list[str], records: list[Record], are_done: bool = False) -> None:
        """As `add` for each of them, whose keys are given; faster when they are the first that are heard of
        their nodes, and when ``are_done`` says that none failed."""
        by_key = dict(zip(keys, records, strict=True))
        is_first = len(by_key) == len(records) and self.records.keys().isdisjoint(by_key)
        is_first = is_first and self._removed_keys.isdisjoint(by_key)
        if is_first and not (self._damaged or self._missing or self._notes):
            self.records.update(by_key)
            done = keys if are_done else [record.key for record in records if record.status == "done"]
            self.there.update(dict.fromkeys(done))
        else:
            for record in records:
                self.add(record)

    def learn(self, notes: NoteSource, tags: Mapping[str, Sequence[str]]) -> None:
        """As `note` for each of the notes about nodes with the keys of ``tags``, which are what the notes
        add; they are read when they are asked for."""
        found = list(map(self.records.get, tags))
        are_new = self._notes.keys().isdisjoint(tags) and self._removed_keys.isdisjoint(tags)
        if not are_new or not all(record is not None and record.is_read for record in found):
            tags, told = {}, tags
            for key, record in zip(told, found, strict=True):
                is_known = key in self._notes or key in self._removed_keys
                if is_known or record is None or not record.is_read:
                    for note in notes.notes_of(key):
                        self.note(note)
                else:
                    tags[key] = told[key]
            found = list(map(self.records.get, tags))
        lines = cast("list[Record]", found)
        self._notes.update(dict.fromkeys(tags, notes))
        self._written.update(zip(tags, lines, strict=True))
        self.records.update(zip(tags, with_notes(lines, notes), strict=True))
        for key, added in tags.items():
            if added:
                line = self._written[key]
                all_tags = tuple(dict.fromkeys((*line.tags, *added)))
                (self.records[key],) = with_notes([line], notes, all_tags)

    def note(self, note: Note) -> None:
        if note.key in self._removed_keys and note.check in self._removed:
            return  # as those of a dropped node
        known = self._notes.get(note.key)
        if not isinstance(known, list):
            known = self._notes[note.key] = self.notes(note.key)
        known.append(note)
        if note.key in self.records:
            self._apply(note.key)

    def damage(self, damage: Damage) -> None:
        for line in damage.lines:
            self._damaged[line] = damage.reason
        self._choose(damage.key, self.lines(damage.key))
        if damage.key in self._notes and damage.key in self.records:
            self._apply(damage.key)

    def remove(self, removal: Removal) -> None:
        """Takes in that the bytes of some lines were given up."""
        key = removal.key
        for line in removal.lines:
            known = self._removed.get(line)
            if known is None or _STRENGTH[known.what] < _STRENGTH[removal.what]:
                self._removed[line] = removal
            self._missing.pop(line, None)
        self._removed_keys.add(key)
        if key in self._notes:
            kept = [note for note in self.notes(key) if note.check not in self._removed]
            if kept:
                self._notes[key] = kept
            else:
                del self._notes[key]
        lines = self.lines(key)
        self._choose(key, lines)
        if key in self._notes and key in self.records:
            self._apply(key)

    def removal(self, line: Record) -> Removal | None:
        """How the bytes of a line were given up; None when they weren't."""
        return self._removed.get(line.check)

    def notes(self, key: str) -> list[Note]:
        """What was noted about a node."""
        found = self._notes.get(key, ())
        return list(found) if isinstance(found, list | tuple) else found.notes_of(key)

    def lines(self, key: str) -> list[Record]:
        """All lines of a node, as they were written."""
        counts = self._written.get(key) or self.records.get(key)
        return [] if counts is None else [counts, *self._others.get(key, ())]

    def written(self) -> list[Record]:
        """The lines that count, as they were written."""
        return [self._written.get(key, record) for key, record in self.records.items()]

    def files(self) -> set[str]:
        """The files that any line names."""
        found: set[str] = set()
        for lines in (self.records.values(), *self._others.values()):
            for line in lines:
                found.update(_NAMES.findall(line.needs))
        return found

    def is_named(self, mark: str) -> bool:
        """Whether somebody was told already that this line can't be read."""
        return mark in self._damaged

    def is_lost(self, key: str) -> bool:
        """Whether a node's bytes are not there, and nobody gave them up on purpose."""
        dropped = key in self._removed_keys and key not in self.records
        return not (key in self.there or key in self.evicted or dropped)

    def is_known(self, key: str) -> bool:
        """Whether any line was about that node, be it dropped since."""
        return key in self.records or key in self._removed_keys

    def unsettled(self) -> list[str]:
        """The nodes that are not there, and those of which there are several lines."""
        return [key for key in self.records if key not in self.there or key in self._others]

    def is_missing(self, line: Record) -> bool:
        """Whether the files that a line points into were too short, or gone, when it was read."""
        return line.check in self._missing

    def missing(self) -> list[Record]:
        """The lines whose bytes were missing when they were added."""
        return list(self._missing.values())

    def is_usable(self, line: Record) -> bool:
        """Whether the bytes of a line are there, as far as is known."""
        check = line.check
        return check not in self._damaged and check not in self._missing and check not in self._removed

    def _is_evicted(self, line: Record) -> bool:
        removal = self._removed.get(line.check)
        is_evicted = removal is not None and removal.what == "evicted"
        return is_evicted and line.status == "done" and line.check not in self._damaged

    def _rank(self, line: Record) -> tuple[bool, bool, bool, float, str]:
        usable = self.is_usable(line)
        return usable and line.status == "done", self._is_evicted(line), usable, line.ended, line.check

    def _choose(self, key: str, lines: list[Record]) -> None:
        if self._removed:
            gone = self._removed
            lines = [one for one in lines if one.check not in gone or gone[one.check].what != "dropped"]
        if not lines:
            for table in (self.records, self._written, self._others, self.there, self.evicted):
                table.pop(key, None)
            return
        best = lines[0] if len(lines) == 1 else max(lines, key=self._rank)
        self.records[key] = best
        self._written.pop(key, None)
        others = [line for line in lines if line is not best]
        if others:
            self._others[key] = others
        else:
            self._others.pop(key, None)
        if best.status == "done" and self.is_usable(best):
            self.there[key] = None
        else:
            self.there.pop(key, None)
        if self._is_evicted(best) and key not in self.there:
            self.evicted[key] = None
        else:
            self.evicted.pop(key, None)

    def _apply(self, key: str) -> None:
        line = self._written.get(key) or self.records[key]
        self._written[key] = line
        self.records[key] = line.noted(self.notes(key))
