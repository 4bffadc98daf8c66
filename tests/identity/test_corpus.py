"""A realistic project, edited: every edit changes the keys of the nodes that it affects, and no other."""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Iterable
from pathlib import Path

import pytest
from corpus.cautious import CAUTIOUS
from corpus.changing import CHANGING
from corpus.edit import Edit
from corpus.keeping import KEEPING
from corpus.project import NODES, imported, read_files, with_descendants

FILES = read_files()


@functools.cache
def unedited() -> tuple[dict[str, str], dict[str, object]]:
    """Keys and true values of the project as it is."""
    with tempfile.TemporaryDirectory() as folder, imported(FILES, Path(folder)) as project:
        return project.keys, project.values()


def edited(edit: Edit, folder: Path) -> tuple[dict[str, str], dict[str, object]]:
    with imported(edit.applied(FILES), folder) as project:
        if edit.then is not None:
            edit.then(project)
            project.define_again()
        return project.keys, project.values()


def differing(before: dict, after: dict) -> set[str]:
    assert set(before) == set(after) == NODES
    return {name for name in NODES if before[name] != after[name]}


def cases(edits: Iterable[Edit], cautious: bool = False) -> list:
    return [
        pytest.param(edit, id=f"{edit.group}: {edit.name}") for edit in edits if edit.is_cautious is cautious
    ]


@pytest.mark.parametrize("edit", cases(CHANGING))
def test_an_edit_changes_the_keys_of_the_nodes_it_affects_and_no_others(edit, tmp_path):
    keys, values = edited(edit, tmp_path)
    expected = with_descendants(edit.affects)
    assert differing(unedited()[1], values) == expected, "the corpus is wrong about what this edit changes"
    assert differing(unedited()[0], keys) == expected


@pytest.mark.parametrize("edit", cases(KEEPING))
def test_an_edit_without_meaning_changes_no_key(edit, tmp_path):
    keys, values = edited(edit, tmp_path)
    assert not differing(unedited()[1], values), "the corpus is wrong about what this edit changes"
    assert not differing(unedited()[0], keys)


@pytest.mark.parametrize("edit", cases((*CHANGING, *KEEPING), cautious=True))
def test_where_something_else_might_be_meant_more_keys_change_and_never_fewer(edit, tmp_path):
    keys, values = edited(edit, tmp_path)
    expected = with_descendants(edit.affects)
    assert differing(unedited()[1], values) == expected, "the corpus is wrong about what this edit changes"
    assert differing(unedited()[0], keys) > expected, "not cautious any more: take it from the list"


def test_the_corpus_is_as_large_as_it_says_and_names_every_edit_once():
    names = [edit.name for edit in (*CHANGING, *KEEPING)]
    assert len(names) == len(set(names))
    assert set(CAUTIOUS) <= set(names)
    assert len(cases(CHANGING)) >= 60
    assert len(cases(KEEPING)) >= 60
    assert all(edit.affects for edit in CHANGING)
    assert not any(edit.affects for edit in KEEPING)


def test_every_edit_gives_keys_of_its_own(tmp_path):
    found: dict[str, str] = {}
    for edit in (edit for edit in CHANGING if edit.group in ("constants", "bodies")):
        keys, _ = edited(edit, tmp_path / edit.name)
        for node in edit.affects:
            assert found.setdefault(keys[node], edit.name) == edit.name


def test_the_sources_of_an_edge_are_those_that_it_reaches(tmp_path):
    with imported(FILES, tmp_path) as project:
        sources = {source.name: source for source in project.names["nodes"]["warm"].code.sources}
        pruned = {source.name for source in project.names["nodes"]["pruned"].code.sources}
    assert {"Train.run", "Step.begin", "State.normalise", "State._largest", "Wide.forward"} <= set(sources)
    assert {"Layer.forward", "activate"} <= set(sources)
    assert not {"Step.help", "State.plot", "State.initialize_state", "Prune.run"} & set(sources)
    assert {"Prune.run", "State.magnitudes", "shaken"} <= pruned
    assert not {"Train.run", "activate", "State.normalise"} & pruned
    assert sources["activate"].text.startswith("def activate(x, slope=0.1")
    assert sources["activate"].file.endswith("layers.py")
    lines = (tmp_path / "lab/layers.py").read_text().splitlines()
    assert lines[sources["activate"].line - 1].startswith("def activate")
