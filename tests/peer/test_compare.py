"""The comparison itself: what is measured of a process, how it is judged, where it is written."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def scripts(monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).parent)


TOLD = """
import sys
sys.path.insert(0, sys.argv[1])
import meter
meter.call(lambda: b"x" * 200_000_000)
"""


@pytest.mark.skipif(not hasattr(os, "wait4"), reason="this platform tells wall time only")
def test_a_process_is_measured_and_so_is_the_call_in_it(tmp_path: Path):
    import meter

    command = [sys.executable, "-c", TOLD, str(Path(__file__).parent)]
    with (tmp_path / "log").open("w+", encoding="utf-8") as log:
        measured = meter.run(command, os.environ, log)

    assert 0 < measured["cpu"] < 60
    assert measured["wall"] >= measured["call wall"] > 0
    assert 200 < measured["memory"] < 300  # MB
    if "call memory" in measured:  # Linux
        assert 190 < measured["call memory"] < 250


@pytest.mark.skipif(not hasattr(os, "wait4"), reason="this platform tells wall time only")
def test_the_memory_of_whoever_measures_does_not_count(tmp_path: Path):
    import meter

    kept = b"x" * 200_000_000
    with (tmp_path / "log").open("w+", encoding="utf-8") as log:
        measured = meter.run([sys.executable, "-c", "pass"], os.environ, log)

    assert measured["memory"] < len(kept) / 1e6 / 2


def test_a_process_that_fails_is_named_with_its_log(tmp_path: Path):
    import meter

    failing = [sys.executable, "-c", "raise SystemExit(3)"]
    said = r"-c raise SystemExit\(3\) ended with 3\. See .*log"
    with (tmp_path / "log").open("w+") as log, pytest.raises(RuntimeError, match=said):
        meter.run(failing, os.environ, log)


def test_ours_is_judged_by_the_best_of_the_others():
    from compare import judge
    from rows import Bar

    variants = {
        "nnseg": {"wall": 2.0, "cpu": 4.0},
        "nnseg fp32": {"wall": 5.0},
        "nnU-Net": {"wall": 9.0, "cpu": 8.0},
        "nnU-Net, other": {"wall": 7.0, "cpu": 9.0},
    }
    bars = [Bar("wall", 3), Bar("cpu", 3), Bar("wall", 1, "nnseg fp32"), Bar("cpu"), Bar("memory")]

    wall, cpu, single, told = judge(bars, variants)

    assert (wall["ratio"], wall["passed"]) == (3.5, True)
    assert (cpu["ratio"], cpu["passed"]) == (2.0, False)
    assert (single["ratio"], single["passed"]) == (1.4, True)
    assert (told["required"], told["passed"]) == (None, True)


def test_the_table_has_a_line_per_bar_and_one_for_the_results():
    from compare import failed, judge, table
    from rows import Bar

    bars = [Bar("wall", 4), Bar("memory")]
    sides = {"nnseg": {"wall": 0.5, "memory": 100}, "nnU-Net": {"wall": 1.0, "memory": 1000}}
    row = {"title": "work", "agreement": "all equal", "agrees": True, "bars": judge(bars, sides)}

    *_, first, second, results = table({"a": row})

    assert first == "| a | work | wall time | 1 s | 0.5 s | 2.0 | 4 | **fail** |"
    assert second == "|  |  | memory of the largest process | 1000 MB | 100 MB | 10.0 |  |  |"
    assert results == "| | | results: all equal | | | | |  |"
    assert failed(row)


def test_the_table_goes_between_the_markers_and_nowhere_else():
    from compare import BEGIN, END, PAGE, insert

    page = f"before\n{BEGIN}\nold\n{END}\nafter\n"

    assert insert(page, "new") == f"before\n{BEGIN}\nnew\n{END}\nafter\n"
    assert BEGIN in PAGE.read_text(encoding="utf-8")
    with pytest.raises(ValueError, match="the page lacks"):
        insert("no markers", "new")
