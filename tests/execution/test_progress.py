"""How far a run is, as it is shown: one line in a terminal, a page in a notebook, log lines elsewhere."""

from __future__ import annotations

import io
import logging
import re
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

import dagtree as dg
from dagtree.execution.channel import task_names
from dagtree.execution.notebook import snapshot_html
from dagtree.execution.progress import Line, line_text
from dagtree.execution.snapshots import Running, Snapshot
from study import Add, Count, Fail, Number


def running(label: str = "Train(epochs=20, lr=0.1)", moment: int = 7, **metrics: Any) -> Running:
    return Running(label, "3f2a91c0" * 4, 0.0, moment, 20, metrics, "node-3", 12, "")


def snapshot(*under_way: Running, **more: Any) -> Snapshot:
    now = Snapshot(40, 3, 11, 1, 0, under_way, 63.0, 125.0, "", "")
    return now._replace(**more)


def test_the_line_says_all_that_matters() -> None:
    line = line_text(snapshot(running("Add(1)", 0), running(loss=0.31234)), 160)
    times = "1 min 3 s, about 2 min 5 s left"
    assert line.endswith(
        f"12/40  3 cached  1 failed  2 running  {times}  Train(epochs=20, lr=0.1) 7/20 loss=0.3123"
    )
    ended = line_text(snapshot(running(), done=39, ended="failed", left_s=None), 160)
    assert ended.endswith("40/40  3 cached  1 failed  1 min 3 s  failed")


@pytest.mark.parametrize("width", [20, 60, 80, 120])
def test_the_line_fits_and_moves_no_cursor(width: int) -> None:
    wild = running("Load(path='\x1b[2J\r\n" + "x" * 400 + "')", **{"a\nb": 1.0, "s": "\x07" * 300})
    line = line_text(snapshot(wild), width)
    assert len(line) <= width
    assert line.isprintable()


def test_the_page_escapes_what_users_wrote() -> None:
    wild = running("Load(path='<script>')", **{"<b>": 1.0, "s": "</td>"})
    html = snapshot_html(snapshot(wild, note="<i>"))
    assert not re.search(r"<script>|<b>|<i>|</td>=|s=</td>", html)
    assert "12 of 40 nodes · 3 cached · 1 failed · 1 running · 1 min 3 s, about 2 min 5 s left" in html
    assert html.count("<tr>") == 1
    many = snapshot_html(snapshot(*[running()] * 30))
    assert many.count("<tr>") == 12
    assert "18 more running" in many


def test_a_line_is_drawn_over_itself() -> None:
    stream = io.StringIO()
    line = Line(stream)
    line.begin(snapshot(running(loss=0.5)))
    line.pause()
    line.end(snapshot(ended="done"))
    last = stream.getvalue().rsplit("\r", 1)[1]
    assert last.endswith("1 min 3 s\n")


def test_where_nobody_looks_there_is_a_line_a_node(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "dagtree")
    exp = dg.Experiment(tmp_path / "tree", Number)
    root = exp.spawn_new_tree(start=1)
    Fail()(Count(2)(root))
    with pytest.raises(dg.RunError):
        exp.run()
    said = [record.getMessage() for record in caplog.records]
    assert [re.sub(r" in \d\.\d s", "", line) for line in said] == [
        "Number(start=1) done (1 of 3)",
        "Count(steps_wanted=2) done (2 of 3): value=3 step=1",
        "Fail(message='no luck') failed (3 of 3)",
    ]


@pytest.mark.parametrize(
    ("progress", "setup", "lines"),
    [
        ("'log'", "", 2),
        ("None", "", 0),
        ("False", "", 0),
        ("None", "import logging; logging.basicConfig(level=logging.INFO)", 2),
        ("'log'", "import logging; logging.basicConfig(level=logging.INFO)", 2),
        ("'log'", "import logging; logging.basicConfig(level=logging.WARNING)", 2),
    ],
)
def test_a_job_script_has_log_lines_when_it_asks(
    tmp_path: Path, progress: str, setup: str, lines: int
) -> None:
    script = f"""
        import sys, dagtree as dg
        from study import Number, Add
        {setup}
        exp = dg.Experiment(sys.argv[1], Number)
        Add(1)(exp.spawn_new_tree(start=1))
        exp.run(progress={progress})
        import logging
        log = logging.getLogger("dagtree")
        assert (log.level, log.handlers) == (0, [])
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), str(tmp_path / "tree")],
        capture_output=True,
        text=True,
        timeout=60,
        env={"PYTHONPATH": ":".join(sys.path), "PATH": ""},
    )
    assert done.returncode == 0, done.stderr
    assert len(done.stderr.splitlines()) == lines, done.stderr
    assert done.stderr.count(" done in ") == lines


@pytest.mark.parametrize("wrong", ["yes", 3, "bar"])
def test_another_progress_is_refused(tmp_path: Path, wrong: Any) -> None:
    exp = dg.Experiment(tmp_path / "tree", Number)
    exp.spawn_new_tree(start=1)
    with pytest.raises(dg.DefinitionError, match='give True or False, "log"'):
        exp.run(progress=wrong)


def test_the_line_shows_a_run_and_how_it_ended(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    exp = dg.Experiment(tmp_path / "tree", Number)
    root = exp.spawn_new_tree(start=1)
    Add(1)(Fail()(root))
    with pytest.raises(dg.RunError):
        exp.run(progress=True)
    last = capsys.readouterr().err.rstrip("\n").rsplit("\r", 1)[1]
    assert re.search(r"2/3  1 failed  1 skipped  0\.\d s  failed *$", last)


def test_a_notebook_shows_one_page_that_is_updated(tmp_path: Path) -> None:
    nbformat = pytest.importorskip("nbformat")
    nbclient = pytest.importorskip("nbclient")
    cell = f"""
        import sys, time
        sys.path[:0] = {sys.path!r}
        import dagtree as dg
        from study import Number
        class Train(dg.Recipe):
            epochs: int
            note: str = "<script>"
            def run(self, state):
                for epoch in self.steps(range(self.epochs)):
                    time.sleep(0.02)
                    yield {{"loss": 1 / (epoch + 1)}}
        exp = dg.Experiment({str(tmp_path / "tree")!r}, Number)
        Train(20)(exp.spawn_new_tree(start=1))
        report = exp.run()
    """
    cells = [textwrap.dedent(cell), "Train(5)(exp.root)\nawait exp.run('threads', wait=False)"]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(text) for text in cells])
    nbclient.NotebookClient(notebook, timeout=60).execute()
    (page,) = notebook.cells[0].outputs
    assert "2 of 2 nodes" in page["data"]["text/html"]
    assert "<b style='color:#009e73'>done</b>" in page["data"]["text/html"]
    page, report = notebook.cells[1].outputs
    assert "1 of 1 node · 2 cached" in page["data"]["text/html"]
    assert "<th" in report["data"]["text/html"]


def test_tasks_are_called_by_recipe_and_key_and_grouped_by_recipe(tmp_path: Path, client: Any) -> None:
    exp = dg.Experiment(tmp_path / "tree", Number)
    node = exp.spawn_new_tree(start=1)
    nodes = [Count(n)(node) for n in range(1, 4)]
    exp.run(client)
    prefixes = client.run_on_scheduler(lambda dask_scheduler: set(dask_scheduler.task_prefixes))
    assert {"Count", "Number"} <= prefixes
    assert not [name for name in prefixes if name.startswith("Count-")]
    names = task_names({node.key: node.name for node in nodes})
    assert all(names[node.key].startswith(f"Count-{node.key[:6]}") for node in nodes)
    from dask.utils import key_split

    odd = {"abcdefabcdef00": "Train", "abcdefabcdef01": "Train", "00aaaa1": "Train", "00aaaa2": "Train"}
    assert {key_split(name) for name in task_names(odd).values()} == {"Train"}
    assert len(set(task_names(odd).values())) == 4
