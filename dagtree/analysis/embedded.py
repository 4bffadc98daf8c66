"""What a page carries of its nodes, as JSON: what the drawing needs, and apart from it what a click asks for.

Nothing is unpickled, and nothing that is damaged or missing stops the page: it says so where it would be.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from .facts import NodeFacts, measures
from .html import STATUS_MARKS
from .recorded import Recorded, members
from .select import exactly
from .text import duration_text, number_text, shorten, size_text, time_text, value_text, visible

__all__ = ["Limits", "as_json", "embedded"]

_TAGS, _PROPERTIES, _MEASURES, _CURVES = 40, 60, 80, 24
_LONGEST = 400
_FACTS = ("module", "device", "code", "seeds", "accepted", "differs")
_WHERE = ("host", "user", "platform", "python", "implementation", "machine", "cores", "dagtree")


@dataclass(frozen=True)
class Limits:
    """How much a page carries beside the drawing, in characters where nothing else is said; what is more is
    cut, and the page says so. ``reads`` is how many logs are read at most: each is a file."""

    logs: int = 4_000_000
    log: int = 20_000
    reads: int = 20_000
    code: int = 3_000_000
    part: int = 20_000
    points: int = 400_000  # of all curves together
    curve: int = 240  # points of one
    tensors: int = 150_000  # entries


@dataclass
class _Interned:
    """Values that many nodes share, each once."""

    items: list[Any] = field(default_factory=list)
    _places: dict[Any, int] = field(default_factory=dict)

    def place(self, item: Any, identity: Any = None) -> int:
        key = item if identity is None else identity
        if key not in self._places:
            self._places[key] = len(self.items)
            self.items.append(item)
        return self._places[key]


def embedded(nodes: Sequence[NodeFacts], limits: Limits) -> tuple[dict[str, Any], dict[str, Any]]:
    """The nodes for drawing, searching and colouring; and what lies beside them. Both hold only what JSON
    has."""
    drawing, beside = _Drawing(nodes), _Beside(nodes, limits)
    hot = [drawing.node(node) for node in nodes]
    cold = [beside.node(node) for node in nodes]
    return (
        {
            "nodes": hot,
            "names": drawing.names.items,
            "values": drawing.values.items,
            "tags": drawing.tags.items,
            "marks": STATUS_MARKS,
        },
        {
            "nodes": cold,
            "codes": beside.codes,
            "parts": beside.parts.items,
            "environments": beside.environments,
            "tensors": beside.tensors.items,
            "notes": beside.notes(),
        },
    )


def _told(read: Callable[[], Any], otherwise: Any) -> Any:
    """A fact, or what stands for it where the record is damaged: one bad line must not cost the page."""
    try:
        return read()
    except Exception:
        return otherwise


class _Drawing:
    def __init__(self, nodes: Sequence[NodeFacts]) -> None:
        self.places = {node.key: place for place, node in enumerate(nodes)}
        self.names, self.values, self.tags = _Interned(), _Interned(), _Interned()

    def node(self, node: NodeFacts) -> dict[str, Any]:
        above = _told(lambda: list(dict.fromkeys(node.parent_keys)), [])
        tags = _told(lambda: list(node.tags), [])
        found: dict[str, Any] = {
            "k": node.key,
            "n": shorten(node.name, 60),
            "d": node.kind,
            "s": shorten(node.status, 20),
            "p": [self.places[key] for key in above if key in self.places],
            "q": self._pairs(_told(lambda: list(node.properties.items())[:_PROPERTIES], []), value_text),
            "m": self._pairs(_told(lambda: measures(node, 60)[:_MEASURES], []), number_text),
            "t": [self.tags.place(shorten(tag, 80)) for tag in tags[:_TAGS]],
        }
        missing = [shorten(key, 32) for key in above if key not in self.places]
        seconds, size_bytes = (
            _told(lambda: _number(node.seconds), None),
            _told(lambda: _number(node.size_bytes), None),
        )
        failure = _told(lambda: node.error, None)
        statuses = [shorten(one.status, 20) for one in members(node)]
        counts = {status: statuses.count(status) for status in dict.fromkeys(statuses)}
        more: dict[str, Any] = {
            "x": missing,
            "c": seconds,
            "b": size_bytes,
            "u": len(tags) - _TAGS if len(tags) > _TAGS else 0,
            "e": _failed(failure),
            "f": len(statuses) if len(statuses) > 1 or not isinstance(node, Recorded) else 0,
            "g": counts if len(statuses) > 1 else None,
        }
        return found | {name: value for name, value in more.items() if value}

    def _pairs(
        self, pairs: Sequence[tuple[Any, Any]], as_text: Callable[[object, int], str]
    ) -> list[tuple[int, int]]:
        """Names and values by their places: equal values, and no others, have the same place. A value is its
        text, its number or None, a text without quotes, and whether the number is all that it is: of an
        interval it isn't."""
        found = []
        for name, value in pairs:
            plain = shorten(value, _LONGEST) if isinstance(value, str) else None
            number = _number(value)
            entry = (as_text(value, _LONGEST), number, plain, number is not None and number == value)
            identity = (as_text, exactly(value))
            found.append((self.names.place(shorten(str(name), 60)), self.values.place(entry, identity)))
        return found


def _number(value: object) -> float | int | None:
    """A finite number as JSON has it: also what stands for several, such as a mean. bools are categories."""
    if value is None or isinstance(value, bool | str | bytes):
        return None
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        return None
    if not math.isfinite(number):
        return None
    return int(number) if number.is_integer() and abs(number) < 2**53 else number


def _failed(error: Any) -> str:
    if not isinstance(error, Mapping):
        return ""
    return shorten(f"{error.get('type', 'error')}: {error.get('message', '')}", 300)


def _readable(text: str) -> str:
    """A text of several lines as a terminal would leave it, everything invisible written as an escape."""
    lines = (line.rsplit("\r", 1)[-1].expandtabs(4) for line in text.replace("\r\n", "\n").split("\n"))
    return "\n".join(map(visible, lines))


class _Beside:
    """Environments, code and tensors are kept once for all nodes that share them."""

    def __init__(self, nodes: Sequence[NodeFacts], limits: Limits) -> None:
        self.limits = limits
        self.codes: list[Any] = []
        self.parts = _Interned()
        self.environments: list[Any] = []
        self.tensors = _Interned()
        self._code_of: dict[str, int] = {}
        self._environment_of: dict[str, int] = {}
        self._left = {
            "logs": limits.logs,
            "reads": limits.reads,
            "code": limits.code,
            "tensors": limits.tensors,
        }
        self._cut = {"logs": 0, "code": 0, "tensors": 0}
        curves = sum(min(len(_told(partial(getattr, node, "metrics"), {})), _CURVES) for node in nodes)
        self._points = max(16, min(limits.curve, limits.points // max(curves, 1)))

    def notes(self) -> list[str]:
        said = {
            "logs": "the output of {} nodes (node.output has it)",
            "code": "the text of {} parts of the code (node.sources has it)",
            "tensors": "the list of the tensors of {} nodes (node.tensors() has them)",
        }
        return [said[what].format(f"{count:,}") for what, count in self._cut.items() if count]

    def node(self, node: NodeFacts) -> dict[str, Any]:
        if not isinstance(node, Recorded):
            return self._several(node)
        more = _told(lambda: dict(node.record.more), {})
        found: dict[str, Any] = {
            "a": _told(lambda: self._facts(node, more), []),
            "h": _told(lambda: self._curves(node), []),
            "v": self._environment(node, more),
            "g": self._code(node, more),
            "o": self._log(node, more),
            "w": _told(lambda: self._tensors(more), None),
            "e": _told(lambda: _trace(node.error), ""),
        }
        return {name: value for name, value in found.items() if value not in (None, [], "")}

    def _several(self, node: NodeFacts) -> dict[str, Any]:
        """Replicates that are shown as one: a line each."""
        rows = []
        members = list(getattr(node, "nodes", ()))
        for one in members[:200]:
            said = [
                f"{name} {number_text(value)}" for name, value in _told(partial(measures, one, 40), [])[:12]
            ]
            rows.append([one.key, shorten(one.label, 160), shorten(one.status, 20), "  ".join(said)])
        found: dict[str, Any] = {"r": rows}
        if members and isinstance(members[0], Recorded):
            found["g"] = self._code(members[0], _told(lambda: dict(members[0].record.more), {}))
        return found

    def _facts(self, node: Recorded, more: Mapping[str, Any]) -> list[list[str]]:
        facts = [("kind", node.kind), ("started", time_text(_number(more.get("started"))))]
        facts.append(("ended", time_text(_number(node.record.ended))))
        facts.append(("took", duration_text(_number(more.get("seconds")))))
        size = _number(more.get("bytes"))
        facts.append(("bytes", f"{size_text(int(size))} ({int(size):,})" if size else ""))
        for name in _FACTS:
            value = more.get(name)
            if value:
                text = shorten(value, 200) if isinstance(value, str) else value_text(value, 200)
                facts.append((name, text))
        return [[name, text] for name, text in facts if text]

    def _curves(self, node: Recorded) -> list[list[Any]]:
        """[name, moments, values, how many there were, how many of them aren't finite]."""
        series: dict[str, tuple[list[int], list[float | int | None]]] = {}
        for one in node.history:
            for name, value in one["values"].items():
                number = _number(value)
                if number is None and not isinstance(value, float):
                    continue
                if name in series or len(series) < _CURVES:
                    moments, values = series.setdefault(name, ([], []))
                    moments.append(int(one["moment"]))
                    values.append(number)
        found = []
        for name, (moments, values) in series.items():
            kept = _thinned(values, self._points)
            drawn = [values[at] for at in kept]
            short = [float(f"{value:.6g}") if isinstance(value, float) else value for value in drawn]
            infinite = sum(value is None for value in values)
            found.append([shorten(name, 60), [moments[at] for at in kept], short, len(values), infinite])
        return found

    def _environment(self, node: Recorded, more: Mapping[str, Any]) -> int | None:
        name = more.get("environment")
        if not isinstance(name, str):
            return None
        if name not in self._environment_of:
            self._environment_of[name] = len(self.environments)
            self.environments.append(self._read(lambda: _environment_facts(node)))
        return self._environment_of[name]

    def _code(self, node: Recorded, more: Mapping[str, Any]) -> int | None:
        name = more.get("sources")
        if not isinstance(name, str):
            return None
        if name not in self._code_of:
            self._code_of[name] = len(self.codes)
            self.codes.append(self._read(lambda: self._parts(node)))
        return self._code_of[name]

    def _read(self, read: Callable[[], Any]) -> Any:
        try:
            return read()
        except Exception as error:  # damaged or gone, or a store that can't be reached
            return shorten(str(error) or type(error).__name__, 400)

    def _parts(self, node: Recorded) -> list[int]:
        found = []
        for entry in getattr(node, "sources", ()):  # a Node has them
            if not isinstance(entry, Mapping):
                continue
            name, kind, module, file, digest, text = (
                str(entry.get(name) or "") for name in ("name", "kind", "module", "file", "digest", "text")
            )
            line = entry.get("line")
            where = (
                file.replace("\\", "/").rpartition("/")[2] + (f":{line}" if line else "") if file else module
            )
            identity = (name, kind, where, digest, text)
            fresh = identity not in self.parts._places
            shown = _readable(text[: self.limits.part])
            if len(text) > self.limits.part:
                shown += f"\n… {len(text) - self.limits.part:,} more characters"
            if fresh and len(shown) > self._left["code"]:
                shown, self._cut["code"] = "", self._cut["code"] + 1
            elif fresh:
                self._left["code"] -= len(shown)
            part = [shorten(name, 120), shorten(kind, 20), shorten(where, 120), shorten(digest, 32), shown]
            found.append(self.parts.place(part, identity))
        return found

    def _log(self, node: Recorded, more: Mapping[str, Any]) -> Any:
        """The end of the log; a list of one text where it can't be read."""
        if not isinstance(more.get("output"), str):
            return None
        if self._left["reads"] <= 0 or self._left["logs"] <= 0:
            self._cut["logs"] += 1
            return ["It is not in this page, which would be too large; node.output has it."]
        self._left["reads"] -= 1
        text = self._read(lambda: [str(getattr(node, "output", ""))])
        if isinstance(text, str):
            return [text]
        whole = text[0]
        most = min(self.limits.log, self._left["logs"])
        shown = _readable(whole[-most:])
        if len(whole) > most:
            shown = f"… {len(whole) - most:,} characters before\n{shown}"
        self._left["logs"] -= len(shown)
        return shown

    def _tensors(self, more: Mapping[str, Any]) -> Any:
        payload = more.get("payload")
        buffers = payload.get("buffers", ()) if isinstance(payload, Mapping) else ()
        known = [one for one in buffers if isinstance(one, Mapping) and one.get("kind") != "raw"]
        if not known:
            return None
        if len(known) > self._left["tensors"]:
            self._cut["tensors"] += 1
            return len(known)
        self._left["tensors"] -= len(known)
        return [self.tensors.place(entry) for entry in map(_tensor, known)]


def _tensor(buffer: Mapping[str, Any]) -> tuple[str, str, str, int, str]:
    shape = buffer.get("shape")
    axes = "×".join(str(axis) for axis in shape) if isinstance(shape, list) else "?"
    size = _number(buffer.get("size"))
    kind = str(buffer.get("holds") or buffer.get("dtype") or "?")
    digest = shorten(str(buffer.get("digest") or ""), 32)
    return shorten(str(buffer.get("name")), 120), shorten(kind, 24), shorten(axes, 60), int(size or 0), digest


def _environment_facts(node: Any) -> list[list[str]]:
    known = node.environment
    facts = [[name, shorten(str(known[name]), 120)] for name in _WHERE if known.get(name)]
    git = known.get("git")
    if isinstance(git, Mapping) and git.get("commit"):
        changed = " with changes" if git.get("dirty") else ""
        facts.append(["commit", shorten(f"{git['commit']}{changed}", 120)])
    packages = known.get("packages")
    if isinstance(packages, Mapping):
        facts += [[shorten(str(name), 80), shorten(str(said), 60)] for name, said in packages.items()]
    return facts


def _trace(error: Any) -> str:
    if not isinstance(error, Mapping):
        return ""
    said = f"{error.get('type', 'error')}: {error.get('message', '')}"
    return _readable(str(error.get("traceback") or said)[-20_000:])


def _thinned(values: Sequence[float | int | None], most: int) -> list[int]:
    """Which points stay: the first, the last, and of each stretch the lowest and the highest."""
    if len(values) <= most:
        return list(range(len(values)))
    stretches = max(most // 2 - 1, 1)
    kept = {0, len(values) - 1}
    for stretch in range(stretches):
        start, end = stretch * len(values) // stretches, (stretch + 1) * len(values) // stretches
        finite = [(value, at) for at in range(start, end) if (value := values[at]) is not None]
        if finite:
            kept |= {min(finite)[1], max(finite)[1]}
    return sorted(kept)


def as_json(value: Any) -> str:
    """JSON that is also harmless inside HTML: in ASCII, without ``<``, ``>`` and ``&``."""
    text = json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")
