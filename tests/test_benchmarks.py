"""The benchmarks run, check their own results, and report in one form. No time is ever checked here."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

CHECKOUT = Path(__file__).resolve().parent.parent
if str(CHECKOUT) not in sys.path:
    sys.path.insert(0, str(CHECKOUT))

from benchmarks import bench_nodes, harness, places  # noqa: E402 - tests may run from an installed dagtree
from benchmarks.__main__ import BEGIN, END, README, with_figures  # noqa: E402
from benchmarks.chains import Shape  # noqa: E402


def quick(module: str, folder: Path) -> tuple[str, dict[str, Any]]:
    """What a script prints, and what it writes as JSON, at tiny sizes."""
    file = folder / "figures.json"
    done = subprocess.run(
        [sys.executable, "-m", module, "--quick", "--json", str(file)],
        cwd=CHECKOUT,
        env={
            **harness.child_environment(),
            "TMPDIR": str(folder),
            "TORCHINDUCTOR_CACHE_DIR": f"{folder}-torch",
        },
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(file.read_text(encoding="utf-8"))
    assert [entry.name for entry in folder.iterdir()] == ["figures.json"], "trees were left behind"
    return done.stdout, found


def series_of(found: dict[str, Any]) -> dict[str, Any]:
    [report] = found["reports"]
    return dict(report["series"])


def check_form(printed: str, found: dict[str, Any]) -> None:
    assert found["machine"] in printed
    for report in found["reports"]:
        assert f"### {report['title']}" in printed
        assert report["targets"]
        for target in report["targets"]:
            assert set(target) == {"promise", "measured", "limit", "unit", "verdict"}
            assert target["verdict"] == ("ok" if target["measured"] <= target["limit"] else "missed")
            assert target["promise"] in printed
        for name, series in report["series"].items():
            assert series["least"] <= series["median"] <= series["most"], name
            assert all(value > 0 for value in series["values"]) or "minus" in name
    for line in printed.splitlines():
        if line.startswith("|"):
            assert line.endswith("|")


def test_import_is_measured_beside_dask_and_brings_nothing_heavy(tmp_path: Path) -> None:
    printed, found = quick("benchmarks.bench_import", tmp_path)
    check_form(printed, found)
    assert {"dagtree/import_s", "dask/import_s", "nothing/process_s"} <= set(series_of(found))
    [line] = [line for line in printed.splitlines() if line.startswith("| **`import dagtree`**")]
    assert line.endswith("| none of them |")


def test_defining_is_measured_in_many_chains_and_in_one(tmp_path: Path) -> None:
    printed, found = quick("benchmarks.bench_define", tmp_path)
    check_form(printed, found)
    for chains in (10, 1):
        for nodes in (20, 40):
            assert f"dagtree/{chains}/{nodes}/define_s" in series_of(found)
            assert f"dask/{chains}/{nodes}/define_s" in series_of(found)


def test_nodes_are_measured_cold_warm_and_reopened_beside_both_peers(tmp_path: Path) -> None:
    pytest.importorskip("joblib")
    printed, found = quick("benchmarks.bench_nodes", tmp_path)
    check_form(printed, found)
    names = set(series_of(found))
    for place in places.places()[0]:
        at = f"20/{place.name}"
        assert {f"{at}/{tool}/cold/total_s" for tool in ("dagtree", "joblib", "dask")} <= names
        assert {f"{at}/{tool}/warm/total_s" for tool in ("dagtree", "joblib")} <= names
        assert {f"{at}/dagtree/reopen/open_s", f"{at}/dagtree/reopen/filter_s"} <= names
    promises = " ".join(target["promise"] for target in found["reports"][0]["targets"])
    assert all(word in promises for word in ("cold", "warm", "reopen", "filter by tag"))


def test_states_are_kept_and_restored_beside_every_peer_that_is_there(tmp_path: Path) -> None:
    printed, found = quick("benchmarks.bench_states", tmp_path)
    check_form(printed, found)
    names = set(series_of(found))
    for place in places.places()[0][:1]:
        for phase in ("one", "all"):
            tools = ("dagtree", "floor", "torch", "safetensors")
            assert {f"{place.name}/{tool}/{phase}/chain_s" for tool in tools} <= names
        assert {f"{place.name}/dagtree/{name}" for name in ("restore/first_s", "touch/touch_s")} <= names
    promises = " ".join(target["promise"] for target in found["reports"][0]["targets"])
    assert all(word in promises for word in ("1 % changed", "all changed", "restoring", "peak", "verify"))
    assert "dagger: not measured" in printed


def test_safe_points_are_measured_beside_the_loop_without_them(tmp_path: Path) -> None:
    printed, found = quick("benchmarks.bench_moments", tmp_path)
    check_form(printed, found)
    assert {"alone/cpu_s", "none/wall_s", "auto/cpu_s"} <= set(series_of(found))


def test_a_search_for_a_ticket_is_kept_with_masks_packed_and_without(monkeypatch: Any) -> None:
    """In this process: what `main` does besides is to read its arguments."""
    tickets = pytest.importorskip("benchmarks.tickets")
    pytest.importorskip("safetensors.torch")
    from benchmarks import bench_tickets

    def here(arguments: list[str]) -> dict[str, float]:
        _, _, tool, manner, *numbers, directory = arguments
        if tool == "dense":
            monkeypatch.setattr(tickets.packing, "LEAST_BYTES", sys.maxsize)
        found = tickets.measure(tool, manner, tickets.Size(*map(int, numbers)), Path(directory))
        monkeypatch.setattr(tickets.packing, "LEAST_BYTES", 16_384)
        return dict(found)

    monkeypatch.setattr(bench_tickets, "fresh_python", here)
    report = bench_tickets.measure(harness.Options(quick=True))
    check_form(report.markdown() + "somewhere", {"machine": "somewhere", "reports": [report.plain()]})
    for place in places.places()[0][:1]:
        for manner, tools in (("torch", 3), ("own", 4)):
            for tool in ("dagtree", "dense", "torch", "safetensors")[:tools]:
                for what in ("save_s", "save_cpu_s", "restore_s", "disk_bytes"):
                    assert f"{place.name}/{manner}/{tool}/{what}" in report.series
            packed, dense = (
                report.series[f"{place.name}/{manner}/{tool}/disk_bytes"] for tool in ("dagtree", "dense")
            )
            assert packed.median < 0.8 * dense.median


def test_edits_are_counted_as_hits_and_misses_of_each_group(tmp_path: Path) -> None:
    file = tmp_path / "found.json"
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.identity", "--tool=dagtree", "--edits=1", f"--json={file}"],
        cwd=CHECKOUT,
        env={**harness.child_environment(), "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    [changing, keeping] = json.loads(file.read_text(encoding="utf-8"))["dagtree"]
    assert (changing["affected"], changing["hits"], changing["misses"]) == (11, [], [])
    assert (keeping["affected"], keeping["hits"], keeping["misses"]) == (0, [], [])
    assert "| helpers | 0 / 11 |" in done.stdout
    assert "| comments | 0 / 13 |" in done.stdout
    assert [entry.name for entry in tmp_path.iterdir()] == ["found.json"], "projects were left behind"


def test_a_peer_that_is_not_installed_is_a_line_and_no_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_nodes, "installed", lambda module: False)
    monkeypatch.setattr(bench_nodes, "one_repeat", lambda *_: {})
    monkeypatch.setattr(bench_nodes, "measure_place", lambda tools, *_: fake_times(tools))
    report = bench_nodes.measure(harness.Options(quick=True))
    assert "joblib.Memory: not installed, so not measured." in report.notes
    assert "raw Dask: not installed, so not measured." in report.notes
    assert "joblib.Memory |" not in report.markdown()


def fake_times(tools: list[str]) -> dict[str, harness.Series]:
    assert tools == ["dagtree"]
    names = {name for _, name, *_ in bench_nodes.LINES if name.startswith("dagtree")}
    return dict.fromkeys([*names, "dagtree/reopen/filter_cpu_s"], harness.Series((0.25,)))


def test_repeats_are_interleaved_and_their_order_rotates() -> None:
    order: list[str] = []

    def contestant(name: str) -> Any:
        def once(repeat: int) -> dict[str, float]:
            order.append(f"{name}{repeat}")
            return {"total_s": float(repeat)}

        return once

    found = harness.interleave(3, {name: contestant(name) for name in "abc"})
    assert order == ["a0", "b0", "c0", "b1", "c1", "a1", "c2", "a2", "b2"]
    assert found["b"]["total_s"].values == (0.0, 1.0, 2.0)


def test_selecting_is_measured_question_by_question(tmp_path: Path) -> None:
    printed, found = quick("benchmarks.bench_select", tmp_path)
    check_form(printed, found)
    assert "dagtree/path_conditions_again_s" in series_of(found)
    assert "Selecting out of 1,000 nodes" in printed


def test_a_ratio_is_the_median_of_the_ratios_within_each_repeat() -> None:
    ours, theirs = harness.Series((1.0, 30.0, 4.0)), harness.Series((2.0, 300.0, 5.0))
    ratio = ours.over(theirs)
    assert ratio.values == (0.5, 0.1, 0.8)
    assert ratio.median == 0.5
    assert ratio.text() == "0.50 (0.10–0.80)"


def test_a_wrong_result_ends_the_run_and_says_what_was_wrong() -> None:
    program = "from benchmarks.chains import check; check('x at the ends', [1], [2])"
    with pytest.raises(harness.ChildFailed) as caught:
        harness.fresh_python(["-c", program])
    assert "x at the ends: expected [2], found [1]" in str(caught.value)


def test_no_two_steps_of_a_tree_add_the_same_number() -> None:
    shape = Shape(nodes=1_000, chains=10, directory=Path())
    added = [i for chain in range(shape.chains) for i in shape.steps(chain)]
    assert sorted(added) == list(range(1, 1_001))
    assert sum(shape.expected()) == sum(added)


def test_figures_replace_only_their_section_between_the_markers() -> None:
    page = f"before\n{BEGIN}\n\n### A\n\nold a\n\n### B\n\nold b\n\n{END}\nafter\n"
    assert with_figures(page, ["### A\n\nnew a\n"]) == page.replace("old a", "new a")
    assert with_figures(page, ["### C\n\nc\n"]) == page.replace("old b\n\n", "old b\n\n### C\n\nc\n\n")
    both = with_figures(with_figures(page, ["### B\n\nb\n"]), ["### A\n\na\n"])
    assert both == page.replace("old ", "")
    with pytest.raises(ValueError, match="the page needs a line '<!-- figures -->'"):
        with_figures("no markers", ["### A\n"])
    assert BEGIN in README.read_text(encoding="utf-8")


def test_each_place_names_its_file_system() -> None:
    for place in places.places()[0]:
        assert place.title.endswith(f"({places.file_system(place.directory)})")
    if Path("/proc/mounts").exists():
        assert places.file_system(Path("/proc")) == "proc"
        assert places.file_system(Path("/proc/self")) == "proc"


def test_raw_dask_and_dagtree_take_turns_and_peers_stand_beside(tmp_path: Path) -> None:
    pytest.importorskip("joblib")
    printed, found = quick("benchmarks.bench_engine", tmp_path)
    check_form(printed, found)
    names = set(series_of(found))
    assert {"single-threaded/chains/20/0ms/dask_s", "threads/fan/20/1ms/dagtree_s"} <= names
    assert {"20/dagtree/cold/total_s", "20/joblib/warm/process_s"} <= names
    assert "dagger: not measured" in printed


def test_reading_a_state_ends_the_run_in_which_all_is_cached(tmp_path: Path) -> None:
    arguments = ["-m", "benchmarks.child", "chains_dagtree"]
    where = ["20", "2", str(tmp_path / "tree")]
    harness.fresh_python([*arguments, "cold", *where])
    assert harness.fresh_python([*arguments, "unread", *where])["run_s"] > 0
    program = (
        "from benchmarks import chains_dagtree as c; from benchmarks.chains import Shape; import pathlib;"
        f"c.unread(Shape(20, 2, pathlib.Path({str(tmp_path / 'tree')!r})));"
        f"c.warm(Shape(20, 2, pathlib.Path({str(tmp_path / 'tree')!r})))"
    )
    with pytest.raises(harness.ChildFailed, match="a state was read"):
        harness.fresh_python(["-c", program])


def test_what_a_run_holds_is_counted_in_states(tmp_path: Path) -> None:
    printed, found = quick("benchmarks.bench_memory", tmp_path)
    check_form(printed, found)
    assert set(series_of(found)) == {"chain/single-threaded/states", "fan/single-threaded/states"}


def test_two_states_are_compared_beside_the_loops_that_one_would_write(tmp_path: Path) -> None:
    printed, found = quick("benchmarks.bench_diff", tmp_path)
    check_form(printed, found)
    assert set(series_of(found)) == {"dagtree/diff_s", "dagtree/cpu_s", "torch/diff_s", "safetensors/diff_s"}
