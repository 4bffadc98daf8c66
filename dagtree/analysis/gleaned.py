"""What all records of a tree say of properties, moments and results, without parsing what stands around.

A line of a record is a thousand bytes, and a node with many tensors has more; of a hundred thousand, what is
asked for is a tenth. It is cut out where nothing that a user wrote can stand before it, and what is cut out
wrongly is no JSON: then the whole record is parsed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, NamedTuple

from ..garbage import uncollected
from ..storage.describe import understand
from ..storage.notes import quoted
from ..storage.record import MORE, PROPERTIES, Record

__all__ = ["Gleaned", "Moment"]

Moment = tuple[int, Mapping[str, Any], Any]
"""Its number, what it yielded by name, and when, in unix seconds or None."""

_CODE, _HISTORY, _RESULTS, _PAYLOAD = b',"code":"', b',"history":', b',"results":', b',"payload":'
_BYTES = re.compile(rb',"bytes":(\d+)[,}]')
_scan: Callable[[str, int], tuple[Any, int]] = vars(json.JSONDecoder())["scan_once"]


class _Tail(NamedTuple):
    """Where in its line a record goes on after its properties: behind that nothing of them stands."""

    content: bytes
    start: int
    end: int


class Gleaned:
    """What records say, one entry a record, in their order. What is malformed in a record isn't there."""

    def __init__(self, records: Sequence[Record]) -> None:
        self._records = records
        self._mentions: dict[str, bool] = {}

    @cached_property
    def _properties(self) -> tuple[list[Mapping[str, Any]], list[_Tail | None]]:
        """Each node's properties, and the rest of its line; None where that must be parsed."""
        known: dict[bytes, Mapping[str, Any]] = {}
        found: list[Mapping[str, Any]] = []
        tails: list[_Tail | None] = []
        with uncollected():
            for record in self._records:
                own: Any = None
                tail: _Tail | None = None
                if not record.is_parsed:
                    content, start, end = record.told()
                    at = content.find(PROPERTIES, content.find(MORE, start, end), end) if content else -1
                    # In a property that is a dict `,"code":"` may stand too; what is cut out then is no JSON.
                    stop = content.find(_CODE, at, end) if at >= 0 else -1
                    text = content[at + len(PROPERTIES) : stop] if stop >= 0 else b""
                    own = known.get(text)
                    if own is None:
                        own = _read(text)
                        if isinstance(own, dict):
                            known[text] = own
                    if isinstance(own, dict):
                        tail = _Tail(content, stop, end)
                if tail is None:
                    said = _told(record, "properties")
                    own = said if isinstance(said, dict) else {}
                found.append(own)
                tails.append(tail)
        return found, tails

    @property
    def properties(self) -> list[Mapping[str, Any]]:
        """Each node's own properties, as they were described."""
        return self._properties[0]

    @cached_property
    def histories(self) -> list[tuple[Moment, ...]]:
        """What each node's moments yielded."""
        found: list[tuple[Moment, ...]] = []
        with uncollected():
            for record, tail in zip(self._records, self._properties[1], strict=True):
                said = None
                if tail is not None:
                    content, start, end = tail
                    at = content.find(_HISTORY, start, end)
                    if at < 0:
                        found.append(())
                        continue
                    stop = content.find(_PAYLOAD, at, end)
                    said = _read(content[at + len(_HISTORY) : stop if stop >= 0 else end], is_whole=False)
                if not isinstance(said, list):
                    said = _told(record, "history")
                found.append(tuple(_moments(said)))
        return found

    @cached_property
    def results(self) -> list[Mapping[tuple[str, str | None], Any]]:
        """What functions said at each node: by the function, and the entry of the dict that it gave."""
        found: list[Mapping[tuple[str, str | None], Any]] = []
        with uncollected():
            for record, tail in zip(self._records, self._properties[1], strict=True):
                said: Any = record.later_results
                if tail is None or tail.content.find(_RESULTS, tail.start, tail.end) >= 0:
                    said = _told(record, "results")
                found.append(dict(_results(said)) if said else {})
        return found

    def costs(self) -> Iterator[Mapping[str, Any]]:
        """Of each record all but its properties, and where its bytes lie, which is most of it."""
        for record, tail in zip(self._records, self._properties[1], strict=True):
            said = None if tail is None else _without_payload(*tail)
            if said is None:
                was_parsed = record.is_parsed
                said = record.more
                if not was_parsed:
                    record.forget_more()
            yield said

    def mentions(self, name: str) -> bool:
        """Whether any metric, function or entry of a result (``recall.0`` too) may have that name; False is
        certain. A search finds it sooner than reading them all."""
        parts = name.split(".")
        return any(self._mentioned(".".join(parts[:count])) for count in range(len(parts), 0, -1))

    def _mentioned(self, name: str) -> bool:
        if name not in self._mentions:
            self._mentions[name] = self._searched(name)
        return self._mentions[name]

    def _searched(self, name: str) -> bool:
        if "histories" in vars(self) and "results" in vars(self):
            return any(name in values for moments in self.histories for _, values, _ in moments) or any(
                name in one for said in self.results for one in said
            )
        if name in self._noted:
            return True
        wanted = quoted(name).encode() + b":"
        for record, tail in zip(self._records, self._properties[1], strict=True):
            if tail is None:
                if _told(record, "history") or _told(record, "results"):
                    return True
            elif tail.content.find(wanted, tail.start, tail.end) >= 0:
                return True
        return False

    @cached_property
    def _noted(self) -> set[str]:
        """The names of functions, and of entries, of which results were noted later."""
        found: set[str] = set()
        for record in self._records:
            for function, said in record.later_results.items():
                found.add(function)
                value = said.get("value") if isinstance(said, dict) else None
                if isinstance(value, dict):
                    found.update(value)
        return found


def _read(text: bytes, is_whole: bool = True) -> Any:
    """The JSON that begins the text, and is all of it, unless said otherwise; None where it is none."""
    try:
        decoded = text.decode()
        said, end = _scan(decoded, 0)
    except (ValueError, StopIteration, RecursionError):
        return None
    return said if end == len(decoded) or not is_whole else None


def _without_payload(content: bytes, start: int, end: int) -> dict[str, Any] | None:
    """What stands behind the properties; None where it must be parsed with all else."""
    at = content.find(_PAYLOAD, start, end)
    size = content.rfind(b',"bytes":', at, end) if at >= 0 else -1
    found = _BYTES.match(content, size, end) if size >= 0 else None
    said = None if found is None else _read(b"{" + content[start + 1 : at] + b"}")
    if found is None or not isinstance(said, dict):
        return None
    said["bytes"] = int(found[1])
    return said


def _told(record: Record, name: str) -> Any:
    """From all that the record says; a record that wasn't parsed isn't afterwards."""
    was_parsed = record.is_parsed
    said = record.more.get(name)
    if not was_parsed:
        record.forget_more()
    return said


def _moments(history: Any) -> Iterator[Moment]:
    for line in history if isinstance(history, list) else ():
        if isinstance(line, list) and len(line) == 3 and type(line[0]) is int and isinstance(line[1], dict):
            is_time = isinstance(line[2], int | float) and not isinstance(line[2], bool)
            values = {
                name: value if type(value) is float else understand(value) for name, value in line[1].items()
            }
            yield line[0], values, line[2] if is_time else None


def _results(results: Any) -> Iterator[tuple[tuple[str, str | None], Any]]:
    for function, said in results.items() if isinstance(results, dict) else ():
        if isinstance(said, dict) and "value" in said:
            value = understand(said["value"])
            if isinstance(value, dict) and value:
                yield from (((function, str(name)), part) for name, part in value.items())
            else:
                yield (function, None), value
