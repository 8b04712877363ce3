import os
import signal
import sys
import threading
from pathlib import Path

import pytest

from nnseg_core.errors import Stopped
from nnseg_core.stopping import (
    STOP_FILE,
    StopRequest,
    heeding_signals,
    never,
    require_not_asked,
    stop_at_once,
    stop_request,
)

needs_signals = pytest.mark.skipif(sys.platform == "win32", reason="Windows kills instead")


def test_nobody_asks_until_somebody_does():
    request = StopRequest()

    assert (never(), request()) == (None, None)
    request.ask("SIGTERM")
    request.ask("SIGUSR1")
    assert request() == "SIGTERM"


@needs_signals
@pytest.mark.parametrize("name", ["SIGTERM", "SIGUSR1"])
def test_signals_are_requests_while_the_block_runs(name: str):
    request, number = StopRequest(), getattr(signal, name)
    before = signal.getsignal(number)

    with heeding_signals(request.ask):
        os.kill(os.getpid(), number)

    assert request() == name
    assert signal.getsignal(number) == before


@needs_signals
def test_work_that_is_begun_anew_anyway_ends_at_once():
    with pytest.raises(Stopped, match="stopped by SIGTERM"), heeding_signals(stop_at_once):
        os.kill(os.getpid(), signal.SIGTERM)


def test_other_threads_hear_no_signals_and_do_no_harm():
    reached: list[bool] = []

    def work() -> None:
        with heeding_signals(lambda reason: None):
            reached.append(True)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()

    assert reached == [True]


def test_the_own_file_is_deleted_when_it_is_seen_and_others_stay(tmp_path: Path):
    own, other = tmp_path / STOP_FILE, tmp_path / "other"
    own.touch()
    other.touch()

    assert StopRequest(own=own)() == f"the file {own}"
    assert StopRequest(files=(other,))() == f"the file {other}"
    assert (own.exists(), other.exists()) == (False, True)


def test_a_file_is_looked_for_once_a_second(tmp_path: Path):
    now = [0.0]
    request = StopRequest(files=(tmp_path / "halt",), clock=lambda: now[0])
    assert request() is None
    (tmp_path / "halt").touch()

    now[0] = 0.9
    assert request() is None
    now[0] = 1.0
    assert request() is not None


def test_a_file_left_from_before_is_not_a_request(tmp_path: Path):
    (tmp_path / STOP_FILE).touch()

    assert stop_request(tmp_path)() is None
    assert not (tmp_path / STOP_FILE).exists()


def test_a_request_that_came_too_late_is_heeded_after_the_work():
    request = StopRequest()
    require_not_asked(request)
    request.ask("SIGTERM")

    with pytest.raises(Stopped, match="stopped by SIGTERM. The same command goes on"):
        require_not_asked(request)
