"""A picture as a Graphviz graph, in plain labels: DOT has three ways to read a label as more than text."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .layout import Direction
from .picture import Box, Picture

if TYPE_CHECKING:
    import graphviz

__all__ = ["to_digraph"]

# fill, border, style: the word is in the label too.
_STYLES = {
    "planned": ("#ffffff", "#6b7280", "rounded,filled,dashed"),
    "running": ("#dbeeff", "#0072b2", "rounded,filled"),
    "done": ("#e3f5ee", "#009e73", "rounded,filled"),
    "failed": ("#ffe3d3", "#d55e00", "filled,bold"),
    "skipped": ("#fbf3d5", "#8a6d00", "rounded,filled,dashed"),
    "evicted": ("#f3f4f6", "#6b7280", "rounded,filled,dotted"),
    "damaged": ("#fbe3f2", "#b0408a", "filled,bold"),
}
_FONT = "Helvetica,Arial,DejaVu Sans,sans-serif"


def _text(text: str) -> str:
    r"""One line of a label; ``\`` begins an escape there, and ``&amp;`` is read as HTML's."""
    return text.replace("&", "&amp;").replace("\\", "\\\\")


def _label(lines: list[str]) -> str:
    import graphviz

    # Without nohtml a label from `<` to `>` would be read as HTML.
    label: str = graphviz.nohtml("\\n".join(map(_text, lines)))
    return label


def _pairs(texts: tuple[str, ...], separator: str, limit: int) -> list[str]:
    lines: list[str] = []
    for text in texts:
        if lines and len(lines[-1]) + len(separator) + len(text) <= limit:
            lines[-1] += separator + text
        else:
            lines.append(text)
    return lines


def _node_lines(box: Box) -> list[str]:
    lines = [box.heading, *_pairs(box.properties, ", ", 40)] if box.heading else []
    lines.append(f"{box.short_key}  {box.status}")
    more = (f"+{box.more_tags:,} tags",) if box.more_tags else ()
    lines += _pairs((*(f"[{tag}]" for tag in box.tags), *more), " ", 32)
    return lines + _pairs(box.values, "   ", 32)


def to_digraph(picture: Picture, direction: Direction) -> graphviz.Digraph:
    """The same picture for Graphviz; nodes are named by their keys."""
    import graphviz

    graph = graphviz.Digraph("dagtree")
    graph.attr(rankdir="LR" if direction == "right" else "TB", nodesep="0.15", ranksep="0.35")
    graph.attr("node", shape="box", fontname=_FONT, fontsize="10", margin="0.08,0.05", height="0.3")
    graph.attr("edge", fontname=_FONT, fontsize="9", color="#6e7781", arrowsize="0.6")
    for box in picture.boxes:
        fill, border, style = _STYLES.get(box.status, _STYLES["planned"])
        graph.node(
            box.key, _label(_node_lines(box)), tooltip=_label(box.title.split("\n")),
            fillcolor=fill, color=border, style=style,
        )  # fmt: skip
    for box in picture.boxes:
        lines = [box.recipe, *_pairs(box.properties, ", ", 30)]
        if not box.parents and box.recipe:
            graph.node(f"above {box.key}", "…", shape="plaintext", tooltip="a parent that isn't there")
            graph.edge(f"above {box.key}", box.key, _label(lines), style="dotted")
        for place, parent in enumerate(box.parents):
            if place == 0:
                graph.edge(picture.boxes[parent].key, box.key, _label(lines))
            else:
                graph.edge(picture.boxes[parent].key, box.key, style="dashed", color="#7b4fb5")
    return graph
