"""A picture as a self-contained SVG: no script, no network, light and dark, every text escaped."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from .layout import Arrow, Direction, Size, arrange, best_direction
from .measure import flow, mono_width, text_width
from .picture import Box, Picture

__all__ = ["direction_of", "to_svg"]

_SANS = "system-ui,-apple-system,'Segoe UI',Roboto,'Helvetica Neue',Arial,sans-serif"
_MONO = "ui-monospace,SFMono-Regular,Menlo,Consolas,monospace"
_NAME, _SMALL = 12, 11
_PAD, _LINE, _CHIP = 8, 16, 18
_LIMIT = 244.0
_LABEL_LIMIT = 200.0

# (class, light, dark). Colours are those of Okabe and Ito, darkened or lightened until they read;
# no custom properties, for the programs that turn SVG into PDF do not know them.
_COLOURS = {
    "planned": ("#6b7280", "#9ca3af"),
    "running": ("#0060a0", "#5ab4f0"),
    "done": ("#00805c", "#2fc498"),
    "failed": ("#c04a00", "#ff8a3d"),
    "skipped": ("#7a5f00", "#e0b020"),
    "evicted": ("#6b7280", "#9ca3af"),
    "damaged": ("#a3307e", "#f08acb"),
}
_CHIPS = (
    ("#d9ecfb", "#123a57"),
    ("#fbe9cf", "#54390b"),
    ("#d5f2e6", "#0c4534"),
    ("#f6dcec", "#55203f"),
    ("#f7f0bd", "#4b4409"),
    ("#e4e1fa", "#33305f"),
    ("#fadfd3", "#5a2a14"),
    ("#e3e7ea", "#39414a"),
)


def _style() -> str:
    light = [
        f"text{{font-family:{_SANS};font-size:{_SMALL}px;fill:#1f2328}}",
        f".k{{font-family:{_MONO};fill:#57606a}}",
        f".r{{font-size:{_NAME}px;font-weight:600}}",
        ".p{fill:#424a53}",
        ".h{paint-order:stroke;stroke:#fff;stroke-width:3px;stroke-linejoin:round}",
        ".bg{fill:#fff}",
        ".b{fill:#fbfcfd;stroke:#aab2bb}",
        ".a{fill:none;stroke:#6e7781;stroke-width:1.3}",
        ".x{fill:none;stroke:#7b4fb5;stroke-width:1.3;stroke-dasharray:5 3}",
        ".ah{fill:#6e7781}",
        ".xh{fill:#7b4fb5}",
    ]
    dark = [
        "text{fill:#e6edf3}",
        ".k{fill:#9da7b1}",
        ".p{fill:#c2cad2}",
        ".h{stroke:#0f1318}",
        ".bg{fill:#0f1318}",
        ".b{fill:#181d24;stroke:#4b545e}",
        ".a{stroke:#8b949e}",
        ".x{stroke:#b894e8}",
        ".ah{fill:#8b949e}",
        ".xh{fill:#b894e8}",
    ]
    for status, (on_light, on_dark) in _COLOURS.items():
        for rules, colour in ((light, on_light), (dark, on_dark)):
            rules.append(
                f".f-{status}{{fill:{colour}}}.s-{status}{{fill:none;stroke:{colour};stroke-width:1.6}}"
            )
    for at, (on_light, on_dark) in enumerate(_CHIPS):
        light.append(f".c{at}{{fill:{on_light}}}")
        dark.append(f".c{at}{{fill:{on_dark}}}")

    # Every rule says `.dagtree`, because a notebook shares one style sheet with all its cells.
    def scoped(rules: Sequence[str]) -> str:
        return "".join(f".dagtree {part}}}" for rule in rules for part in rule.split("}") if part)

    return f"<style>{scoped(light)}@media (prefers-color-scheme:dark){{{scoped(dark)}}}</style>"


@dataclass(frozen=True, slots=True)
class _Drawn:
    """One box with its lines broken: rows of (class, text, x, width), and its size."""

    rows: tuple[tuple[tuple[str, str, float, float], ...], ...]
    width: float
    height: float
    label: tuple[tuple[str, str], ...]
    label_width: float


def _known(status: str) -> str:
    return status if status in _COLOURS else "planned"


def _draw_box(box: Box, chips: dict[str, int], direction: Direction) -> _Drawn:
    items: list[tuple[str, str, float]] = [("mark", box.status, 12.0)]
    if box.heading:
        items.append(("r", box.heading, text_width(box.heading, _NAME, bold=True)))
    items.append(("k", box.short_key, mono_width(box.short_key, _SMALL)))
    if box.status != "done":
        items.append((f"f-{_known(box.status)}", box.status, text_width(box.status, _SMALL, bold=True)))
    for tag in box.tags:
        group = chips.setdefault(tag.partition(":")[0], len(chips) % len(_CHIPS))
        items.append((f"c{group}", tag, text_width(tag, _SMALL) + 12))
    if box.more_tags:
        more = f"+{box.more_tags:,} tags"
        items.append(("k", more, mono_width(more, _SMALL)))
    own = box.properties if box.heading else ()
    properties = [("p", text, text_width(text, _SMALL)) for text in own]
    values = [("v", value, text_width(value, _SMALL)) for value in box.values]
    rows = []
    width = 84.0
    for part, gap in ((items, 6.0), (properties, 8.0), (values, 12.0)):
        for line in flow([item[2] for item in part], gap, _LIMIT):
            x, row = float(_PAD), []
            for at in line:
                kind, text, wide = part[at]
                row.append((kind, text, x, wide))
                x += wide + gap
            width = max(width, x - gap + _PAD)
            rows.append(tuple(row))
    label = _label(box, direction)
    label_width = max((text_width(t, _NAME if k == "r" else _SMALL, k == "r") for k, t in label), default=0.0)
    return _Drawn(tuple(rows), width, len(rows) * _CHIP + 8, tuple(label), label_width + (6 if label else 0))


def _label(box: Box, direction: Direction) -> list[tuple[str, str]]:
    if not box.recipe:
        return []
    widths = [text_width(text + ",", _SMALL) for text in box.properties]
    lines = flow(widths, 4.0, _LABEL_LIMIT if direction == "right" else 1.5 * _LABEL_LIMIT)
    texts = [", ".join(box.properties[at] for at in line) for line in lines]
    texts = [text + ("," if at < len(texts) - 1 else "") for at, text in enumerate(texts)]
    return [("r", box.recipe), *(("p", text) for text in texts)]


def _size(box: Box, drawn: _Drawn, direction: Direction) -> Size:
    lines = len(drawn.label)
    # To the right, one line stands above the arrow and all others below it; room is kept on both sides.
    high = 2 * max(lines - 1, 1) * 14 + 4 if direction == "right" else lines * 14 + 8
    return Size(
        drawn.width, drawn.height, drawn.label_width, high if lines else 0, box.parents, bool(box.recipe)
    )


def direction_of(picture: Picture) -> Direction:
    """The direction in which the picture reads best."""
    chips: dict[str, int] = {}
    drawn = [_draw_box(box, chips, "right") for box in picture.boxes]
    return best_direction([_size(box, one, "right") for box, one in zip(picture.boxes, drawn, strict=True)])


def to_svg(picture: Picture, direction: Direction | None = None) -> str:
    """The picture as SVG text; linear in its boxes."""
    direction = direction or direction_of(picture)
    chips: dict[str, int] = {}
    drawn = [_draw_box(box, chips, direction) for box in picture.boxes]
    layout = arrange(
        [_size(box, one, direction) for box, one in zip(picture.boxes, drawn, strict=True)], direction
    )
    legend, legend_width = _legend(picture, any(not arrow.leading for arrow in layout.arrows))
    width, height = max(layout.width, legend_width + 36), layout.height + 26
    name = escape(picture.title or f"dagtree: {picture.size}")
    place = f'width="{width:.0f}" height="{height:.0f}"'
    seen = f'role="img" aria-label="{name}" viewBox="0 0 {width:.0f} {height:.0f}"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" class="dagtree" {place} {seen}>',
        f"<title>{name}</title>",
        _style(),
        f'<rect class="bg" {place}/>',
    ]
    # Arrows of further parents first: where they must cross something, they lie below it.
    parts += [_arrow(arrow) for arrow in sorted(layout.arrows, key=lambda arrow: arrow.leading)]
    for box, one, corner, label in zip(picture.boxes, drawn, layout.boxes, layout.labels, strict=True):
        inside = _label_svg(one, label, direction) + _box_svg(box, one, corner)
        parts.append(f"<g><title>{escape(box.title)}</title>{inside}</g>")
    parts.append(f'<g transform="translate(18 {layout.height + 6:.0f})">{legend}</g></svg>')
    return "\n".join(parts) + "\n"


def _arrow(arrow: Arrow) -> str:
    line, head = ("a", "ah") if arrow.leading else ("x", "xh")
    (px, py), (x, y) = arrow.points[-2:]
    if abs(x - px) >= abs(y - py):
        step = 7 if x >= px else -7
        tip = f"M{x:.1f} {y:.1f}l{-step} -3.5v7z"
    else:
        step = 7 if y >= py else -7
        tip = f"M{x:.1f} {y:.1f}l-3.5 {-step}h7z"
    start = (
        '<circle class="ah" cx="{:.1f}" cy="{:.1f}" r="2"/>'.format(*arrow.points[0])
        if arrow.parent is None
        else ""
    )
    dashed = ' stroke-dasharray="2 3"' if arrow.parent is None else ""
    return (
        f'<path class="{line}"{dashed} d="{_rounded(arrow.points)}"/><path class="{head}" d="{tip}"/>{start}'
    )


def _rounded(points: Sequence[tuple[float, float]]) -> str:
    path = "M{:.1f} {:.1f}".format(*points[0])
    for before, corner, after in zip(points, points[1:], points[2:], strict=False):
        near = [_towards(corner, before), _towards(corner, after)]
        path += "L{:.1f} {:.1f}Q{:.1f} {:.1f} {:.1f} {:.1f}".format(*near[0], *corner, *near[1])
    return path + "L{:.1f} {:.1f}".format(*points[-1])


def _towards(corner: tuple[float, float], other: tuple[float, float]) -> tuple[float, float]:
    (x, y), (dx, dy) = corner, (other[0] - corner[0], other[1] - corner[1])
    length = abs(dx) + abs(dy)
    share = min(6.0, length / 2) / length if length else 0.0
    return x + dx * share, y + dy * share


def _label_svg(drawn: _Drawn, anchor: tuple[float, float], direction: Direction) -> str:
    x, y = anchor
    y += -5 if direction == "right" else 10
    out = []
    for at, (kind, text) in enumerate(drawn.label):
        down = 14 * at + (4 if direction == "right" and at else 0)
        out.append(f'<text class="{kind} h" x="{x:.1f}" y="{y + down:.1f}">{escape(text)}</text>')
    return "".join(out)


def _box_svg(box: Box, drawn: _Drawn, corner: tuple[float, float]) -> str:
    x, y = corner
    place = f'x="{x:.1f}" y="{y:.1f}" width="{drawn.width:.1f}" height="{drawn.height:.1f}" rx="5"'
    out = [f'<rect class="b" {place}/>']
    if box.status != "done":
        dashed = ' stroke-dasharray="5 3"' if box.status in ("planned", "skipped", "evicted") else ""
        out.append(f'<rect class="s-{_known(box.status)}"{dashed} {place}/>')
    for at, row in enumerate(drawn.rows):
        middle = y + 4 + _CHIP * (at + 0.5)
        for kind, text, left, wide in row:
            out.append(_item(kind, text, x + left, middle, wide))
    return "".join(out)


def _item(kind: str, text: str, x: float, middle: float, wide: float) -> str:
    if kind == "mark":
        return _mark(text, x + 5, middle)
    if kind[0] == "c":
        chip = (
            f'<rect class="{kind}" x="{x:.1f}" y="{middle - 8:.1f}" width="{wide:.1f}" height="16" rx="8"/>'
        )
        return f'{chip}<text x="{x + 6:.1f}" y="{middle + 4:.1f}">{escape(text)}</text>'
    bold = ' font-weight="600"' if kind.startswith("f-") else ""
    return f'<text class="{kind}"{bold} x="{x:.1f}" y="{middle + 4:.1f}">{escape(text)}</text>'


def _mark(status: str, x: float, y: float) -> str:
    """A shape for each status, so that no one depends on colour."""
    known = _known(status)
    fill, stroke = f'class="f-{known}"', f'class="s-{known}"'
    circle = f'cx="{x:.1f}" cy="{y:.1f}" r="4.2"'
    match status:
        case "done":
            return f"<circle {fill} {circle}/>"
        case "failed":
            return f'<path {stroke} d="M{x - 3.8:.1f} {y - 3.8:.1f}l7.6 7.6m0 -7.6l-7.6 7.6"/>'
        case "running":
            return (
                f'<circle {stroke} {circle}/><path {fill} d="M{x:.1f} {y - 4.2:.1f}a4.2 4.2 0 0 1 0 8.4z"/>'
            )
        case "skipped":
            return f'<circle {stroke} {circle}/><path {stroke} d="M{x - 3:.1f} {y + 3:.1f}l6 -6"/>'
        case "evicted":
            return f'<circle {stroke} stroke-dasharray="1.5 2" {circle}/>'
        case "damaged":
            return f'<path {fill} d="M{x:.1f} {y - 5:.1f}l5.4 9.4h-10.8z"/>'
    return f"<circle {stroke} {circle}/>"


def _legend(picture: Picture, extra: bool) -> tuple[str, float]:
    out, x = [], 0.0
    if any(len(box.statuses) > 1 for box in picture.boxes):
        out.append(f'<text x="0" y="10">{picture.size}:</text>')
        x += text_width(picture.size, _SMALL) + 14
    for status, count in picture.counts():
        text = f"{count:,} {status}"
        out.append(f'{_mark(status, x + 5, 6)}<text x="{x + 14:.1f}" y="10">{escape(text)}</text>')
        x += text_width(text, _SMALL) + 30
    if extra:
        text = "further parents"
        out.append(f'<path class="x" d="M{x:.1f} 6h22"/><text x="{x + 27:.1f}" y="10">{text}</text>')
        x += text_width(text, _SMALL) + 42
    return "".join(out), x
