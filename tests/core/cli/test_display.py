"""What is said on the way, where there is no terminal."""

from __future__ import annotations

import io
import logging

import pytest
from rich.console import Console

from nnseg_core.cli import display
from nnseg_core.cli.display import log_shown


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds, to be set by the test."""
    now = [0.0]
    monkeypatch.setattr(display.time, "monotonic", lambda: now[0])
    return now


def test_a_short_step_says_only_that_it_is_done(
    clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    report = display.reporter()

    for done in (1, 2, 3):
        clock[0] += 1
        report("examine", done, 3, f"case {done}")

    assert capsys.readouterr().err == "examine: 3/3 (case 3)\n"


def test_a_long_step_says_now_and_then_how_long_it_will_take(
    clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    report = display.reporter()

    for done in (1, 2, 3):
        report("predict", done, 4, f"case {done}")
        clock[0] += 20

    assert capsys.readouterr().err == "predict: 3/4 (case 3), 13 s left\n"


def test_parts_without_a_name_leave_no_line_when_they_end(
    clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    report = display.reporter()

    for _ in range(2):
        for done in (1, 2):
            report("train", done, 2)
            clock[0] += 5

    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("seconds", [0.1, 4])
def test_a_terminal_shows_the_parts_of_long_cases_below_the_cases(
    seconds: float, clock: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    written = io.StringIO()
    console = Console(file=written, force_terminal=True, width=80)
    monkeypatch.setattr(display, "_errors", lambda: console)
    report = display.reporter()

    for case in (1, 2):
        for done in (1, 2, 3, 4):
            report("tiles", done, 4)
            clock[0] += seconds
        report("predict", case, 2, f"case {case}")

    shown = written.getvalue()
    assert ("tiles" in shown) == (seconds > 1)
    last = shown[shown.rindex("predict") :]
    assert "2/2" in last and "case 2" in last and "tiles" not in last


def test_a_piped_table_is_not_cut(capsys: pytest.CaptureFixture[str]) -> None:
    display.table(("name", "text"), [("a", "word " * 60)])

    assert ("word " * 60).strip() in capsys.readouterr().out


def test_what_plugins_log_is_shown_and_other_packages_only_warn(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with log_shown():
        logging.getLogger("nnseg_fancy.trainer").info("the fancy way is taken")
        logging.getLogger("matplotlib").info("found a font")
        logging.getLogger("matplotlib").warning("found no font")
    logging.getLogger("nnseg_fancy.trainer").info("afterwards")
    assert capsys.readouterr().err.splitlines() == ["the fancy way is taken", "found no font"]
