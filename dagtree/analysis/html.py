"""Nodes and sets of nodes as HTML for notebooks: no script, no network, every text escaped."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from .facts import NodeFacts, measured, property_lines
from .text import duration_text, number_text, shorten, size_text, time_text, value_text

__all__ = [
    "STATUS_MARKS",
    "blocks_html",
    "counts_text",
    "graph_html",
    "node_html",
    "rows_html",
    "table_html",
]

# A mark of its own for each status, so that no one depends on colour.
STATUS_MARKS = {
    "planned": "○",
    "running": "◐",
    "done": "●",
    "failed": "✖",
    "skipped": "⊘",
    "evicted": "◌",
    "damaged": "▲",
}
_COLOURS = {
    "planned": "#6b7280",
    "running": "#0072b2",
    "done": "#009e73",
    "failed": "#d55e00",
    "skipped": "#8a6d00",
    "evicted": "#6b7280",
    "damaged": "#b0408a",
}
_ROWS = 60
_HISTORY_ROWS = 12

# Greys with transparency, so that it reads on the notebook's own background, light or dark.
_STYLE = (
    "<style>"
    ".dagtree-html{font-size:13px;line-height:1.45;max-width:100%}"
    ".dagtree-html .scroll{overflow:auto;max-height:640px}"
    ".dagtree-html table{border-collapse:collapse}"
    ".dagtree-html th,.dagtree-html td{text-align:left;vertical-align:top;padding:3px 10px;"
    "border-bottom:1px solid rgba(128,128,128,.3);max-width:34em;overflow-wrap:anywhere}"
    ".dagtree-html .n{text-align:right;white-space:nowrap;font-variant-numeric:tabular-nums}"
    ".dagtree-html .tag{display:inline-block;border:1px solid rgba(128,128,128,.6);border-radius:8px;"
    "padding:0 6px;margin:1px 3px 1px 0}"
    ".dagtree-html pre{white-space:pre-wrap;overflow:auto;max-height:320px;margin:4px 0}"
    ".dagtree-html .dim{opacity:.75}"
    "</style>"
)


def _text(value: str, limit: int = 120) -> str:
    return escape(shorten(value, limit))


def _status(status: str) -> str:
    colour = _COLOURS.get(status, "#6b7280")
    mark = f'<span style="color:{colour}">{STATUS_MARKS.get(status, "?")}</span>'
    return f'<span style="white-space:nowrap">{mark} {_text(status)}</span>'


def _tags(tags: Sequence[str]) -> str:
    chips = "".join(f'<span class="tag">{_text(tag, 60)}</span>' for tag in tags[:12])
    return chips + (f" and {len(tags) - 12:,} more" if len(tags) > 12 else "")


def _lines(lines: Sequence[str], most: int = 8) -> str:
    shown = "<br>".join(escape(line) for line in lines[:most])
    return shown + (f'<br><span class="dim">… {len(lines) - most:,} more</span>' if len(lines) > most else "")


def _path(path: str, limit: int = 70) -> str:
    names = path.split("/")
    if len(names) > 8:
        path = "/".join([*names[:3], f"… {len(names) - 6} more …", *names[-3:]])
    return _text(path, limit)


def counts_text(nodes: Iterable[NodeFacts]) -> str:
    """``7 nodes: 5 done, 1 failed, 1 skipped``."""
    counts: dict[str, int] = {}
    for node in nodes:
        counts[node.status] = counts.get(node.status, 0) + 1
    total = sum(counts.values())
    known = [status for status in STATUS_MARKS if status in counts]
    known += [status for status in counts if status not in STATUS_MARKS]
    each = ", ".join(f"{counts[status]:,} {shorten(status)}" for status in known)
    return f"{total:,} node{'' if total == 1 else 's'}" + (f": {each}" if each else "")


def table_html(nodes: Sequence[NodeFacts]) -> str:
    """A table with a row a node; a long one is cut, and says so."""
    rows = "".join(map(_row, nodes[:_ROWS]))
    more = len(nodes) - _ROWS
    cut = f'<div class="dim">… and {more:,} more nodes; slice the set to see others</div>' if more > 0 else ""
    names = ("path", "tags", "status", "properties", "metrics and results", "seconds", "bytes", "key")
    head = "".join(
        f'<th class="n">{name}</th>' if name in ("seconds", "bytes") else f"<th>{name}</th>" for name in names
    )
    table = (
        f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>'
        if rows
        else ""
    )
    return f'{_STYLE}<div class="dagtree-html"><div>{escape(counts_text(nodes))}</div>{table}{cut}</div>'


def _row(node: NodeFacts) -> str:
    values = [f"{name} {value}" for name, value in measured(node)]
    cells = (
        f"<td>{_path(node.path)}</td><td>{_tags(node.tags)}</td><td>{_status(node.status)}</td>"
        f"<td>{_lines(property_lines(node))}</td><td>{_lines(values)}</td>"
        f'<td class="n">{escape(duration_text(node.seconds))}</td>'
        f'<td class="n">{escape(size_text(node.size_bytes)) if node.size_bytes else ""}</td>'
        f"<td><code>{_text(node.key[:8])}</code></td>"
    )
    return f"<tr>{cells}</tr>"


def node_html(node: NodeFacts, more: Mapping[str, Any], history: Sequence[Mapping[str, Any]]) -> str:
    """All facts of one node; ``more`` is the cold part of its record."""
    facts = [
        ("status", _status(node.status)),
        ("path", _path(node.path, 400)),
        ("key", f"<code>{_text(node.key)}</code>"),
        ("parents", "<br>".join(f"<code>{_text(key)}</code>" for key in node.parent_keys)),
        ("tags", _tags(node.tags)),
        ("module", _text(str(more.get("module") or ""))),
        (
            "properties",
            _lines([f"{shorten(k, 80)}={value_text(v, 200)}" for k, v in node.properties.items()], 40),
        ),
        ("metrics and results", _lines([f"{name} {value}" for name, value in measured(node, 80)], 40)),
        ("started", escape(time_text(more.get("started")))),
        ("seconds", escape(duration_text(node.seconds))),
        ("bytes", escape(size_text(node.size_bytes)) if node.size_bytes else ""),
        ("device", _text(str(more.get("device") or ""))),
        ("code", f"<code>{_text(str(more['code']))}</code>" if more.get("code") else ""),
    ]
    rows = "".join(f"<tr><th>{name}</th><td>{value}</td></tr>" for name, value in facts if value)
    return (
        f'{_STYLE}<div class="dagtree-html"><div><b>{_text(node.label, 300)}</b></div>'
        f"<table><tbody>{rows}</tbody></table>{_error(node.error)}{_history(history)}</div>"
    )


def rows_html(titles: Sequence[str], rows: Iterable[Sequence[str]], more: int = 0) -> str:
    """A table of texts, the first two columns to the left; ``more`` rows are left out."""
    marks = ("", "", *[' class="n"'] * len(titles))
    head = "".join(f"<th{mark}>{_text(title)}</th>" for mark, title in zip(marks, titles, strict=False))
    lines = (
        "".join(f"<td{mark}>{_text(text)}</td>" for mark, text in zip(marks, row, strict=False))
        for row in rows
    )
    body = "".join(f"<tr>{line}</tr>" for line in lines)
    cut = f'<div class="dim">… and {more:,} more</div>' if more > 0 else ""
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    return f'<div class="scroll">{table}</div>{cut}'


def blocks_html(
    title: str, blocks: Iterable[tuple[str, Sequence[str]]], texts: Iterable[str], table: str
) -> str:
    """Named groups of lines, then texts as they stand, then a table that is HTML already."""
    rows = "".join(
        f"<tr><th>{_text(name)}</th><td>{'<br>'.join(_text(line, 400) for line in lines)}</td></tr>"
        for name, lines in blocks
        if lines
    )
    shown = "".join(f"<pre>{escape(_xml(text[:20_000]))}</pre>" for text in texts)
    return (
        f'{_STYLE}<div class="dagtree-html"><div><b>{_text(title, 300)}</b></div>'
        f"<table><tbody>{rows}</tbody></table>{shown}{table}</div>"
    )


def _error(error: Mapping[str, Any] | None) -> str:
    if not error:
        return ""
    said = f"{error.get('type', 'error')}: {error.get('message', '')}"
    trace = str(error.get("traceback") or "")[-20_000:]
    return f"<div><b>{_text(said, 600)}</b></div>" + (f"<pre>{escape(_xml(trace))}</pre>" if trace else "")


def _xml(text: str) -> str:
    return "".join(char if char in "\n\t" or char.isprintable() else "\ufffd" for char in text)


def _history(history: Sequence[Mapping[str, Any]]) -> str:
    if not history:
        return ""
    names = list(dict.fromkeys(name for one in history for name in one["values"]))[:8]
    head = "".join(f'<th class="n">{_text(name, 40)}</th>' for name in names)
    rows = []
    for one in history[-_HISTORY_ROWS:]:
        cells = "".join(f'<td class="n">{_cell(one["values"], name)}</td>' for name in names)
        rows.append(f'<tr><td class="n">{escape(str(one["moment"]))}</td>{cells}</tr>')
    more = len(history) - _HISTORY_ROWS
    cut = f'<div class="dim">and {more:,} moments before; node.history has all</div>' if more > 0 else ""
    head = f'<tr><th class="n">moment</th>{head}</tr>'
    return f"<table><thead>{head}</thead><tbody>{''.join(rows)}</tbody></table>{cut}"


def _cell(values: Mapping[str, Any], name: str) -> str:
    return escape(number_text(values[name])) if name in values else ""


def graph_html(title: str, counts: str, svg: str, cut: int) -> str:
    """The drawing in a box that scrolls, below its counts; ``cut`` nodes are not in it."""
    more = f'<div class="dim">… and {cut:,} more nodes; graph.draw() draws all</div>' if cut > 0 else ""
    name = f"<b>{_text(title, 200)}</b> " if title else ""
    return (
        f'{_STYLE}<div class="dagtree-html"><div>{name}{escape(counts)}</div>'
        f'<div class="scroll">{svg}</div>{more}</div>'
    )
