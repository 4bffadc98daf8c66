"""What a store's lines say about its nodes, whichever order they are read in."""

from __future__ import annotations

from .notes import Damage, Note
from .record import Record

__all__ = ["Index"]


class Index:
    """The records of a store, and which of their nodes are there.

    Several lines may be about one node. One that is done and whose bytes are there goes before one that
    failed, and that before one whose bytes are damaged or missing; among equals, the one that ended later
    counts. The order in which lines arrive never matters.
    """

    def __init__(self) -> None:
        self.records: dict[str, Record] = {}
        self.there: dict[str, None] = {}
        self._written: dict[str, Record] = {}  # as their lines say, where notes changed what `records` says
        self._others: dict[str, list[Record]] = {}  # lines of a node that don't count now
        self._notes: dict[str, list[Note]] = {}
        self._damaged: dict[str, str] = {}  # by line
        self._missing: dict[str, Record] = {}  # by line

    def add(self, record: Record, is_there: bool = True) -> None:
        """Takes in a node's line; `is_there` tells whether the files that it points into are long enough."""
        key = record.key
        if not is_there:
            self._missing[record.check] = record
        elif self._missing:
            self._missing.pop(record.check, None)
        if key not in self.records and is_there and not (self._damaged and record.check in self._damaged):
            self.records[key] = record
            if record.status == "done":
                self.there[key] = None
        else:
            lines = {line.check: line for line in self.lines(key)}
            lines.setdefault(record.check, record)
            self._choose(key, list(lines.values()))
        if key in self._notes:
            self._apply(key)

    def extend(self, records: list[Record]) -> None:
        """As `add` for each of them; faster when they are the first that are heard of their nodes."""
        by_key = {record.key: record for record in records}
        is_first = len(by_key) == len(records) and self.records.keys().isdisjoint(by_key)
        if is_first and not (self._damaged or self._missing or self._notes):
            self.records.update(by_key)
            self.there.update(dict.fromkeys([record.key for record in records if record.status == "done"]))
        else:
            for record in records:
                self.add(record)

    def note(self, note: Note) -> None:
        self._notes.setdefault(note.key, []).append(note)
        if note.key in self.records:
            self._apply(note.key)

    def damage(self, damage: Damage) -> None:
        for line in damage.lines:
            self._damaged[line] = damage.reason
        self._choose(damage.key, self.lines(damage.key))
        if damage.key in self._notes and damage.key in self.records:
            self._apply(damage.key)

    def lines(self, key: str) -> list[Record]:
        """All lines of a node, as they were written."""
        counts = self._written.get(key) or self.records.get(key)
        return [] if counts is None else [counts, *self._others.get(key, ())]

    def written(self) -> list[Record]:
        """The lines that count, as they were written."""
        return [self._written.get(key, record) for key, record in self.records.items()]

    def is_named(self, mark: str) -> bool:
        """Whether somebody was told already that this line can't be read."""
        return mark in self._damaged

    def missing(self) -> list[Record]:
        """The lines whose bytes were missing when they were added."""
        return list(self._missing.values())

    def _is_usable(self, line: Record) -> bool:
        return line.check not in self._damaged and line.check not in self._missing

    def _rank(self, line: Record) -> tuple[bool, bool, float, str]:
        usable = self._is_usable(line)
        return usable and line.status == "done", usable, line.ended, line.check

    def _choose(self, key: str, lines: list[Record]) -> None:
        if not lines:
            return
        best = max(lines, key=self._rank)
        self.records[key] = best
        self._written.pop(key, None)
        others = [line for line in lines if line is not best]
        if others:
            self._others[key] = others
        if best.status == "done" and self._is_usable(best):
            self.there[key] = None
        else:
            self.there.pop(key, None)

    def _apply(self, key: str) -> None:
        line = self._written.get(key) or self.records[key]
        self._written[key] = line
        self.records[key] = line.noted(self._notes[key])
