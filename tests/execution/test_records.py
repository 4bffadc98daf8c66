"""What is written down about a node: enough to answer, a year later, where a number comes from."""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import dagtree as dg
from study import Add, Count, Number


class Talk(dg.Recipe):
    words: str = "hello"

    def run(self, state: Any) -> Any:
        print("out:", self.words)
        print("err:", self.words, file=sys.stderr)
        return state


@pytest.fixture
def exp(tmp_path: Path) -> dg.Experiment:
    return dg.Experiment(tmp_path / "tree", Number)


def test_a_record_says_who_made_it_where_when_and_from_what(exp: dg.Experiment) -> None:
    with exp.tag("counted"):
        counted = Count(2)(exp.spawn_new_tree(start=1))
    exp.run()
    restored = dg.Experiment.restore(exp.directory)
    node = restored.graph.node(counted.key)
    record = node.record
    more = record.more
    assert (node.key, node.recipe, node.tags, node.properties) == (
        counted.key,
        "Count",
        ("counted",),
        {"steps_wanted": 2},
    )
    assert [parent.key for parent in node.parents] == [counted.parents[0].key]
    assert more["module"] == "study"
    assert more["started"] <= record.ended
    assert node.seconds >= 0
    assert more["device"]
    assert set(more["seeds"]) == {"key"}
    assert node.size_bytes > 0
    environment = restored.graph._tree.loader.environment(more["environment"])
    assert environment["python"] == ".".join(map(str, sys.version_info[:3]))
    assert environment["host"]
    assert environment["packages"]["dask"]
    assert set(environment) >= {"git", "platform"}
    texts = [source["text"] for source in restored.graph._tree.loader.sources(more["sources"])]
    assert any("state.value += 1" in text for text in texts)


def test_the_git_commit_and_whether_it_was_changed_are_recorded(tmp_path: Path) -> None:
    script = tmp_path / "repository" / "script.py"
    script.parent.mkdir()
    script.write_text(
        "import sys, dagtree as dg\nfrom study import Add, Number\n"
        "exp = dg.Experiment(sys.argv[1], Number)\nAdd(1)(exp.spawn_new_tree(start=1))\nexp.run()\n"
    )

    def git(*words: str) -> str:
        identity = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
        return subprocess.run(
            ["git", *identity, *words], cwd=script.parent, check=True, capture_output=True, text=True
        ).stdout.strip()

    git("init", "-q")
    git("add", ".")
    git("commit", "-qm", "first")
    found = []
    for name in ("clean", "dirty"):
        if name == "dirty":
            script.write_text(script.read_text() + "# changed\n")
        subprocess.run([sys.executable, str(script), str(tmp_path / name)], check=True, env=_environment())
        graph = dg.Experiment.restore(tmp_path / name).graph
        found.append(graph._tree.loader.environment(graph.root.record.more["environment"])["git"])
    assert found == [
        {"commit": git("rev-parse", "HEAD"), "dirty": False},
        {"commit": git("rev-parse", "HEAD"), "dirty": True},
    ]


def test_asking_git_writes_nothing_into_the_users_repository(tmp_path: Path) -> None:
    """Git would write its index anew, under a lock; who is killed meanwhile leaves that, and the user's next
    commit is refused."""
    import os

    from dagtree.execution.environment import Commit

    (tmp_path / "file").write_text("content")
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
    for words in (["init", "-q"], ["add", "."], [*identity, "commit", "-qm", "first"]):
        subprocess.run(["git", *words], cwd=tmp_path, check=True)
    os.utime(tmp_path / "file", (1, 1))  # so that git has to look at it again, and would note that it did
    index = tmp_path / ".git" / "index"
    before = index.read_bytes()
    with Commit(tmp_path) as commit:
        said = commit()
    assert said is not None
    assert said["dirty"] is False
    assert index.read_bytes() == before


def _environment() -> dict[str, str]:
    import os

    return {**os.environ, "PYTHONPATH": ":".join(path for path in sys.path if path)}


@pytest.mark.parametrize("scheduler", ["single-threaded", "threads", "processes"])
def test_what_a_recipe_prints_is_kept_with_it_and_still_reaches_the_terminal(
    exp: dg.Experiment, scheduler: str, capfd: pytest.CaptureFixture[str]
) -> None:
    root = exp.spawn_new_tree(start=1)
    talks = [Talk(words=word)(root) for word in ("one", "two")]
    exp.run(scheduler, workers=2)
    out, err = capfd.readouterr()
    for talk, word in zip(talks, ("one", "two"), strict=True):
        assert exp.graph.node(talk.key).output == f"out: {word}\nerr: {word}\n"
        assert f"out: {word}" in out
        assert f"err: {word}" in err
    assert exp.graph.node(root.key).output == ""


class Chatter(dg.Recipe):
    def run(self, state: Any) -> Any:
        import threading

        logging.getLogger("chatter").warning("logged")
        thread = threading.Thread(target=print, args=("from a thread",))
        thread.start()
        thread.join()
        return state


def test_what_its_threads_print_and_what_it_logs_is_kept_too(
    exp: dg.Experiment, capsys: pytest.CaptureFixture[str]
) -> None:
    handler = logging.StreamHandler()  # holds on to the stderr of now, as basicConfig's does
    logging.getLogger("chatter").addHandler(handler)
    try:
        chatter = Chatter()(exp.spawn_new_tree(start=1))
        exp.run()
    finally:
        logging.getLogger("chatter").removeHandler(handler)
    assert exp.graph.node(chatter.key).output == "logged\nfrom a thread\n"
    out, err = capsys.readouterr()
    assert "from a thread" in out
    assert "logged" in err


def test_a_function_that_prints_leaves_the_recipes_output_alone(exp: dg.Experiment) -> None:
    @dg.function
    def log(state: Any) -> None:
        print("the function")

    talk = log(Talk()(exp.spawn_new_tree(start=1)))
    exp.run()
    assert exp.graph.node(talk.key).output == "out: hello\nerr: hello\n"


@pytest.mark.parametrize("folder", ["environments", "sources", "files"])
def test_what_lies_beside_the_nodes_is_never_returned_when_it_was_changed(
    exp: dg.Experiment, folder: str, caplog: pytest.LogCaptureFixture
) -> None:
    talk = Talk()(exp.spawn_new_tree(start=1))
    exp.run()
    for path in (exp.directory / folder).rglob("*"):
        if path.is_file():
            path.write_text(path.read_text().replace("e", "3"))
    node = dg.Experiment.restore(exp.directory).graph.node(talk.key)
    with pytest.raises(dg.DamagedError, match=folder):
        _ = {
            "environments": lambda: node.environment,
            "sources": lambda: node.sources,
            "files": lambda: node.output,
        }[folder]()
    with caplog.at_level(logging.WARNING, logger="dagtree"):
        assert exp.verify() == ()
    assert any(folder in message for message in caplog.messages)


def test_a_line_that_cannot_be_read_is_named_once_for_ever(exp: dg.Experiment) -> None:
    added = Add(1)(exp.spawn_new_tree(start=1))
    exp.run()
    records = next((exp.directory / "records").iterdir())
    records.write_bytes(records.read_bytes().replace(added.key.encode(), b"?" * 32))
    reports = []
    for _ in range(3):
        again = dg.Experiment(exp.directory, Number)
        Add(1)(again.spawn_new_tree(start=1))
        reports += [again.run(), again.run()]
    assert [len(report.damaged) for report in reports] == [1, 0, 0, 0, 0, 0]
    assert [report.computed for report in reports] == [1, 0, 0, 0, 0, 0]


def test_a_directory_that_is_removed_during_a_run_is_an_error(exp: dg.Experiment) -> None:
    class Remove(dg.Recipe):
        directory: str

        def run(self, state: Any) -> Any:
            import shutil

            shutil.rmtree(self.directory)
            return state

    Add(1)(Remove(directory=str(exp.directory))(exp.spawn_new_tree(start=1)))
    with pytest.raises(dg.StorageError, match=r"not in .* any more"):
        exp.run()


def test_two_recipes_of_one_name_beside_each_other_are_both_in_the_graph(tmp_path: Path) -> None:
    def pruner(sign: int) -> type[dg.Recipe]:
        class Prune(dg.Recipe):
            def run(self, state: Any) -> Any:
                state.value *= sign
                return state

        return Prune

    for _ in range(2):
        exp = dg.Experiment(tmp_path / "tree", Number)
        root = exp.spawn_new_tree(start=3)
        leaves = [Add(1)(pruner(sign)()(root)) for sign in (1, -1)]
        exp.run()
        for graph in (exp.graph, dg.Experiment.restore(exp.directory).graph):
            assert len(graph.superseded) == 0
            assert {leaf.key for leaf in leaves} == set(graph.leaves.keys)


def test_a_failed_node_keeps_its_error_and_what_it_printed(exp: dg.Experiment) -> None:
    class Sorry(dg.Recipe):
        def run(self, state: Any) -> Any:
            print("so far so good")
            raise ValueError("sorry")

    sorry = Sorry()(exp.spawn_new_tree(start=1))
    with pytest.raises(dg.RunError):
        exp.run()
    node = dg.Experiment.restore(exp.directory).graph.node(sorry.key)
    assert node.status == "failed"
    assert node.record.more["error"]["message"] == "sorry"
    assert "raise ValueError" in node.record.more["error"]["traceback"]
    assert node.output == "so far so good\n"


def test_a_new_tag_is_written_down_and_computes_nothing(exp: dg.Experiment) -> None:
    added = Add(1)(exp.spawn_new_tree(start=1))
    exp.run()
    again = dg.Experiment(exp.directory, Number)
    with again.tag("late"):
        Add(1)(again.spawn_new_tree(start=1))
    assert again.run().computed == 0
    assert dg.Experiment.restore(exp.directory).graph.node(added.key).tags == ("late",)


def test_a_damaged_node_is_named_once_and_computed_again(
    exp: dg.Experiment, caplog: pytest.LogCaptureFixture
) -> None:
    root = exp.spawn_new_tree(start=1)
    exp.run()
    pack = next((exp.directory / "packs").iterdir())
    content = bytearray(pack.read_bytes())
    content[len(content) // 2] ^= 255
    pack.write_bytes(content)
    again = dg.Experiment(exp.directory, Number)
    added = Add(1)(again.spawn_new_tree(start=1))
    with caplog.at_level(logging.WARNING, logger="dagtree"):
        report = again.run()
    assert (report.computed, report.failed, len(report.damaged)) == (2, 0, 1)
    assert root.key in report.damaged[0]
    assert len([message for message in caplog.messages if root.key in message]) == 1
    assert added.get().value == 2
    third = dg.Experiment(exp.directory, Number)
    Add(1)(third.spawn_new_tree(start=1))
    report = third.run()
    assert (report.computed, report.damaged) == (0, ())


@pytest.mark.parametrize("scheduler", ["threads", "processes"])
def test_damage_heals_on_every_scheduler(exp: dg.Experiment, scheduler: str) -> None:
    middle = Add(1)(exp.spawn_new_tree(start=1))
    exp.run()
    for pack in (exp.directory / "packs").iterdir():
        pack.write_bytes(bytes(pack.stat().st_size))
    again = dg.Experiment(exp.directory, Number)
    leaves = [Add(i)(Add(1)(again.spawn_new_tree(start=1))) for i in range(4)]
    report = again.run(scheduler, workers=2)
    assert report.failed == 0
    assert [leaf.get().value for leaf in leaves] == [2, 3, 4, 5]
    assert again.graph.node(middle.key).restore().value == 2


def test_get_of_a_damaged_node_computes_it_again(exp: dg.Experiment) -> None:
    added = Add(1)(exp.spawn_new_tree(start=1))
    exp.run()
    for pack in (exp.directory / "packs").iterdir():
        pack.write_bytes(bytes(pack.stat().st_size))
    again = dg.Experiment(exp.directory, Number)
    assert Add(1)(again.spawn_new_tree(start=1)).get().value == added.get().value == 2


def test_verify_names_what_is_damaged_and_the_next_run_computes_it(exp: dg.Experiment) -> None:
    added = Add(1)(exp.spawn_new_tree(start=1))
    exp.run()
    assert exp.verify() == ()
    for pack in (exp.directory / "packs").iterdir():
        pack.write_bytes(bytes(pack.stat().st_size))
    assert set(exp.verify()) == {added.key, added.parents[0].key}
    assert exp.graph.node(added.key).status == "damaged"
    assert exp.run().computed == 2


def test_editing_a_recipe_replaces_its_nodes_in_the_graph(tmp_path: Path) -> None:
    def define(bonus: int) -> tuple[dg.Experiment, dg.ExperimentStatePromise]:
        class Change(dg.Recipe):
            def run(self, state: Any) -> Any:
                state.value += bonus
                return state

        exp = dg.Experiment(tmp_path / "tree", Number)
        root = exp.spawn_new_tree(start=1)
        with exp.tag("changed"):
            return exp, Add(1)(Change()(root))

    values = []
    for bonus in (10, 20, 10):
        exp, leaf = define(bonus)
        exp.run()
        graph = dg.Experiment.restore(tmp_path / "tree").graph
        assert leaf.key in {node.key for node in graph.nodes}
        assert len(graph.nodes) == 3
        values.append([node.restore().value for node in graph.nodes.filter("changed")])
    assert values == [[11, 12], [21, 22], [11, 12]]
    assert len(graph.superseded) == 2
