"""A process is known by its number and its beginning."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from nnseg_core.processes import began, place


def sleeper() -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])


def test_a_process_begins_once() -> None:
    assert began(os.getpid())
    assert began(os.getpid()) == began(os.getpid())


def test_a_process_that_has_ended_did_not_begin() -> None:
    process = sleeper()
    running = began(process.pid)
    process.kill()
    process.wait()

    assert running
    assert began(process.pid) is None


@pytest.mark.skipif(sys.platform == "win32", reason="there are no zombies on Windows")
def test_a_zombie_has_ended() -> None:
    process = sleeper()
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # ended, but not yet forgotten

    ended = began(process.pid)
    process.wait()

    assert ended is None


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root sees everything")
def test_a_process_of_another_user_is_there() -> None:
    assert began(1) is not None


def test_processes_of_one_machine_share_a_place() -> None:
    code = "from nnseg_core.processes import place; print(place())"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert told.stdout.strip() == place()
