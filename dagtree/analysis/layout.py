"""Where boxes and arrows of a tree go: layers along the flow, lanes across it.

Each node's layer is its longest distance from a start. A node's first child stays in its lane, as a
line of commits does; every other child begins a lane below all that hangs from the one before. So
lanes of two subtrees never mix, arrows of the tree cross nothing, and a node has the size of its
text. Arrows from further parents run in thin lanes of their own. Linear in nodes and arrows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Literal

__all__ = ["Arrow", "Direction", "Layout", "Size", "arrange", "best_direction"]

Direction = Literal["right", "down"]

BEND = 22.0  # the part of a gutter where arrows turn; labels begin after it
ARROW = 12.0
LANE_GAP = 14.0
THIN_LANE = 9.0
MARGIN = 18.0
_AXIS = 14.0  # how far inside a box arrows from above enter it


@dataclass(frozen=True, slots=True)
class Size:
    """One box and the label of its arrow, in pixels; ``parents`` are indices, the first one leads."""

    width: float
    height: float
    label_width: float
    label_height: float
    parents: tuple[int, ...] = ()
    orphan: bool = False  # an arrow enters it from nowhere


@dataclass(frozen=True, slots=True)
class Arrow:
    """A polyline with right angles; ``leading`` from the first parent; ``parent`` None from nowhere."""

    parent: int | None
    child: int
    points: tuple[tuple[float, float], ...]
    leading: bool


@dataclass(frozen=True, slots=True)
class Layout:
    """Top left corners of boxes, anchors of labels, arrows.

    A label's anchor is the beginning of its room; in direction ``right`` its arrow runs along the
    anchor's y, in direction ``down`` the label hangs from it, right of the arrow.
    """

    direction: Direction
    width: float
    height: float
    boxes: tuple[tuple[float, float], ...]
    labels: tuple[tuple[float, float], ...]
    arrows: tuple[Arrow, ...]


@dataclass(frozen=True, slots=True)
class _Grid:
    layers: list[int]
    lanes: list[int]
    lane_count: int


def _grid(sizes: Sequence[Size]) -> _Grid:
    layers: list[int] = []
    children: list[list[int]] = [[] for _ in sizes]
    starts: list[int] = []
    for at, size in enumerate(sizes):
        # A parent that comes later closes a cycle; it may not push its child.
        above = [parent for parent in size.parents if parent < at]
        layers.append(1 + max((layers[parent] for parent in above), default=-1))
        (children[above[0]] if above else starts).append(at)
    lanes = [0] * len(sizes)
    count = 0
    stack = [(at, True) for at in reversed(starts)]
    while stack:
        at, opens = stack.pop()
        count += opens
        lanes[at] = count - 1
        below = children[at]
        stack.extend((child, True) for child in reversed(below[1:]))
        if below:
            stack.append((below[0], False))
    return _Grid(layers, lanes, count)


def _extents(sizes: Sequence[Size], grid: _Grid, down: bool) -> tuple[list[float], list[float], list[float]]:
    """The sizes of layers, of the gutters before them, and of lanes."""
    layer_count = 1 + max(grid.layers, default=-1)
    along, gutters = [0.0] * layer_count, [0.0] * layer_count
    across = [0.0] * grid.lane_count
    for at, size in enumerate(sizes):
        layer, lane = grid.layers[at], grid.lanes[at]
        along[layer] = max(along[layer], size.height if down else size.width)
        if size.parents or size.orphan:
            label = size.label_height if down else size.label_width
            gutters[layer] = max(gutters[layer], BEND + label + ARROW)
        wide = max(size.width, _AXIS + 8 + size.label_width) if down else max(size.height, size.label_height)
        across[lane] = max(across[lane], wide)
    return along, gutters, across


def best_direction(sizes: Sequence[Size]) -> Direction:
    """The direction whose picture needs less scrolling; sideways scrolling counts more."""
    grid = _grid(sizes)
    cost = {}
    for down in (False, True):
        along, gutters, across = _extents(sizes, grid, down)
        flow, breadth = sum(along) + sum(gutters), sum(across) + LANE_GAP * len(across)
        width, height = (breadth, flow) if down else (flow, breadth)
        cost[down] = max(width / 1400, 1.0) ** 2 * max(height / 900, 1.0)
    return "down" if cost[True] < 0.7 * cost[False] else "right"


def arrange(sizes: Sequence[Size], direction: Direction) -> Layout:
    """Place everything; parents that come later than their child (damage) keep their arrow."""
    down = direction == "down"
    grid = _grid(sizes)
    along, gutters, across = _extents(sizes, grid, down)
    leading = [
        next((parent for parent in size.parents if parent < at), None) for at, size in enumerate(sizes)
    ]
    further: list[list[tuple[int, int]]] = [[] for _ in across]  # (parent, child), by the child's lane
    for at, size in enumerate(sizes):
        further[grid.lanes[at]] += [(one, at) for one in dict.fromkeys(size.parents) if one != leading[at]]

    # Points are (along the flow, across it) until `_turned` makes them (x, y).
    ends = list(
        accumulate((gutter + layer for gutter, layer in zip(gutters, along, strict=True)), initial=MARGIN)
    )
    starts = [end - layer for end, layer in zip(ends[1:], along, strict=True)]
    lane_starts: list[float] = []
    edge = MARGIN
    for lane, wide in enumerate(across):
        edge += THIN_LANE * len(further[lane])
        lane_starts.append(edge)
        edge += wide + LANE_GAP
    flow, breadth = ends[-1] + MARGIN, max(edge - LANE_GAP, MARGIN) + MARGIN

    boxes: list[tuple[float, float]] = []
    outs: list[tuple[float, float]] = []  # where arrows leave a box
    labels: list[tuple[float, float]] = []
    for at, size in enumerate(sizes):
        layer, lane = grid.layers[at], grid.lanes[at]
        axis = lane_starts[lane] + (_AXIS if down else across[lane] / 2)
        boxes.append((starts[layer], axis - (_AXIS if down else size.height / 2)))
        outs.append((starts[layer] + (size.height if down else size.width), axis))
        label = starts[layer] - gutters[layer] + BEND
        labels.append((label, axis + 8) if down else (label, axis))

    arrows: list[Arrow] = []
    for at, size in enumerate(sizes):
        end, parent = (boxes[at][0], outs[at][1]), leading[at]
        if parent is not None:
            turn = ends[grid.layers[parent] + 1] + BEND * 0.65
            out = outs[parent]
            bends = [] if out[1] == end[1] else [(turn, out[1]), (turn, end[1])]
            arrows.append(Arrow(parent, at, _turned([out, *bends, end], down), True))
        elif size.orphan:
            nowhere = (end[0] - gutters[grid.layers[at]] + 4, end[1])
            arrows.append(Arrow(None, at, _turned([nowhere, end], down), True))
    leaving = 0
    for lane, runs in enumerate(further):
        entered: dict[int, int] = {}
        for place, (parent, at) in enumerate(runs):
            out, corner = outs[parent], boxes[at]
            run = lane_starts[lane] - THIN_LANE * (len(runs) - place) + 1
            # Side by side, so that one can be followed past the others.
            turn = ends[grid.layers[parent] + 1] + 2.5 + 3 * (leaving % 4)
            leaving += 1
            entered[at] = entered.get(at, -1) + 1
            into = min(corner[0] + 10 + 9 * entered[at], max(outs[at][0] - 4, corner[0] + 4))
            points = [out, (turn, out[1]), (turn, run), (into, run), (into, corner[1])]
            arrows.append(Arrow(parent, at, _turned(points, down), False))
    width, height = (breadth, flow) if down else (flow, breadth)
    return Layout(direction, width, height, _turned(boxes, down), _turned(labels, down), tuple(arrows))


def _turned(points: Sequence[tuple[float, float]], down: bool) -> tuple[tuple[float, float], ...]:
    return tuple((b, a) if down else (a, b) for a, b in points)
