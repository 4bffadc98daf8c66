"""Drawings say what a tree is, and survive any text in it, with or without Graphviz."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import types
import webbrowser
import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import graphviz
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dagtree.analysis.layout import Size, arrange, best_direction
from dagtree.errors import StorageError

needs_dot = pytest.mark.skipif(shutil.which("dot") is None, reason="Graphviz's dot isn't installed")

EVIL = [
    "<b>&amp;</b>", '"quoted" \\N \\G \\l {a|b}', "new\nline\ttab\r", "</svg><script>alert(1)</script>",
    "]]>", "🐉🏴\u200d☠️ emoji", "\x00\x1b[31m", "\u202eRLO", "\udc80 lone", "x" * 10_000, "日本語のタグ",
    "{<f0> left|<f1> right}", "a\\", '\\"', "&lt;", "<>", "%s {0} $HOME `id`", "\\" * 7 + '"', "", " ",
    "\ufffe\uffff", "--><!--", "'",
]  # fmt: skip


@pytest.fixture
def evil(grow: Any) -> Any:
    root = grow.root(**{'data"set<': "\\N<&>\n{|}"})
    for text in EVIL:
        grow.add(
            f"Train{text[:40]}",
            root,
            properties={"p" + text: text},
            tags=(text,),
            history=[[1, {text: 0.5}, 1.0]],
            results={text: {"value": {text: text}, "at": 1.0}},
        )
    grow.add("<b>html</b>", root)
    grow.add(
        "All",
        root,
        tags=tuple(EVIL),
        status="failed",
        error={"type": "E<", "message": EVIL[3], "traceback": "".join(EVIL)},
    )
    return grow


def texts(svg: str) -> list[str]:
    return [
        text
        for one in ElementTree.fromstring(svg).iter()
        for text in [one.text or ""]
        if one.tag.endswith("}text")
    ]


def test_a_drawing_shows_recipes_properties_tags_status_and_measures(study: Any) -> None:
    study.add(
        "Broken", study.records[0], status="failed", error={"type": "ValueError", "message": "loss is nan"}
    )
    shown = texts(study.graph.to_svg())
    for text in (
        "State", "dataset='digits'", "Train@1", "Prune", "fraction=0.8", "epochs=20, lr=0.1", "lr:0.1",
        "ticket", "loss 0.412", "accuracy 0.944", "failed", "ValueError: loss is nan", "13 done", "1 failed",
    ):  # fmt: skip
        assert text in shown, text
    assert study.records[3].key[:8] in shown
    source = study.graph.to_graphviz().source
    for text in ("Prune", "fraction=0.8", "[ticket]", "accuracy 0.944", "failed", "dashed"):
        assert text in source, text


@pytest.mark.parametrize(
    "status", ["planned", "running", "done", "failed", "skipped", "evicted", "damaged", "odd<"]
)
def test_each_status_has_a_shape_and_a_word(grow: Any, status: str) -> None:
    grow.add("Step", grow.root(), status=status)
    graph = grow.graph
    root = ElementTree.fromstring(graph.to_svg())
    assert any(status in text for text in texts(graph.to_svg()))
    assert root is not None
    assert status in graph.to_text()
    assert status.replace("<", "&lt;") in graph._repr_html_()


def test_shapes_of_statuses_differ_without_their_colours(grow: Any) -> None:
    from dagtree.analysis.svg import _mark
    from dagtree.analysis.text import STATUSES

    shapes = {re.sub(r'(?<=class="[fs]-)\w+', "", _mark(status, 0, 0)) for status in STATUSES}
    assert len(shapes) == len(STATUSES)


def test_svg_survives_any_text(evil: Any) -> None:
    svg = evil.graph.to_svg()
    svg.encode("utf-8")
    root = ElementTree.fromstring(svg)
    assert {one.tag.rpartition("}")[2] for one in root.iter()} <= {
        "svg", "title", "style", "rect", "g", "text", "path", "circle"
    }  # fmt: skip
    shown = texts(svg)
    for text in ("<b>&amp;</b>", "]]>", "&lt;", "new\\nline\\ttab\\r", "\\x00\\x1b[31m", "日本語のタグ"):
        assert text in shown, text
    assert max(map(len, shown)) < 400
    assert len(svg) < 200_000


def test_svg_stands_alone(study: Any) -> None:
    svg = study.graph.to_svg()
    assert "prefers-color-scheme:dark" in svg
    assert "var(" not in svg
    assert re.findall(r"https?://[^\"]+", svg) == ["http://www.w3.org/2000/svg"]
    style = re.search(r"<style>(.*?)</style>", svg)
    assert style is not None
    for selector in re.findall(
        r"([^{}]+)\{[^{}]*\}", style[1].replace("@media (prefers-color-scheme:dark){", "")
    ):
        assert selector.startswith(".dagtree "), "a notebook's other cells share this style sheet"


@needs_dot
def test_dot_survives_any_text(evil: Any) -> None:
    graph = evil.graph.to_graphviz()
    done = subprocess.run(
        ["dot", "-Tsvg"], input=graph.source.encode(), capture_output=True, check=False, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, b"")
    shown = [text.replace("\xa0", " ") for text in texts(done.stdout.decode())]
    for text in (
        "[<b>&amp;</b>]",
        '["quoted" \\N \\G \\l {a|b}]',
        "[a\\]",
        '[\\"]',
        "[&lt;]",
        "[<>]",
        "[new\\nline\\ttab\\r]",
        "<b>html</b>",
    ):
        assert text in shown, text


def test_dot_labels_are_never_html(evil: Any) -> None:
    assert isinstance(evil.graph.to_graphviz(), graphviz.Digraph)
    assert not re.search(r"(label|tooltip)=<", evil.graph.to_graphviz().source)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40, deadline=None)
@given(st.text(st.characters(), max_size=60))
def test_every_text_gives_well_formed_pictures(study: Any, text: str) -> None:
    from dagtree.analysis.picture import Picture
    from dagtree.analysis.svg import to_svg

    root = study.records[0]
    study.records[0] = root._replace(tags=(text,))
    study.records[0].more.update({**root.more, "properties": {text: text}})
    graph = study.graph
    picture = Picture.of(graph.nodes, text)
    ElementTree.fromstring(to_svg(picture))
    graph.to_graphviz().source.encode()
    assert "\n" not in repr(graph.root)
    assert len(graph.to_text().splitlines()) == 14
    Balanced().feed(graph._repr_html_() + graph.nodes._repr_html_() + graph.root._repr_html_())


class Balanced(HTMLParser):
    """Knows no more than that what opens closes, and what may be open at all."""

    allowed = frozenset((
        "div", "b", "span", "table", "thead", "tbody", "tr", "th", "td", "code", "pre", "style", "br", "svg",
        "title", "rect", "g", "text", "path", "circle", "iframe",
    ))  # fmt: skip

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in self.allowed, tag
        assert not any(name.startswith("on") for name, _ in attrs)
        if tag != "br":
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in self.allowed, tag

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_html_survives_any_text(evil: Any) -> None:
    graph = evil.graph
    for shown in (graph, graph.nodes, graph.nodes[-1], graph.root):
        html = shown._repr_html_()
        html.encode("utf-8")
        parser = Balanced()
        parser.feed(html)
        assert parser.open == []
        assert "<script" not in html


def test_malformed_records_are_shown_as_far_as_they_can_be(grow: Any) -> None:
    """Another program, or damage that a checksum missed: the rest of the tree is looked at all the same."""
    odd = grow.add("Odd", grow.root())
    odd.more.update(
        history=[[1], "x", [1, 2, 3]], results={"a": 3, "b": []}, error="text", properties=[1],
        seconds="long", bytes="many", started="never", device=[], code={}, module=3, accepted=1,
    )  # fmt: skip
    graph = grow.graph
    node = graph.nodes[-1]
    assert (node.metrics, node.results, node.history, node.properties) == ({}, {}, [], {})
    assert (node.seconds, node.size_bytes, node.error) == (None, 0, None)
    for shown in (graph.to_svg(), graph.to_text(), graph.to_html(), graph._repr_html_(), node._repr_html_()):
        assert "Odd" in shown
    assert "Odd" in graph.nodes._repr_html_()
    assert "Odd" in graph.to_graphviz().source


def test_terminals_get_no_control_characters(evil: Any) -> None:
    text = evil.graph.to_text()
    assert [line for line in text.split("\n") if not line.isprintable() and "\u200d" not in line] == []
    text.encode("utf-8")


def test_text_shows_branches_chains_and_further_parents(study: Any) -> None:
    lines = study.graph.to_text().split("\n")
    assert lines[0].startswith("● State(dataset='digits', model_name='mlp')")
    assert lines[1].startswith("├─ ● Train(epochs=20, lr=0.01)  [lr:0.01]  loss 0.322  accuracy 0.944")
    assert lines[3].startswith("│  └─ ● Prune(fraction=0.8)")
    assert lines[4].startswith("│     → ● Rewind")
    assert f"(also from {study.records[2].key[:8]})" in lines[4]
    assert lines[6].startswith("├─ ● Train@1(epochs=20, lr=0.01)  [lr:0.01]")
    assert lines[-1] == "13 nodes: 13 done"


def test_draw_writes_svg_and_returns_its_path(study: Any, tmp_path: Path) -> None:
    path = study.graph.draw(tmp_path / "deep" / "graph")
    assert path == tmp_path / "deep" / "graph.svg"
    assert path.read_text("utf-8") == study.graph.to_svg()
    assert [one.name for one in path.parent.iterdir()] == ["graph.svg"]


@pytest.mark.parametrize(
    ("filename", "format", "made"),
    [
        ("graph", "svg", "graph.svg"),
        ("graph.svg", "svg", "graph.svg"),
        ("graph.SVG", "pdf", "graph.SVG"),
        ("v1.0", "svg", "v1.0.svg"),
        ("graph", ".svg", "graph.svg"),
        ("graph", "dot", "graph.dot"),
        ("graph.txt", "svg", "graph.txt"),
    ],
)
def test_a_known_suffix_decides_and_others_stay(
    study: Any, tmp_path: Path, filename: str, format: str, made: str
) -> None:
    assert study.graph.draw(str(tmp_path / filename), format) == tmp_path / made
    assert (tmp_path / made).stat().st_size > 100


@pytest.mark.parametrize("format", ["", "xyz", "svg; rm -rf /", None])
def test_an_unknown_format_is_refused_with_the_known_ones(study: Any, tmp_path: Path, format: Any) -> None:
    with pytest.raises(ValueError, match="svg, html"):
        study.graph.draw(tmp_path / "graph", format)
    assert list(tmp_path.iterdir()) == []


@needs_dot
def test_other_formats_are_drawn_by_graphviz(study: Any, tmp_path: Path) -> None:
    path = study.graph.draw(tmp_path / "graph", "png")
    assert path.read_bytes().startswith(b"\x89PNG")
    assert path.name == "graph.png"


def test_without_graphviz_the_svg_is_drawn_and_a_warning_says_so(
    study: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.warns(UserWarning, match=r"graph\.svg.*install") as caught:
        path = study.graph.draw(tmp_path / "graph.png")
    assert caught[0].filename == __file__
    assert path == tmp_path / "graph.svg"
    ElementTree.parse(path)


def test_a_graphviz_that_fails_is_quoted(study: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = tmp_path / "dot"
    fake.write_text("#!/bin/sh\ncat >/dev/null\necho 'no such renderer' >&2\nexit 3\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    with pytest.warns(UserWarning, match="no such renderer"):
        assert study.graph.draw(tmp_path / "graph", "pdf").name == "graph.svg"


def test_a_place_that_can_not_be_written_is_named(study: Any, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="file"):
        study.graph.draw(tmp_path / "file" / "graph")


def test_view_opens_a_browser_and_a_missing_one_is_no_error(
    study: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    monkeypatch.delitem(sys.modules, "IPython", raising=False)
    monkeypatch.setattr(webbrowser, "open", lambda url: bool(opened.append(url)) or len(opened) < 2)
    assert study.graph.draw(tmp_path / "graph", view=True) == tmp_path / "graph.svg"
    assert opened == [(tmp_path / "graph.svg").as_uri()]
    with pytest.warns(UserWarning, match=r"graph\.svg"):
        study.graph.draw(tmp_path / "graph", view=True)


def test_view_in_a_notebook_returns_what_shows_it(
    study: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    display = pytest.importorskip("IPython.display")
    kernel = types.SimpleNamespace(kernel=object())
    monkeypatch.setattr(sys.modules["IPython"], "get_ipython", lambda: kernel)
    monkeypatch.delenv("_", raising=False)
    shown = study.graph.draw(tmp_path / "graph", view=True)
    assert isinstance(shown, display.SVG)
    assert "Prune" in shown._repr_svg_()
    assert (tmp_path / "graph.svg").exists()


def test_long_tables_and_drawings_say_what_they_leave_out(grow: Any) -> None:
    root = grow.root()
    for i in range(500):
        grow.add("Step", root, properties={"i": i})
    assert "and 441 more nodes" in grow.graph.nodes._repr_html_()
    assert "and 101 more nodes" in grow.graph._repr_html_()
    assert "501 nodes: 501 done" in grow.graph._repr_html_()
    assert len(texts(grow.graph.to_svg())) > 1500, "a file has all of them"


def test_node_html_has_the_failure(evil: Any) -> None:
    html = evil.graph.nodes.where(status="failed")[0]._repr_html_()
    assert "E&lt;: &lt;/svg&gt;&lt;script&gt;alert(1)" in html
    assert "<pre>" in html


sizes = st.lists(
    st.tuples(
        st.integers(20, 240),
        st.integers(20, 90),
        st.integers(0, 200),
        st.integers(0, 60),
        st.integers(0, 2**30),
    ),
    min_size=1,
    max_size=25,
)


@settings(max_examples=80)
@given(sizes, st.sampled_from(["right", "down"]))
def test_boxes_and_labels_never_overlap_and_arrows_go_round_boxes(drawn: Any, direction: Any) -> None:
    boxes = []
    for at, (width, height, label_width, label_height, links) in enumerate(drawn):
        parents = tuple(p for p in range(at) if links >> p & 1)[:3]
        boxes.append(
            Size(width, height, label_width if parents else 0, label_height if parents else 0, parents)
        )
    layout = arrange(boxes, direction)
    areas = []
    for size, (x, y), (lx, ly) in zip(boxes, layout.boxes, layout.labels, strict=True):
        areas.append((x, y, x + size.width, y + size.height))
        if size.label_width and size.label_height:
            above = size.label_height / 2 if direction == "right" else 0
            areas.append((lx, ly - above, lx + size.label_width, ly - above + size.label_height))
    for at, (left, top, right, bottom) in enumerate(areas):
        assert left >= 0
        assert top >= 0
        assert right <= layout.width
        assert bottom <= layout.height
        for other in areas[at + 1 :]:
            apart = left >= other[2] or other[0] >= right or top >= other[3] or other[1] >= bottom
            assert apart, (areas[at], other)
    assert len(layout.arrows) == sum(len(size.parents) for size in boxes)
    for arrow in layout.arrows:
        assert not [
            (arrow, at)
            for (x1, y1), (x2, y2) in pairwise(arrow.points)
            for at, (size, (x, y)) in enumerate(zip(boxes, layout.boxes, strict=True))
            if at not in (arrow.parent, arrow.child)
            if max(x1, x2) > x + 1 and min(x1, x2) < x + size.width - 1
            if max(y1, y2) > y + 1 and min(y1, y2) < y + size.height - 1
        ], "an arrow runs through a box"
        (x, y), box = arrow.points[-1], layout.boxes[arrow.child]
        assert box[0] - 0.01 <= x <= box[0] + boxes[arrow.child].width
        assert box[1] - 0.01 <= y <= box[1] + boxes[arrow.child].height


def test_long_chains_go_down_and_wide_trees_go_right() -> None:
    chain = [Size(100, 40, 80, 30, (at - 1,) if at else ()) for at in range(60)]
    fan = [Size(100, 40, 80, 30, (0,) if at else ()) for at in range(200)]
    assert best_direction(chain) == "down"
    assert best_direction(fan) == "right"


def test_two_hundred_nodes_stay_readable(grow: Any) -> None:
    root = grow.root()
    for i in range(40):
        last = grow.add("Train", root, properties={"lr": i / 10}, tags=(f"lr:{i}",))
        for name in ("Prune", "Finetune", "Quantize", "Eval"):
            last = grow.add(name, last, properties={"fraction": 0.5}, tags=(f"lr:{i}", "pruned"))
    svg = ElementTree.fromstring(grow.graph.to_svg())
    assert float(svg.attrib["width"]) < 2_500
    assert float(svg.attrib["height"]) < 6_000
    styles = "".join(one.text or "" for one in svg.iter() if one.tag.endswith("style"))
    assert min(int(size) for size in re.findall(r"font-size:(\d+)px", styles)) >= 11
