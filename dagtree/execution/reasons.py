"""Why a node would be computed: what is kept of it, or the closest node that is kept and what differs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ..definition.promise import ExperimentStatePromise, label_of
from ..identity.differ import PartChange, compare, outline_from
from ..identity.key import digest
from ..identity.outline import Source
from ..storage.describe import describe, understand
from ..storage.record import Record
from ..storage.store import Store
from .explain import Change, CodeNews, Explanation

__all__ = ["Reasons", "code_news"]

_MOST_COMPARED = 500


class Reasons:
    """Explains the nodes of a tree from what a store keeps. Reads records, computes nothing."""

    def __init__(self, store: Store, problems: Iterable[str] = ()) -> None:
        self.store = store
        self.records = store.records()
        self.there = store.keys()
        self.problems = tuple(problems)
        self._by_address: dict[str, list[Record]] = {}
        self._below: dict[tuple[str, str], list[Record]] = {}
        self._by_recipe: dict[tuple[str, str], list[Record]] = {}
        for record in self.records.values():
            if record.status == "done":
                self._by_address.setdefault(record.address, []).append(record)
                self._by_recipe.setdefault((record.kind, record.recipe), []).append(record)
                if record.parents:
                    self._below.setdefault((record.recipe, record.parents[0]), []).append(record)
        self._closest: dict[str, Record | None] = {}
        self._outlines: dict[str, list[Source] | None] = {}

    def explain(self, promise: ExperimentStatePromise) -> Explanation:
        """Why it is there, or why it would be computed."""
        record = self.records.get(promise.key)
        if promise.key in self.there and record is not None:
            return self._cached(promise, record)
        edge = promise.parents[0] if promise.kind == "moment" else promise
        covers = edge.code.sources
        closest, changes, only_code, status = None, list[Change](), False, "planned"
        if record is not None and record.status == "failed":
            error = record.more.get("error") or {}
            said = f"{error.get('type', 'an error')}: {error.get('message', '')}".strip(": ")
            status, reason = "failed", f"it failed when it was last run ({said})"
        elif record is not None:
            said = next((f": {problem}" for problem in self.problems if promise.key in problem), "")
            status, reason = "damaged", f"it was computed, and its bytes are damaged or missing{said}"
        else:
            closest = self.closest(promise)
            if closest is None:
                what = f"root of {promise.name}" if promise.kind == "root" else promise.name
                reason = f"never computed; no {what} is kept here"
            else:
                changes = list(self._changes(promise, closest))
                only_code = closest.address == promise.address
                kinds = {change.kind for change in changes if change.kind != "parent"}
                reason = (
                    "never computed"
                    if not only_code
                    else "what it is made from changed above it"
                    if not kinds
                    else "data that it depends on changed"
                    if kinds == {"data"}
                    else "its code changed"
                )
        return Explanation(
            key=promise.key,
            label=promise.label,
            status=status,
            reason=reason,
            closest="" if closest is None else closest.key,
            closest_label="" if closest is None else label_of_record(closest, self.records),
            changes=tuple(changes),
            only_code=only_code,
            covers=covers,
            warnings=warnings_of(covers),
        )

    def _cached(self, promise: ExperimentStatePromise, record: Record) -> Explanation:
        edge = self.records.get(record.parents[0], record) if record.kind == "moment" else record
        covers: Sequence[Source] = promise.code.sources
        if not covers:
            covers = self._outline(edge) or ()
        more = record.more
        return Explanation(
            key=promise.key,
            label=promise.label,
            status="cached",
            reason="it is there",
            covers=tuple(covers),
            warnings=warnings_of(covers),
            computed_at=record.ended,
            host=str(self._environment(more.get("environment")).get("host", "")),
            seconds=_number(more.get("seconds")),
            properties=tuple(
                f"{name}={text_of(value)}" for name, value in (edge.more.get("properties") or {}).items()
            ),
            parents=tuple(
                label_of_record(self.records[key], self.records) + f" [{key[:8]}]"
                for key in (record.parents[1:] if record.kind == "moment" else record.parents)
                if key in self.records
            ),
        )

    # Which kept node is the closest

    def closest(self, promise: ExperimentStatePromise) -> Record | None:
        """The kept node that differs least; found for its ancestors first, without recursion."""
        waiting = [promise]
        while waiting:
            one = waiting[-1]
            if one.key in self._closest:
                waiting.pop()
                continue
            above = [parent for parent in one.parents[:1] if parent.key not in self._closest]
            if above and one.key not in self.there:
                waiting.extend(above)
                continue
            self._closest[one.key] = self.records[one.key] if one.key in self.there else self._find(one)
            waiting.pop()
        return self._closest[promise.key]

    def _find(self, promise: ExperimentStatePromise) -> Record | None:
        others = self._by_address.get(promise.address)
        if others:
            return max(others, key=lambda record: record.ended)
        above = self._closest.get(promise.parents[0].key) if promise.parents else None
        candidates: list[Record] = []
        if promise.parents:
            candidates = self._below.get((promise.name, promise.parents[0].key), [])
            if not candidates and above is not None:
                candidates = self._below.get((promise.name, above.key), [])
        candidates = [record for record in candidates if record.kind == promise.kind]
        if not candidates:
            candidates = self._by_recipe.get((promise.kind, promise.name), [])[-_MOST_COMPARED:]
        described = _described(promise)

        def distance(record: Record) -> tuple[int, bool, bool, float]:
            kept = _kept_properties(record, promise)
            differ = sum(described.get(name) != kept.get(name) for name in described.keys() | kept.keys())
            code = record.more.get("code") != promise.code.digest
            return differ, record.moment != promise.moment, code, -record.ended

        return min(candidates, key=distance, default=None)

    # What differs

    def _changes(self, promise: ExperimentStatePromise, closest: Record) -> Iterable[Change]:
        if promise.kind == "moment":
            if closest.moment != promise.moment:
                yield Change("moment", "moment", str(closest.moment), str(promise.moment))
            edge = promise.parents[0]
            if closest.parents and closest.parents[0] != edge.key:
                old = self.records.get(closest.parents[0])
                yield self._parent_change(edge, old)
            return
        new, old_properties = _described(promise), _kept_properties(closest, promise)
        for name in sorted(new.keys() | old_properties.keys()):
            if name not in old_properties or name not in new or new[name] != old_properties[name]:
                yield Change(
                    "property",
                    name,
                    text_of(old_properties[name]) if name in old_properties else "",
                    text_of(new[name]) if name in new else "",
                )
        if closest.more.get("code") != promise.code.digest:
            yield from self.code_changes(promise, closest)
        for index, parent in enumerate(promise.parents):
            old_key = closest.parents[index] if index < len(closest.parents) else ""
            if old_key != parent.key:
                yield self._parent_change(parent, self.records.get(old_key))
        for key in closest.parents[len(promise.parents) :]:
            was = self.records.get(key)
            yield Change("parent", "", "" if was is None else label_of_record(was, self.records), "")

    def _parent_change(self, parent: ExperimentStatePromise, was: Record | None) -> Change:
        state = "there" if parent.key in self.there else "to be computed too"
        return Change(
            "parent",
            parent.key,
            "" if was is None else f"{label_of_record(was, self.records)} [{was.key[:8]}]",
            f"{parent.label} [{parent.key[:8]}], {state}",
        )

    def code_changes(self, promise: ExperimentStatePromise, record: Record) -> list[Change]:
        """What differs between the code of now and that of a record, of one edge."""
        old = self._outline(record)
        if old is None:
            return [Change("code", promise.name, "", "", note="what its code was can't be read any more")]
        parts = compare(old, promise.code.sources)
        if not parts:
            note = "its parts are the same; their order, or how they are reached, differs"
            return [Change("code", promise.name, "", "", note=note)]
        return [_code_change(part) for part in parts]

    def _outline(self, record: Record) -> list[Source] | None:
        name = record.more.get("sources")
        if not isinstance(name, str) or not name:
            return None
        if name not in self._outlines:
            entries = _read(self.store, "sources", name)
            self._outlines[name] = None if not isinstance(entries, list) else outline_from(entries)
        return self._outlines[name]

    def _environment(self, name: Any) -> Mapping[str, Any]:
        found = _read(self.store, "environments", name) if isinstance(name, str) else None
        return found if isinstance(found, dict) else {}


def code_news(missing: Sequence[ExperimentStatePromise], store: Store) -> CodeNews | None:
    """What a run computes again because code, and only code, changed; None when that is nothing."""
    records, there = store.records(), store.keys()
    if not records or not missing:
        return None
    kept: dict[str, Record] = {}
    for record in records.values():
        if record.status == "done":
            other = kept.get(record.address)
            kept[record.address] = record if other is None or record.ended > other.ended else other
    again = [
        (promise, kept[promise.address])
        for promise in missing
        if promise.address in kept and promise.key not in records
    ]
    if not again:
        return None
    reasons = Reasons(store)
    changes: dict[tuple[str, str], Change] = {}
    seen: set[tuple[str, Any]] = set()
    for promise, record in again:
        pair = (promise.code.digest, record.more.get("code"))
        if promise.kind == "moment" or pair[0] == pair[1] or pair in seen:
            continue
        seen.add(pair)
        for change in reasons.code_changes(promise, record):
            changes.setdefault((change.kind, change.name), change)
    seconds = sum(
        _number(record.more.get("seconds")) for promise, record in again if promise.kind != "moment"
    )
    return CodeNews(
        keys=tuple(promise.key for promise, _ in again),
        changes=tuple(changes.values()),
        seconds=seconds,
        of=len(missing) + len(there),
    )


def warnings_of(covers: Iterable[Source]) -> tuple[str, ...]:
    """What of the code can't be followed, or counts by its type alone, in words."""
    said: dict[str, None] = {}
    for part in covers:
        where = f"{part.file}:{part.line}" if part.file and part.line else part.module or part.file
        if part.kind == "unseen":
            said[
                f"{part.name} ({where}): what it finds counts only where it is an attribute of the recipe or "
                f"of the state; declare the rest in `depends_on`"
            ] = None
        elif part.kind == "type":
            said[f"{part.name} ({where}): {part.text}; of it only the type counts"] = None
    return tuple(said)


def label_of_record(record: Record, records: Mapping[str, Record]) -> str:
    """The node's recipe as one would write it."""
    edge = records.get(record.parents[0], record) if record.kind == "moment" and record.parents else record
    properties = {name: understand(value) for name, value in (edge.more.get("properties") or {}).items()}
    return label_of(record.recipe, properties, record.moment)


def text_of(described: Any) -> str:
    text = repr(understand(described))
    return text if len(text) <= 80 else f"{text[:79]}…"


def _code_change(part: PartChange) -> Change:
    is_source = part.kind in ("function", "class", "file", "data")
    note = str(part) if is_source else ""
    return Change(
        "data" if part.kind == "data" else "code" if is_source else "value",
        part.name,
        "" if is_source else part.old,
        "" if is_source else part.new,
        diff=part.diff,
        chain=part.chain,
        place=part.place,
        note=note,
    )


def _described(promise: ExperimentStatePromise) -> dict[str, Any]:
    edge = promise.parents[0] if promise.kind == "moment" else promise
    ignored = ignored_by(edge)
    return {name: describe(value) for name, value in edge.properties.items() if name not in ignored}


def _kept_properties(record: Record, promise: ExperimentStatePromise) -> dict[str, Any]:
    ignored = ignored_by(promise)
    return {
        name: value for name, value in (record.more.get("properties") or {}).items() if name not in ignored
    }


def ignored_by(promise: ExperimentStatePromise) -> frozenset[str]:
    """The properties that are no part of the node's identity."""
    cls = promise.tree.known_state_class if promise.kind == "root" else promise.recipe
    return frozenset() if cls is None else cls._fields.ignored


def _read(store: Store, folder: Any, name: str) -> Any:
    """What is kept beside the nodes; None when it is gone, or not what was written."""
    try:
        content = store.read_once(folder, name)
        return json.loads(content) if content is not None and digest(content) == name else None
    except (OSError, ValueError, RecursionError):
        return None


def _number(value: Any) -> float:
    return float(value) if isinstance(value, int | float) else 0.0
