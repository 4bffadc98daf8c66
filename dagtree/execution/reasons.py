"""Why a node would be computed: what is kept of it, or the closest node that is kept and what differs."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence, Set
from itertools import chain
from typing import Any

from ..definition.promise import ExperimentStatePromise
from ..definition.recipe import Recipe
from ..definition.state import ExperimentState
from ..errors import DagtreeError
from ..identity.differ import PartChange, compare, outline_from, told_apart
from ..identity.key import digest
from ..identity.outline import Source
from ..identity.source import Code
from ..identity.spelling import sections, with_values
from ..storage.describe import Described, understand
from ..storage.record import Record
from ..storage.store import Store
from .alike import latest_of_each, same_but_for_values, spellings_of
from .current import code_of, stale_nodes
from .explain import Change, Explanation
from .kept import (
    described,
    edge_record,
    ignored_by,
    kept_properties,
    label_of_record,
    mapping,
    number,
    text,
)
from .nearest import Nearest
from .needed import needed_evicted
from .plan import results_of
from .report import one_line
from .warned import warnings_of

__all__ = ["Reasons", "told_as"]

_LONGEST = 200
_KEY = re.compile(r"(?<![0-9a-f])[0-9a-f]{32}(?![0-9a-f])")
_SAID_OF = re.compile(
    r"^(?:(?:\S+ )?node [0-9a-f]{32}(?: was found damaged)?: )+"
    r"|; (?:it will be computed again|run again to compute it)$"
)
_STALE = "its code, or data in `depends_on`, has changed since it was defined"
_AGAIN = "a run refuses it until the lines that define the tree run again"


class Reasons:
    """Explains the nodes of a tree from what a store keeps. Reads records, computes nothing."""

    def __init__(self, store: Store, problems: Iterable[str] = ()) -> None:
        self.store = store
        self.records = store.records()
        self.there = store.keys()
        self.evicted = store.evicted()
        self.problems: dict[str, str] = {}
        for problem in problems:
            for key in _KEY.findall(problem):
                self.problems.setdefault(key, _SAID_OF.sub("", problem).replace(f"node {key}", "this node"))
        self._by_address = latest_of_each(self.records)
        self._spellings = spellings_of(self.records)
        self._older: dict[str, Record] | None = None
        self._covered: dict[tuple[object, ...], tuple[Source, ...]] = {}
        self._groups: dict[tuple[str, str, str], list[Record]] = {}
        for record in self.records.values():
            if record.status == "done":
                for above in ("", *record.parents[:1]):
                    self._groups.setdefault((record.kind, record.recipe, above), []).append(record)
        self._closest: dict[str, Record | None] = {}
        self._outlines: dict[str, tuple[list[Source], dict[str, list[Source]]] | None] = {}
        self._compared: dict[tuple[str, str, str], list[tuple[tuple[str, ...], Change]]] = {}
        self._near: dict[tuple[tuple[str, str, str], frozenset[str]], Nearest] = {}
        self._stale: dict[str, str] | None = None
        self._who: dict[str, str] | None = None

    def explain(self, promise: ExperimentStatePromise, is_needed: bool = False) -> Explanation:
        """Why it is there, or why it would be computed; ``is_needed`` says that a run would, also when it was
        evicted and nothing in the tree needs it."""
        record = self.records.get(promise.key)
        if promise.key in self.there and record is not None:
            return self._cached(promise, record)
        covers = self._covers(promise)
        closest, changes, only_code, status = None, list[Change](), False, "planned"
        if record is not None and record.status == "failed":
            error = mapping(record.more.get("error"))
            said = f"{error.get('type', 'an error')}: {error.get('message', '')}".strip(": ")
            status, reason = "failed", f"it failed when it was last run ({one_line(said, _LONGEST)})"
        elif record is not None and promise.key in self.evicted:
            who = self._needed(promise).get(promise.key, "")
            reason = "it was evicted, and its state is needed"
            reason += f" by {one_line(who, _LONGEST)}" if who else ""
            if not is_needed and not who:
                status, reason = "evicted", "computed again only when something needs its state"
        elif record is not None:
            said = self.problems.get(promise.key, "")
            status, reason = "damaged", "it was computed, and its bytes are damaged or missing"
            reason += f": {one_line(said, 2 * _LONGEST)}" if said else ""
        elif promise.key in self.problems:
            said = one_line(self.problems[promise.key], 2 * _LONGEST)
            status, reason = "damaged", f"what was written down about it is damaged: {said}"
        else:
            closest = self.closest(promise)
            if closest is None:
                what = f"root of {promise.name}" if promise.kind == "root" else promise.name
                reason = f"never computed; no {what} is kept here"
            else:
                changes = list(self._changes(promise, closest))
                only_code = self.older(promise) is closest
                reason = _reason(changes, only_code)
        return Explanation(
            key=promise.key,
            label=promise.label,
            status=status,
            reason=reason if status == "evicted" else reason + self._refused(promise),
            closest="" if closest is None else closest.key,
            closest_label="" if closest is None else label_of_record(closest, self.records),
            changes=tuple(changes),
            only_code=only_code,
            covers=covers,
            warnings=warnings_of(covers),
        )

    def _refused(self, promise: ExperimentStatePromise) -> str:
        """Why a run would not compute it as it is, in words; empty when it would."""
        if promise.is_from_disk or promise.edge.is_from_disk:
            # A run finds out how an evicted one is made.
            is_evicted = promise.key in self.evicted
            return "" if is_evicted else "; only the script that defines it can compute it"
        said = self._stale_of(promise).get(promise.key, "")
        return f"; {said}" if said else ""

    def _stale_of(self, promise: ExperimentStatePromise) -> dict[str, str]:
        if self._stale is None:
            self._stale = _stale(promise, self.there | self.evicted)
        return self._stale

    def _needed(self, promise: ExperimentStatePromise) -> dict[str, str]:
        if self._who is None:
            stale = self._stale_of(promise).keys()
            self._who = needed_evicted(promise.tree, self.there, self.evicted, stale, results_of(self.store))
        return self._who

    def _cached(self, promise: ExperimentStatePromise, record: Record) -> Explanation:
        edge = edge_record(record, self.records)
        covers: Sequence[Source] = self._covers(promise)
        if not covers:
            kept = self._outline(edge)
            covers = () if kept is None else [*kept[0], *chain.from_iterable(kept[1].values())]
        more = record.more
        return Explanation(
            key=promise.key,
            label=promise.label,
            status="cached",
            reason="it is there",
            covers=tuple(covers),
            warnings=warnings_of(covers),
            computed_at=number(record.ended),
            host=str(self._environment(more.get("environment")).get("host", "")),
            seconds=number(more.get("seconds")),
            properties=tuple(
                f"{name}={text_of(value)}" for name, value in kept_properties(edge, promise).items()
            ),
            parents=tuple(
                label_of_record(self.records[key], self.records) + f" [{key[:8]}]"
                for key in record.lineage
                if key in self.records
            ),
        )

    def _covers(self, promise: ExperimentStatePromise) -> tuple[Source, ...]:
        edge = promise.edge
        values = self._spellings.values(edge)
        if not values:
            return edge.code.sources
        same = (
            edge.name,
            edge.code.digest,
            *[(one.name, *[code.digest for code in one.codes]) for one in values],
        )
        if same not in self._covered:
            self._covered[same] = with_values(edge.code, edge.name, values)
        return self._covered[same]

    # Which kept node is the closest

    def older(self, promise: ExperimentStatePromise) -> Record | None:
        """The kept node that is the same but for code, and code behind the values of properties."""
        known = self._by_address.get(promise.address)
        if known is not None:
            return known
        if self._older is None:
            self._older = same_but_for_values(
                promise.tree, self.records, self._by_address, self.there, self._spellings
            )
        return self._older.get(promise.key)

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
        known = self.older(promise)
        if known is not None:
            return known
        above = self._closest.get(promise.parents[0].key) if promise.parents else None
        parents = [parent.key for parent in promise.parents[:1]] + ([] if above is None else [above.key])
        for group in [(promise.kind, promise.name, key) for key in (*parents, "")]:
            if group in self._groups:
                near = self._near.get((group, ignored := ignored_by(promise)))
                if near is None:
                    near = self._near[group, ignored] = Nearest(self._groups[group], promise)
                spelled = {value.name: value.digest for value in self._spellings.values(promise)}
                return near.closest(promise, spelled)
        return None

    # What differs

    def _changes(self, promise: ExperimentStatePromise, closest: Record) -> Iterable[Change]:
        edge = promise.edge
        if promise.kind == "moment":
            if closest.moment != promise.moment:
                yield Change("moment", "moment", str(closest.moment), str(promise.moment))
            if closest.parents and closest.parents[0] != edge.key:
                yield self._parent_change(edge, closest.parents[0])
            return
        said = False
        new, old_properties = described(promise), kept_properties(closest, promise)
        own = closest.more.get("code") != promise.code.digest
        changed = self.placed_changes(promise, closest) if own else []
        behind = self.value_changes(promise, closest)
        told = {told_as(placed) for placed in changed}
        for name in sorted(new.keys() | old_properties.keys() | behind.keys()):
            if name in behind:
                said = True
                # What the edge reaches as well is told once, as its own; so is what two values reach.
                news = {told_as(placed): placed[1] for placed in behind[name] if told_as(placed) not in told}
                told |= news.keys()
                yield from news.values()
            elif name not in old_properties or name not in new or new[name] != old_properties[name]:
                said = True
                yield _property_change(name, old_properties, new)
        said = said or own
        yield from (change for _, change in changed)
        for index, parent in enumerate(promise.parents):
            old_key = closest.parents[index] if index < len(closest.parents) else ""
            if old_key != parent.key:
                said = True
                yield self._parent_change(parent, old_key)
        for key in closest.parents[len(promise.parents) :]:
            said = True
            yield Change("parent", "", self._parent_text(key), "")
        if not said:
            yield from _hidden_changes(promise, closest)

    def _parent_change(self, parent: ExperimentStatePromise, was: str) -> Change:
        state = "there" if parent.key in self.there else "to be computed too"
        new = f"{parent.label} [{parent.key[:8]}], {state}"
        return Change("parent", parent.key, self._parent_text(was), new)

    def _parent_text(self, key: str) -> str:
        was = self.records.get(key)
        if was is not None:
            return f"{label_of_record(was, self.records)} [{key[:8]}]"
        return f"[{key[:8]}], of which nothing can be read any more" if key else ""

    def placed_changes(
        self, promise: ExperimentStatePromise, record: Record
    ) -> list[tuple[tuple[str, ...], Change]]:
        """What differs between the code of now and that of a record, of one edge; each with what tells it
        from another change that reads the same."""
        pair = (promise.name, promise.code.digest, text(record.more.get("code")))
        if pair not in self._compared:
            self._compared[pair] = self._compare(promise, record)
        return self._compared[pair]

    def _compare(
        self, promise: ExperimentStatePromise, record: Record
    ) -> list[tuple[tuple[str, ...], Change]]:
        old = self._outline(record)
        here = ("", promise.name)
        if old is None:
            note = "what its code was can't be read any more"
            return [(here, Change("code", promise.name, note=note))]
        parts = compare(old[0], promise.code.sources)
        if not parts:
            note = "what differs is in no part that is shown (such as which name leads to which part)"
            return [(here, Change("code", promise.name, note=note))]
        own = [part for part in parts if part.is_version and part.name == "version"]
        if own and not (own[0].old and own[0].new):  # it stands for the code, or the code for it, from now on
            parts = [part for part in parts if part.kind == "data"] + own
        return [((part.origin,), _code_change(part, promise.name)) for part in parts]

    def value_changes(
        self, promise: ExperimentStatePromise, record: Record
    ) -> dict[str, list[tuple[tuple[str, ...], Change]]]:
        """What differs in the code behind those properties' values that are the same but for it, by
        property; each as `placed_changes`."""
        spelled = mapping(record.more.get("spelled"))
        found = {}
        for value in self._spellings.values(promise):
            if spelled.get(value.name) != value.digest:
                continue
            codes = " ".join(code.digest for code in value.codes)
            pair = (f"{promise.name}.{value.name}", codes, text(record.more.get("sources")))
            if pair not in self._compared:
                kept = self._outline(record)
                old = [] if kept is None else kept[1].get(pair[0], [])
                new = sections(with_values(Code("", ()), promise.name, [value]))[1][pair[0]]
                parts = compare(old, new) if old else []
                self._compared[pair] = [((part.origin,), _code_change(part, pair[0])) for part in parts]
            if self._compared[pair]:
                found[value.name] = self._compared[pair]
        return found

    def _outline(self, record: Record) -> tuple[list[Source], dict[str, list[Source]]] | None:
        """What the key of a kept node covers: of its code, and of the values of properties by name."""
        name = record.more.get("sources")
        if not isinstance(name, str) or not name:
            return None
        if name not in self._outlines:
            entries = _read(self.store, "sources", name)
            self._outlines[name] = sections(outline_from(entries)) if isinstance(entries, list) else None
        return self._outlines[name]

    def _environment(self, name: Any) -> Mapping[str, Any]:
        found = _read(self.store, "environments", name) if isinstance(name, str) else None
        return found if isinstance(found, dict) else {}


def text_of(described: Any) -> str:
    """A property's value, on one line."""
    return one_line(repr(understand(described)), 80)


def _reason(changes: Sequence[Change], only_code: bool) -> str:
    kinds = {change.kind for change in changes} - {"parent", "moment", "property"}
    what = (
        "data that it depends on"
        if kinds == {"data"}
        else "its version"
        if kinds == {"version"}
        else "its code"
    )
    if not only_code:
        return f"never computed, and {what} changed" if kinds else "never computed"
    if kinds:
        return f"{what} changed"
    if any(change.kind == "property" for change in changes):
        return "what counts of its properties changed"
    return "what it is made from changed above it"


def _stale(promise: ExperimentStatePromise, there: Set[str]) -> dict[str, str]:
    """Which missing nodes of the tree are not computed as they are, and why: their code is another by now."""
    stale = stale_nodes(promise.tree, there, _code_now)
    said = {}
    for key, one in stale.nodes.items():
        is_below = any(parent.key in stale.nodes for parent in one.parents)
        why = "that of what it is made from has changed since it was defined" if is_below else _STALE
        is_replaced = stale.is_replaced(one)
        then = "a run computes the node that was defined since in its place" if is_replaced else _AGAIN
        said[key] = f"{why}: {then}"
    return said


def _code_now(cls: type[Recipe] | None, state_class: type[ExperimentState]) -> str:
    try:
        return code_of(cls, state_class)
    except DagtreeError:  # data that it depends on is gone, say; what is defined with it can't run either
        return ""


def _code_change(part: PartChange, owner: str) -> Change:
    if part.is_version:
        name = f"{owner}.version" if part.name == "version" else part.name
        return Change("version", name, part.old, part.new)
    is_source = part.kind in ("function", "class", "file", "data")
    return Change(
        "data" if part.kind == "data" else "code" if is_source else "value",
        part.name,
        "" if is_source else part.old,
        "" if is_source else part.new,
        diff=part.diff,
        chain=part.chain,
        place=part.place,
        note=str(part) if is_source else "",
    )


def told_as(placed: tuple[tuple[str, ...], Change]) -> tuple[object, ...]:
    """What tells a change from another, however it is reached."""
    origin, change = placed
    return *origin, change.kind, change.name, change.place, change.old, change.new, change.diff


def _property_change(name: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> Change:
    texts, digests = [], []
    for properties in (old, new):
        value = understand(properties[name]) if name in properties else None
        texts.append(repr(value) if name in properties else "")
        digests.append(digest(repr(value).encode("utf-8", "surrogatepass")))
        if isinstance(value, Described) and value.digest:
            digests[-1] = value.digest
    was, now = told_apart(texts[0], texts[1], digests[0], digests[1], 80)
    note = ""
    if texts[0] == texts[1]:
        said = f"{name}={one_line(texts[0], 80)}"
        note = f"{said} reads as it did; its code, or what else it holds, is another ({digests[0][:8]} → "
        note += f"{digests[1][:8]})"
    return Change("property", name, was, now, note=note)


def _hidden_changes(promise: ExperimentStatePromise, closest: Record) -> Iterable[Change]:
    """Keys differ, and nothing that is written down does: what counts of the properties changed."""
    ignored = ignored_by(promise) & mapping(closest.more.get("properties")).keys()
    for name in sorted(ignored):
        yield Change("property", name, note=f"{name} is in `ignores` and counts no more, or not as it did")
    if not ignored:
        note = "the same values count in another way: `ignores`, how a value is encoded, or what is called"
        note += " by a function among them, changed"
        yield Change("property", "", note=note)


def _read(store: Store, folder: Any, name: str) -> Any:
    """What is kept beside the nodes; None when it is gone, or not what was written."""
    try:
        content = store.read_once(folder, name)
        return json.loads(content) if content is not None and digest(content) == name else None
    except (OSError, ValueError, RecursionError):
        return None
