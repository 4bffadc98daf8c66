"""The page of a tree, in a real browser: it folds, finds, colours, compares, and runs nothing of others."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import types
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import browser as chromium
import dagtree as dg
from dagtree.analysis.embedded import Limits, as_json, embedded
from dagtree.analysis.page import framed, to_html
from dagtree.errors import DamagedError

ROOT = Path(dg.__file__).parent.parent
needs_browser = pytest.mark.skipif(chromium.PROGRAM is None, reason="Chromium isn't installed")

HOSTILE = [
    "</script><script>window.hit=1</script>", "<img src=x onerror=window.hit=1>",
    "\"'><svg onload=window.hit=1>",
    "]]><!--", "</title></style></pre><b>bold", "javascript:window.hit=1", "\u202egnp.exe", "\u2028\u2029",
    "a\x00\x1b[31mred", "&lt;&amp;", "${window.hit=1}`", "\udc80 lone", "__proto__", "constructor",
]  # fmt: skip


@pytest.fixture(scope="module")
def tab() -> Iterator[chromium.Browser]:
    if chromium.PROGRAM is None:
        pytest.skip("Chromium isn't installed")
    one = chromium.Browser()
    yield one
    one.close()


def labels(tab: chromium.Browser) -> list[str]:
    return tab.ask("[...document.querySelectorAll('[role=treeitem]')].map(n => n.getAttribute('aria-label'))")


def focused(tab: chromium.Browser) -> str:
    return tab.ask("document.activeElement.getAttribute('aria-label') ?? document.activeElement.id")


def count(tab: chromium.Browser, selector: str) -> int:
    return tab.ask(f"document.querySelectorAll({json.dumps(selector)}).length")


def text_of(tab: chromium.Browser, selector: str) -> str:
    return tab.ask(f"document.querySelector({json.dumps(selector)})?.innerText ?? ''")


def node(tab: chromium.Browser, label: str) -> str:
    """A selector for the first node in sight whose label begins so."""
    number = [one.startswith(label) for one in labels(tab)].index(True)
    return "#" + tab.ask(f"document.querySelectorAll('[role=treeitem]')[{number}].id")


def button(tab: chromium.Browser, name: str) -> None:
    found = tab.ask(
        f"(() => {{ const one = [...document.querySelectorAll('button')].find(b => b.textContent.startsWith("
        f"{json.dumps(name)})); one?.click(); return Boolean(one); }})()"
    )
    assert found, name
    tab.settle()


def unfold_sections(tab: chromium.Browser) -> str:
    tab.ask("(() => { for (const one of document.querySelectorAll('#panel details')) one.open = true; })()")
    tab.settle()
    tab.ask("(() => { for (const one of document.querySelectorAll('#panel details')) one.open = true; })()")
    tab.settle()
    return text_of(tab, "#panel")


def colour_by(tab: chromium.Browser, name: str) -> str:
    tab.ask(
        "(() => { const s = document.querySelector('#colour');"
        f"s.value = [...s.options].find(o => o.textContent === {json.dumps(name)}).value;"
        "s.dispatchEvent(new Event('change')); })()"
    )
    tab.settle()
    return text_of(tab, "#legend")


@pytest.fixture
def shown(study: Any, tab: chromium.Browser, tmp_path: Path) -> chromium.Browser:
    """The small study, open in the browser."""
    tab.open(study.graph.draw(tmp_path / "tree.html"))
    return tab


@needs_browser
def test_five_thousand_nodes_open_with_few_in_the_document(
    grow: Any, tab: chromium.Browser, tmp_path: Path
) -> None:
    """Whatever is unfolded, and wherever one looks, only what is in sight is an element."""
    level = [grow.root()]
    for width in (9, 110, 1220, 3660):
        level = [
            grow.add("Train", level[i % len(level)], properties={"lr": i / 1000, "width": width})
            for i in range(width)
        ]
    path = grow.graph.draw(tmp_path / "tree.html")
    assert path.stat().st_size < 8_000_000
    tab.open(path)
    assert tab.ask("document.documentElement.dataset.ready") == "yes"
    assert "5,000 nodes" in text_of(tab, "header")
    assert 5 <= count(tab, ".node") <= 200
    button(tab, "Unfold all")
    tall = tab.ask("document.querySelector('#pane').scrollHeight")
    assert tall > 100_000
    for part in (0, 0.31, 0.5, 0.99):
        tab.ask(f"document.querySelector('#pane').scrollTo(800, {part * tall})")
        tab.settle()
        assert 1 < count(tab, ".node") <= 200
        assert count(tab, "*") < 3_000
    tab.ask(
        "(() => { for (let i = 0; i < 20; i++) document.querySelector('[aria-label=smaller]').click(); })()"
    )
    tab.settle()
    assert 20 < count(tab, ".node") <= 700
    button(tab, "Fold all")
    assert len(labels(tab)) == 10
    tab.press("/")
    tab.type("lr=3.659")
    tab.press("Enter")
    assert text_of(tab, "#found") == "1 of 1"
    assert "Train(lr=3.659, width=3660)" in " ".join(labels(tab))
    assert tab.errors == []


@needs_browser
def test_a_wide_tree_opens_with_more_than_its_root(grow: Any, tab: chromium.Browser, tmp_path: Path) -> None:
    """One folded card on an empty page would tell nothing."""
    root = grow.root()
    for i in range(400):
        grow.add("Prune", grow.add("Train", root, properties={"i": i}))
    tab.open(grow.graph.draw(tmp_path / "tree.html"))
    assert "801 nodes" in text_of(tab, "header")
    assert 10 < count(tab, ".node") <= 200
    assert len([one for one in labels(tab) if one.startswith("Train")]) > 10
    assert not [one for one in labels(tab) if one.startswith("Prune")]


@needs_browser
def test_subtrees_fold_and_unfold(shown: chromium.Browser) -> None:
    before = labels(shown)
    assert len(before) == 13
    trained = node(shown, "Train(epochs=20, lr=0.01)")
    shown.click(f"{trained} .fold")
    assert len(labels(shown)) == 13 - 4
    folded = next(one for one in labels(shown) if "folded" in one)
    assert folded.startswith("Train(epochs=20, lr=0.01), done")
    assert "4 nodes below, folded" in folded
    assert shown.ask(f"document.querySelector('{trained}').getAttribute('aria-expanded')") == "false"
    shown.click(f"{trained} .fold")
    assert sorted(labels(shown)) == sorted(before)
    button(shown, "Fold all")
    assert len(labels(shown)) == 5
    button(shown, "Unfold all")
    assert len(labels(shown)) == 13


@needs_browser
def test_the_keyboard_reaches_everything(shown: chromium.Browser) -> None:
    """Arrows move, fold and unfold; Enter opens; Escape closes and comes back to where one was."""
    shown.ask("document.querySelector('[role=treeitem][tabindex=\"0\"]').focus()")
    assert focused(shown).startswith("State(")
    shown.press("ArrowDown")
    assert focused(shown).startswith("Train(epochs=20, lr=0.01)")
    shown.press("ArrowLeft")
    assert "folded" in focused(shown)
    shown.press("ArrowDown")
    assert focused(shown).startswith("Train@1(epochs=20, lr=0.01)")
    shown.press("ArrowUp", "ArrowRight", "ArrowRight")
    assert focused(shown).startswith("Prune(fraction=0.5)")
    shown.press("ArrowLeft")
    assert focused(shown).startswith("Train(epochs=20, lr=0.01)"), "a leaf leads to its parent"
    shown.press("End")
    last = focused(shown)
    assert last != ""
    assert count(shown, "[role=treeitem][tabindex='0']") == 1
    shown.press("Enter")
    assert count(shown, "#panel:not([hidden])") == 1
    shown.ask("document.querySelector('#panel summary').focus()")
    shown.press("Enter", "Escape")
    assert count(shown, "#panel:not([hidden])") == 0
    assert focused(shown) == last
    shown.press("Home", "/")
    assert shown.ask("document.activeElement.id") == "search"
    shown.press("Escape")
    assert focused(shown).startswith("State(")
    shown.press("c", "ArrowDown", "c")
    assert "They part after" in text_of(shown, "#panel")
    outline = shown.ask("getComputedStyle(document.querySelector('.node:focus-visible')).outlineStyle")
    assert outline == "solid"


@needs_browser
def test_the_tree_tells_assistive_technology_what_it_is(shown: chromium.Browser) -> None:
    tree = shown.call("Accessibility.getFullAXTree")["nodes"]
    roles = [one["role"]["value"] for one in tree if not one.get("ignored")]
    assert roles.count("tree") == 1
    assert roles.count("treeitem") == 13
    prune = next(
        one for one in tree if one.get("name", {}).get("value", "").startswith("Prune(fraction=0.8)")
    )
    facts = {one["name"]: one["value"].get("value") for one in prune["properties"]}
    assert facts["level"] == 3
    assert facts["expanded"] is True
    for one in tree:
        if one["role"]["value"] in ("button", "searchbox", "combobox", "checkbox") and not one.get("ignored"):
            assert one["name"]["value"], "each control has a name"


@needs_browser
@pytest.mark.parametrize(
    ("query", "matches"),
    [
        ("prune(", 4), ("PRUNED lr:0.1", 4), ("fraction=0.8", 2), ("fraction<0.8", 2), ("accuracy>0.9", 1),
        ("dataset=digits", 1), ("lr=0.1", 3), ("ticket train", 2), ("lr!=0.1 train", 3), ("nowhere", 0),
    ],
)  # fmt: skip
def test_search_finds(shown: chromium.Browser, query: str, matches: int) -> None:
    shown.press("/")
    shown.type(query)
    assert text_of(shown, "#found").startswith(f"{matches} match")
    assert count(shown, ".node.hit") == matches
    shown.click("#only")
    kept = labels(shown)
    assert len(kept) <= 13
    if matches:
        assert len([one for one in kept if one.startswith("State(")]) == 1, "with the way to each"


@needs_browser
def test_a_match_in_a_folded_subtree_is_unfolded(study: Any, shown: chromium.Browser) -> None:
    button(shown, "Fold all")
    shown.press("/")
    shown.type(study.records[-1].key[:10])
    shown.press("Enter")
    assert any(
        one.startswith("Train(epochs=20, lr=0.1), done, lr:0.1, pruned, ticket") for one in labels(shown)
    )
    shown.press("Escape")
    assert focused(shown).startswith("Train(epochs=20, lr=0.1), done, lr:0.1, pruned, ticket")


@needs_browser
def test_colours_are_a_scale_for_numbers_and_kinds_for_texts(shown: chromium.Browser) -> None:
    def inks() -> list[str]:
        return shown.ask(
            "[...document.querySelectorAll('.node .bar')].map(b => getComputedStyle(b).backgroundColor)"
        )

    assert "done" in text_of(shown, "#legend")
    said = colour_by(shown, "lr")
    assert "0.01" in said
    assert "0.1" in said
    assert "nearest above" in said
    assert count(shown, "#legend .scale") == 1
    assert "rgb(68, 1, 84)" in inks()
    assert "rgb(253, 231, 37)" in inks()
    assert count(shown, ".node .bar.none") == 1, "the root has no learning rate above it"
    assert "no value 1" in re.sub(r"\s+", " ", said)
    said = colour_by(shown, "recipe")
    assert count(shown, "#legend .scale") == 0
    for name in ("State", "Train", "Prune", "Rewind"):
        assert name in said
    assert len(set(inks())) == 4
    said = colour_by(shown, "accuracy")
    assert "no value 7" in re.sub(r"\s+", " ", said), "what was measured isn't inherited"
    assert "accuracy 0.944" in text_of(shown, node(shown, "Train(epochs=20, lr=0.01)"))


class Grid(dg.ExperimentState):
    PROPERTIES = ["size"]
    NONHASHED_ATTRIBUTES = ["weight", "bias"]

    def initialize_state(self, **properties: Any) -> None:
        import numpy

        self.weight = numpy.zeros((self.size, 3), dtype="float32")
        self.bias = numpy.ones(3)


class Shift(dg.Recipe):
    by: float
    times: int = 3

    def run(self, state: Grid) -> Any:
        for step in self.steps(range(self.times)):
            state.weight += self.by
            print(f"step {step} of <b>{self.times}</b>")
            yield {"mean": float(state.weight.mean())}


class Break(dg.Recipe):
    def run(self, state: Grid) -> Grid:
        raise ValueError("no luck & <i>none</i>")


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real experiment on disk: arrays, curves, output, a failure."""
    where = tmp_path_factory.mktemp("kept") / "grid"
    exp = dg.Experiment(where, state_class=Grid)
    root = exp.spawn_new_tree(size=4)
    with exp.tag("small"):
        Shift(by=0.5)(root)
    Shift(by=2.0, times=400)(root)
    Break()(root)
    with pytest.raises(dg.RunError):
        exp.run(progress=False)
    return where


@needs_browser
def test_a_click_shows_record_code_output_curves_and_tensors(
    kept: Path, tab: chromium.Browser, tmp_path: Path
) -> None:
    """From the slim view of a real experiment; nothing is unpickled."""
    graph = dg.Experiment.restore(kept, slim=True).graph
    tab.open(graph.draw(tmp_path / "tree.html"))
    small = graph.nodes.filter("small")[0]
    tab.click(node(tab, "Shift(by=0.5, times=3)"))
    assert count(tab, "#panel .chart svg path.a") == 1
    assert "from 0.5 to 1.5" in tab.ask("document.querySelector('.chart svg').getAttribute('aria-label')")
    said = unfold_sections(tab)
    for text in (
        small.key, "small", "by\t0.5", "mean\t1.5", "step 1 of <b>3</b>", "state.weight += self.by",
        "Shift.run",
        "weight\tF32\t4×3\t48 B", "bias\tF64\t3\t24 B", "numpy", "python", "started", "host",
    ):  # fmt: skip
        assert text in said, text
    tab.click(node(tab, "Break"))
    said = unfold_sections(tab)
    assert "ValueError: no luck & <i>none</i>" in said
    assert "Traceback" in said
    tab.click(node(tab, "Shift(by=2.0, times=400)"))
    assert "240 of 400 points" in re.sub(r"\d+ of 400", "240 of 400", text_of(tab, "#panel"))
    assert "… " in unfold_sections(tab) or "step 399" in unfold_sections(tab)
    assert tab.errors == []


class Changing:
    """A loader whose code differs by digest."""

    def __init__(self, loader: Any) -> None:
        self._loader = loader

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)

    def sources(self, digest: str) -> list[dict[str, Any]]:
        line = "    lr = lr / 2\n" if digest.startswith("d") else "    pass\n"
        text = f"def run(self, state):\n    before()\n{line}    after()\n"
        return [
            {"name": "Train.run", "kind": "function", "text": text, "digest": digest, "via": -1},
            {"name": "helper", "kind": "function", "text": "def helper(): ...", "digest": "same", "via": 0},
        ]


@needs_browser
def test_two_nodes_are_compared(grow: Any, tab: chromium.Browser, tmp_path: Path) -> None:
    """Where their paths part, what differs of properties, measures and code; what only looks equal isn't."""
    grow.loader = Changing(grow.loader)
    root = grow.root()
    long = "x" * 900
    for place, value in enumerate(("a", "b")):
        trained = grow.add(
            "Train",
            root,
            properties={"lr": 0.1, "note": long + value},
            sources=("c" if place else "d") * 32,
            code=str(place),
            history=[[1, {"loss": 1.0}, 1.0], [2, {"loss": 0.25 + place / 1e12}, 2.0]],
        )
        grow.add(
            "Prune", trained, properties={"fraction": 0.5 + place / 4}, sources="e" * 32, results={
                "accuracy": {"value": 0.9 - place / 10, "code": "x", "at": 1.0},
                "epochs": {"value": 7, "code": "x", "at": 1.0},
            },
        )  # fmt: skip
    tab.open(grow.graph.draw(tmp_path / "tree.html"))
    tab.click(node(tab, "Prune(fraction=0.5)"))
    tab.click(node(tab, "Prune(fraction=0.75)"), shift=True)
    said = text_of(tab, "#panel")
    assert "They part after State" in said
    assert "fraction\t0.5\t0.75" in said
    assert "accuracy\t0.9\t0.8  (−0.1)" in said.replace(" (", "  (").replace("   ", "  ")
    assert "1 entry equal on both sides" in said
    assert "other code" in said
    assert "Of the step Train:" in said
    assert tab.ask("document.querySelector('#panel pre .less').textContent") == "−     lr = lr / 2"
    assert tab.ask("document.querySelector('#panel pre .more').textContent") == "+     pass"
    assert "helper" not in said, "what is the same isn't shown"
    trained = [one for one in labels(tab) if one.startswith("Train(")]
    assert len(trained) == 2
    tab.press("Escape")
    tab.ask("[...document.querySelectorAll('.node')].filter(n => n.ariaLabel.startsWith('Train'))[0].click()")
    tab.settle()
    button(tab, "Compare with…")
    tab.ask("[...document.querySelectorAll('.node')].filter(n => n.ariaLabel.startsWith('Train'))[1].click()")
    tab.settle()
    said = text_of(tab, "#panel")
    assert "differs in what isn't shown" in said, "two long texts that end otherwise"
    assert "loss\t0.25\t0.250000000001" in said
    assert count(tab, "#panel .chart path.a") == count(tab, "#panel .chart path.b") == 1


@needs_browser
@pytest.mark.parametrize("where", ["alone", "in a notebook"])
def test_no_text_of_a_tree_is_more_than_text(
    grow: Any, tab: chromium.Browser, tmp_path: Path, where: str
) -> None:
    """Markup, quotes, control and bidi characters in every place where users write."""
    grow.loader.output = lambda key: "".join(HOSTILE)
    grow.loader.environment = lambda digest: dict.fromkeys(("host", *HOSTILE), HOSTILE[0])
    grow.loader.sources = lambda digest: [
        {"name": text, "kind": text, "file": text, "text": text, "digest": text} for text in HOSTILE
    ]
    root = grow.root(**{text: text for text in HOSTILE})
    for text in HOSTILE:
        grow.add(
            f"Train{text}", root, properties={text: text}, tags=(text,), history=[[1, {text: 0.5}, 1.0]],
            results={text: {"value": {text: text}, "at": 1.0}}, status="failed", output="0" * 32,
            environment="1" * 32, module=text, device=text,
            error={"type": text, "message": text, "traceback": text},
        )  # fmt: skip
    graph = grow.graph
    graph.title = HOSTILE[0]
    page = tmp_path / "tree.html"
    if where == "alone":
        graph.draw(page)
        assert page.read_text("utf-8").count("<script") == 3
    else:
        page.write_text(f"<!doctype html><meta charset=utf-8>{graph._repr_html_()}", "utf-8")
    tab.open(page)
    if where == "in a notebook":
        assert tab.ask("[typeof window.hit, document.querySelectorAll('script').length]") == ["undefined", 0]
        assert tab.ask_frame("[typeof window.hit, document.documentElement.dataset.ready]") == [
            "undefined",
            "yes",
        ]
        return
    for place in range(len(labels(tab))):
        tab.ask(f"document.querySelectorAll('[role=treeitem]')[{place}].click()")
        unfold_sections(tab)
    tab.ask(
        "document.querySelectorAll('[role=treeitem]')[2]"
        ".dispatchEvent(new MouseEvent('click', {shiftKey: true}))"
    )
    unfold_sections(tab)
    for option in range(tab.ask("document.querySelector('#colour').options.length")):
        tab.ask(
            f"(() => {{ const s = document.querySelector('#colour'); s.value = {option};"
            "s.dispatchEvent(new Event('change')); })()"
        )
    tab.settle()
    assert tab.ask("typeof window.hit") == "undefined"
    assert count(tab, "script") == 3
    assert count(tab, "img, iframe, b b, svg svg, a, object, embed, base") == 0
    assert (
        tab.ask(
            "[...document.querySelectorAll('*')]"
            ".filter(e => [...e.attributes].some(a => /^on/.test(a.name))).length"
        )
        == 0
    )
    everything = tab.ask("document.body.innerText")
    assert not re.search("[\u202e\u2028\x00\x1b]", everything)
    assert "</script><script>window.hit=1</script>" in everything
    assert [one for one in tab.requests if not one.startswith(("file:", "data:,"))] == []
    assert len([one for one in tab.requests if one.startswith("file:")]) == 1
    assert tab.errors == []


@needs_browser
def test_the_page_can_not_reach_the_network_or_run_another_script(shown: chromium.Browser) -> None:
    """Its own policy forbids it, whatever got into it."""
    assert shown.requests == [url for url in shown.requests if url.startswith("file:")]
    assert shown.ask("fetch('https://example.org/').then(() => 'reached', () => 'refused')") == "refused"
    shown.ask(
        "(() => { const one = document.createElement('div');"
        'one.innerHTML = \'<img src="https://example.org/a.png" onerror="window.hit=1">\';'
        "const two = document.createElement('script'); two.textContent = 'window.hit=2';"
        "document.body.append(one, two); })()"
    )
    shown.settle()
    assert shown.ask("typeof window.hit") == "undefined"
    asked = [url for url in shown.requests if "example" in url]
    assert set(asked) <= set(shown.refused)
    assert "https://example.org/a.png" in shown.refused


@needs_browser
def test_light_and_dark(study: Any, tab: chromium.Browser, tmp_path: Path) -> None:
    """By the system's wish, and by the button whatever that says; texts stay readable in both."""
    path = study.graph.draw(tmp_path / "tree.html")

    def brightness() -> tuple[float, float]:
        seen = tab.ask(
            "['backgroundColor', 'color'].map(n => getComputedStyle(document.querySelector('.node'))[n])"
        )
        parts = [[float(part) for part in re.findall(r"[\d.]+", one)[:3]] for one in seen]
        return sum(parts[0]) / 3, sum(parts[1]) / 3

    tab.open(path, dark=True)
    card, ink = brightness()
    assert card < 60 < 200 < ink
    tab.click("#theme")
    card, ink = brightness()
    assert ink < 60 < 200 < card, "the button's first choice is light"
    tab.click("#theme")
    assert brightness()[0] < 60
    tab.click("#theme")
    tab.scheme(False)
    tab.settle()
    assert brightness()[0] > 200


@needs_browser
def test_damage_is_told_where_it_is_and_the_rest_is_shown(
    grow: Any, tab: chromium.Browser, tmp_path: Path
) -> None:
    def damaged(name: str) -> Any:
        raise DamagedError(f"environments/{name[:4]}.json is gone")

    grow.loader.output = grow.loader.environment = grow.loader.sources = damaged
    root = grow.root()
    grow.add("Train", root, output="0" * 32, environment="1" * 32, sources="2" * 32)
    odd = grow.add("Odd", root)
    odd.more.update(
        history=[[1], "x"], results={"a": 3}, error="text", payload={"buffers": [3, {"shape": "x"}]},
        seconds="long", environment=7, sources=[1], tags=3, bytes=-1, started="never",
    )  # fmt: skip
    lost = grow.add("Lost", "f" * 32, properties={"x": 1})
    graph = grow.graph
    page = to_html(graph.nodes, "damaged")
    path = tmp_path / "tree.html"
    path.write_text(page, "utf-8")
    tab.open(path)
    assert len(labels(tab)) == 4
    tab.click(node(tab, "Train"))
    assert unfold_sections(tab).count("is gone") == 3
    tab.click(node(tab, "Odd"))
    assert odd.key in unfold_sections(tab)
    tab.click(node(tab, "Lost"))
    assert "f" * 32 in unfold_sections(tab)
    assert lost.key in text_of(tab, "#panel")
    assert tab.errors == []


@needs_browser
def test_each_status_has_a_mark_of_its_own(grow: Any, tab: chromium.Browser, tmp_path: Path) -> None:
    statuses = ["planned", "running", "done", "failed", "skipped", "evicted", "damaged", "odd<"]
    root = grow.root()
    for status in statuses:
        grow.add("Step", root, properties={"at": status}, status=status)
    tab.open(grow.graph.draw(tmp_path / "tree.html"))
    marks = tab.ask(
        "[...document.querySelectorAll('.node')].slice(1).map(n => n.querySelector('.mark').textContent)"
    )
    assert len(set(marks)) == len(statuses)
    for status in statuses:
        assert status in text_of(tab, "#legend")


@needs_browser
def test_without_scripts_the_outline_is_there(study: Any, tab: chromium.Browser, tmp_path: Path) -> None:
    path = study.graph.draw(tmp_path / "tree.html")
    tab.call("Emulation.setScriptExecutionDisabled", value=True)
    try:
        tab.open(path)
    finally:
        tab.call("Emulation.setScriptExecutionDisabled", value=False)
    tab.ask("Promise.all(document.getAnimations().map(one => one.finished)).then(() => 1)")
    assert "Prune(fraction=0.8)" in text_of(tab, "#static")
    assert tab.ask("document.querySelector('#static').checkVisibility({visibilityProperty: true})")
    assert count(tab, "header") == 0


@needs_browser
def test_an_outline_and_an_empty_tree(study: Any, grow: Any, tab: chromium.Browser, tmp_path: Path) -> None:
    tab.open(study.graph.draw(tmp_path / "tree.html"))
    tab.click("#mode")
    assert len(labels(tab)) == 13
    tops = tab.ask("[...document.querySelectorAll('.node')].map(n => n.getBoundingClientRect().top)")
    assert len(set(tops)) == 13, "one below the other"
    path = tmp_path / "empty.html"
    path.write_text(to_html([], "nothing"), "utf-8")
    tab.open(path)
    tab.press("/", "Escape")
    assert "0 nodes" in text_of(tab, "header")
    assert tab.errors == []


@dataclass
class Several:
    """A branch of replicates as one node, as far as a page looks at it."""

    nodes: list[Any]

    def __getattr__(self, name: str) -> Any:
        return getattr(self.nodes[0], name)

    @property
    def metrics(self) -> dict[str, Any]:
        return {"loss": Mean()}


class Mean:
    def __float__(self) -> float:
        return 0.25

    def __repr__(self) -> str:
        return "0.25 ± 0.01"


@needs_browser
def test_replicates_that_are_one_node_are_listed(grow: Any, tab: chromium.Browser, tmp_path: Path) -> None:
    root = grow.root()
    for seed in range(3):
        grow.add("Train", root, properties={"seed": seed}, history=[[1, {"loss": 0.2 + seed}, 1.0]])
    nodes = grow.graph.nodes
    path = tmp_path / "tree.html"
    path.write_text(to_html([nodes[0], Several(list(nodes[1:]))]), "utf-8")
    tab.open(path)
    assert "0.25 ± 0.01" in text_of(tab, node(tab, "Train"))
    assert "0.25" in colour_by(tab, "loss")
    tab.click(node(tab, "Train"))
    said = text_of(tab, "#panel")
    assert "Replicates: 3" in said
    for seed in range(3):
        assert f"Train(seed={seed})" in said
    assert "loss 1.2" in said


@needs_browser
def test_draw_by_folds_replicates_in_the_page(grow: Any, tab: chromium.Browser, tmp_path: Path) -> None:
    pytest.importorskip("scipy")
    for seed in range(4):
        root = grow.root(seed=seed)
        for lr in (0.1, 0.2):
            grow.add("Train", root, properties={"lr": lr}, history=[[1, {"loss": lr + seed / 100}, 1.0]])
    tab.open(grow.graph.draw(tmp_path / "tree.html", by="seed"))
    assert len(labels(tab)) == 3
    assert "12 nodes as 3 branches" in text_of(tab, "header")
    assert re.sub(r"\s+", " ", text_of(tab, "#legend")).endswith("done 12")
    assert "n=4" in text_of(tab, node(tab, "State"))
    said = re.sub(r"\s+", " ", colour_by(tab, "loss"))
    assert said.startswith("loss 0.115 0.215")
    tab.click(node(tab, "Train(lr=0.2)"))
    assert "Replicates: 4" in text_of(tab, "#panel")
    assert "loss\t0.215 ± 0.021" in text_of(tab, "#panel")
    assert tab.errors == []


@needs_browser
def test_notebooks_show_the_page_and_fall_back_on_the_drawing(
    study: Any, tab: chromium.Browser, tmp_path: Path
) -> None:
    """A frame that reaches nothing outside; the drawing where frames are taken out."""
    html = study.graph._repr_html_()
    assert 'sandbox="allow-scripts"' in html
    page = tmp_path / "cell.html"
    page.write_text(f"<!doctype html><meta charset=utf-8>{html}", "utf-8")
    tab.open(page)
    # A frame may get its size, and draw, after its script has run.
    assert tab.ask_frame(
        "new Promise((done) => { const look = () => { "
        "const drawn = document.querySelectorAll('.node').length > 3; "
        "if (drawn || performance.now() > 20000) done([document.documentElement.dataset.ready, drawn]); "
        "else requestAnimationFrame(look); }; look(); })"
    ) == ["yes", True]
    assert tab.ask("document.querySelector('.static').getBoundingClientRect().height") == 0
    tab.settle()
    assert tab.ask_frame("document.querySelector('#mode').textContent") == "As an outline", "it is a drawing"
    assert (
        tab.ask_frame("(() => { try { return parent.document.title } catch { return 'shut' } })()") == "shut"
    )
    page.write_text(
        f"<!doctype html><meta charset=utf-8>{re.sub('(?s)<iframe.*?</iframe>', '', html)}", "utf-8"
    )
    tab.open(page)
    assert tab.ask("document.querySelector('.static svg').getBoundingClientRect().height") > 100
    assert tab.errors == []


def test_large_trees_are_static_in_notebooks(grow: Any) -> None:
    root = grow.root()
    for at in range(1_600):
        grow.add("Step", root, properties={"at": at})
    html = grow.graph._repr_html_()
    assert "<iframe" not in html
    assert 'graph.draw("tree.html")' in html
    assert framed("x" * 3_000_000) == ""


@pytest.mark.parametrize(
    ("filename", "format", "made"),
    [("tree.html", "svg", "tree.html"), ("tree", "html", "tree.html"), ("tree.htm", "svg", "tree.htm")],
)
def test_draw_writes_one_file_that_refers_to_no_other(
    study: Any, tmp_path: Path, filename: str, format: str, made: str
) -> None:
    path = study.graph.draw(tmp_path / filename, format)
    assert path == tmp_path / made
    text = path.read_text("utf-8")
    assert set(re.findall(r"https?://[^\s\"']+", text)) <= {"http://www.w3.org/2000/svg"}
    assert not re.search(r"(?:src|href)=(?!\"data:,\")", text)
    assert [one.name for one in tmp_path.iterdir()] == [made]


def test_view_in_a_notebook_shows_the_page(
    study: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    display = pytest.importorskip("IPython.display")
    kernel = types.SimpleNamespace(kernel=object())
    monkeypatch.setattr(sys.modules["IPython"], "get_ipython", lambda: kernel)
    shown = study.graph.draw(tmp_path / "tree.html", view=True)
    assert isinstance(shown, display.HTML)
    assert "srcdoc=" in shown.data


def test_values_that_only_look_equal_have_places_of_their_own(grow: Any) -> None:
    """A comparison goes by them."""
    root = grow.root()
    values = [
        1,
        1.0,
        True,
        "1",
        "x" * 900 + "a",
        "x" * 900 + "b",
        [1] * 60,
        [1] * 59 + [2],
        float("nan"),
        10**400,
    ]
    for at, value in enumerate((*values, *values)):
        grow.add("Step", root, properties={"value": value, "at": at})
    hot, _ = embedded(grow.graph.nodes, Limits())
    places = [one["q"][0][1] for one in hot["nodes"][1:]]
    assert places[: len(values)] == places[len(values) :]
    assert len(set(places)) == len(values)
    json.loads(as_json(hot))


def test_json_is_harmless_inside_html() -> None:
    text = as_json({"</script>": ["<!--", "&amp;", "\u2028\u2029\u202e", "\udc80"]})
    assert text.isascii()
    assert not re.search("[<>&]", text)
    assert json.loads(text) == {"</script>": ["<!--", "&amp;", "\u2028\u2029\u202e", "\udc80"]}


def test_what_is_too_large_is_cut_and_said(grow: Any) -> None:
    root = grow.root()
    grow.loader.output = lambda key: "begin" + "x" * 30_000 + "\rend of it"
    for at in range(5):
        history = [[i + 1, {"loss": 100.0 if i == 777 else float(i % 7)}, 1.0] for i in range(1_000)]
        grow.add("Step", root, properties={"at": at}, output="0" * 32, history=history)
    limits = Limits(logs=50_000, points=500, tensors=10)
    _, cold = embedded(grow.graph.nodes, limits)
    logs = [one["o"] for one in cold["nodes"][1:]]
    assert logs[0].startswith("… 10,015 characters before\n")
    assert logs[0].endswith("end of it"), "the end is what says how it went"
    assert "node.output" in logs[-1][0] or len(logs[-1]) < 20_100
    curve = cold["nodes"][1]["h"][0]
    assert len(curve[1]) <= 110
    assert curve[3] == 1_000
    assert (curve[1][0], curve[1][-1], max(curve[2]), min(curve[2])) == (1, 1_000, 100.0, 0.0)
    assert 778 in curve[1], "the peak is kept"


def test_a_built_wheel_has_the_page(tmp_path: Path) -> None:
    """Script and style are files of the package."""
    pytest.importorskip("setuptools", minversion="77")
    source = tmp_path / "source"
    shutil.copytree(ROOT / "dagtree", source / "dagtree", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    build = "import setuptools.build_meta as b, sys; b.build_wheel(sys.argv[1])"
    done = subprocess.run(
        [sys.executable, "-c", build, str(tmp_path)], cwd=source, capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": ""}, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    with zipfile.ZipFile(next(tmp_path.glob("*.whl"))) as wheel:
        names = set(wheel.namelist())
    there = {f"dagtree/analysis/{one.name}" for one in (ROOT / "dagtree" / "analysis").glob("*.[jc]s*")}
    assert (
        {"dagtree/analysis/page.js", "dagtree/analysis/panel.js", "dagtree/analysis/page.css"}
        <= there
        <= names
    )
