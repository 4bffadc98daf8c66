"""Patterns over paths: what they match, what they say when they can't be read, and how long they take."""

from __future__ import annotations

import itertools
import random
import re
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dagtree.analysis.graph import Graph
from dagtree.errors import SelectionError

PRUNED = ["Train", "Train/Prune", "Train/Prune"] * 2


@pytest.mark.parametrize(
    ("pattern", "paths"),
    [
        ("Train", ["Train", "Train"]),
        ("Train/(Prune/Train)*", ["Train", "Train"]),
        ("Train/(Prune/Rewind/Train)*", ["Train", "Train/Prune/Rewind/Train"] * 2),
        ("Train/(Prune/Rewind/Train)+", ["Train/Prune/Rewind/Train"] * 2),
        ("Train / Prune ?", ["Train", "Train/Prune", "Train/Prune"] * 2),
        ("Train@1", ["Train@1"] * 2),
        ("Train@2", []),
        ("Train@*", ["Train@1"] * 2),
        ("root", ["root"]),
        ("root/Train", ["Train", "Train"]),
        ("**/Rewind", ["Train/Prune/Rewind"] * 2),
        ("*", ["Train"] * 2),
        ("*/*", ["Train/Prune"] * 4),
        ("'T*n'", ["Train"] * 2),
        ('Train/"?rune"', ["Train/Prune"] * 4),
        ("Train[lr=0.1]", ["Train"]),
        ("Train[lr=.1, epochs==20]", ["Train"]),
        ("Train[lr!=0.1]", ["Train"]),
        ("Train[lr>0.01 and lr<=0.1]", ["Train"]),
        ("Train@1[lr=0.01]", ["Train@1"]),
        ("Train[epochs=20.0]", ["Train"] * 2),
        ("Train[epochs=many]", []),
        ("Train/Prune[fraction>=0.5]", ["Train/Prune"] * 4),
        ("*[lr=0.1]/Prune[fraction>0.5]", ["Train/Prune"]),
        ("root[dataset=digits]/Train", ["Train"] * 2),
        ("root[dataset='letters']/Train", []),
        ("Train[results.accuracy>0.9]", ["Train"]),
        ("Train[metrics.loss<0.4]", ["Train"]),
        ("Train/(Prune|Rewind)", ["Train/Prune"] * 4),
        ("Train|Train/Prune|root", ["root", *PRUNED]),
        ("((Train)?)*", ["root", "Train", "Train"]),
        ("(Train?/Prune?)*", ["root", *PRUNED]),
    ],
)  # fmt: skip
def test_a_pattern_matches_whole_paths(study: Any, pattern: str, paths: list[str]) -> None:
    """From the root along first parents; the tree's order."""
    nodes = study.graph.nodes
    found = nodes.path(pattern)
    if pattern == "Train/(Prune/Rewind/Train)*":
        assert sorted(node.path for node in found) == sorted(paths)
    else:
        assert [node.path for node in found] == paths
    assert nodes.where(path=pattern) == found
    assert nodes[3:9].path(pattern) == nodes[3:9] & found


@pytest.mark.parametrize(
    ("pattern", "said", "at"),
    [
        ("", "at least one recipe", 0),
        ("   ", "at least one recipe", 3),
        ("Train/", "ends where a recipe's name is missing", 6),
        ("/Train", "name is missing before this", 0),
        ("Train//Prune", "name is missing before this", 6),
        ("Train Prune", "'/' or '|' is missing before this", 6),
        ("(Train", "never closed", 0),
        ("Train)", "never opened", 5),
        ("(Train Prune)", "'/' or '|' is missing before this", 7),
        ("Train/(Prune/)", "name is missing before this", 13),
        ("+Train", "nothing before this", 0),
        ("Train[lr=0.1", "a ',' or ']' is missing|never closed", 5),
        ("Train[", "bracket is never closed", 5),
        ("Train[]", "begins with a name", 6),
        ("Train[lr]", "comparison is missing", 8),
        ("Train[lr=]", "value is missing", 9),
        ("Train[lr=0.1 epochs=2]", "',' or ']' is missing", 13),
        ("Train[lr=0..1]", "no number and no name", 9),
        ("Train[lr=0.1]@1", "a moment stands before the conditions", 13),
        ("Train@0", "counted from 1", 5),
        ("Train@", "counted from 1", 5),
        ("@1", "after a recipe's name", 0),
        ("Train-Prune", "can't be read here", 5),
        ("''", "can't be empty", 0),
        ("Trian/Prune", "recipe 'Trian'; there are: Prune, Rewind, Train", 0),
        ("Train/Prune[fractoin>0.5]", "fractoin", 12),
        ("Train{2}", "can't be read here", 5),
        ("9", "letters, digits", 0),
        ("Train/'Prune*", "this quote is never closed", 6),
    ],
)
def test_a_malformed_pattern_says_where(study: Any, pattern: str, said: str, at: int) -> None:
    """A caret stands under the place."""
    with pytest.raises(SelectionError, match=said) as caught:
        study.graph.nodes.path(pattern)
    shown, caret = str(caught.value).splitlines()[-2:]
    assert shown[2:] == pattern
    assert caret == " " * (at + 2) + "^"


def test_a_long_pattern_is_shown_around_the_place(study: Any) -> None:
    with pytest.raises(SelectionError) as caught:
        study.graph.nodes.path("Train/" * 100 + "/" + "Train" * 30)
    shown, caret = str(caught.value).splitlines()[-2:]
    assert shown[len(caret) - 1] == "/"
    assert len(shown) < 130
    with pytest.raises(SelectionError, match="100 deep"):
        study.graph.nodes.path("(" * 200 + "Train" + ")" * 200)
    with pytest.raises(TypeError, match="takes a pattern"):
        study.graph.nodes.path(5)


def test_below_what_is_not_there_only_any_path_matches(grow: Any) -> None:
    orphan = grow.add("Train", "f" * 32)
    grow.add("Prune", orphan)
    nodes = grow.graph.nodes
    assert [node.path for node in nodes] == ["…/Train", "…/Train/Prune"]
    assert nodes.path("Train") == nodes[:0]
    assert nodes.path("**/Train") == nodes[:1]
    assert nodes.path("**/Train/Prune") == nodes[1:]
    assert nodes.path("*/Train") == nodes[:0]
    assert nodes.path("**") == nodes


@pytest.mark.parametrize(
    "pattern", ["(A*)*/B", "(A|A)*/B", "(A?/A?/A?)*/B", "**/A/" + "/".join("*" * 25), "(A/A?)+/B"]
)
def test_no_pattern_is_slow_on_a_deep_tree(grow: Any, pattern: str) -> None:
    """Patterns that take a backtracking matcher for ever, on a chain of 2,000 nodes; nothing recurses."""
    node = grow.root()
    for at in range(2_000):
        node = grow.add("A", node, properties={"at": at})
    grow.add("B", node)
    nodes = grow.graph.nodes
    began = time.process_time()
    nodes.path(pattern)
    assert time.process_time() - began < 2.0


LETTERS = "AB"
patterns = st.recursive(
    st.sampled_from(["A", "B", "*"]),
    lambda inner: st.one_of(
        st.tuples(inner, inner).map("/".join),
        st.tuples(inner, inner).map(lambda two: f"({two[0]}|{two[1]})"),
        st.tuples(inner, st.sampled_from("*+?")).map(lambda two: f"({two[0]}){two[1]}"),
    ),
    max_leaves=6,
)


def every_path() -> Graph:
    """All paths over two recipes of up to five edges."""
    from conftest import Grower

    grow = Grower()
    at = {"": grow.root()}
    for length in range(1, 6):
        for word in map("".join, itertools.product(LETTERS, repeat=length)):
            at[word] = grow.add(word[-1], at[word[:-1]])
    return grow.graph


TREE = every_path()


@settings(max_examples=80, deadline=None)
@given(patterns)
def test_a_pattern_matches_what_a_regular_expression_does(pattern: str) -> None:
    """The same pattern as a regular expression of Python, over all paths of up to five edges."""
    meant = re.compile(re.sub(r"(?<![)\w*])\*|(?<=/)\*|(?<=\()\*", ".", pattern).replace("/", ""))
    words = {node.key: "" if node.path == "root" else node.path.replace("/", "") for node in TREE.nodes}
    expected = [key for key in TREE.nodes.keys if meant.fullmatch(words[key])]
    assert list(TREE.nodes.path(pattern).keys) == expected, (pattern, meant.pattern)


def test_patterns_of_noise_are_read_or_refused() -> None:
    """Whatever is typed gives an answer or an error that says where, never anything else."""
    chance = random.Random(5)
    for _ in range(3_000):
        noise = "".join(chance.choice("AB*+?()/|[]@1='\". ,<>!&\n\\é∞") for _ in range(chance.randrange(12)))
        said = "^"
        try:
            TREE.nodes.path(noise)
        except SelectionError as error:
            said = str(error)
        assert said.endswith("^"), noise
