"""Real processes, which import no torch and take half a second."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from nnseg_core.team import Team, current, joined, speaks
from nnseg_core.testing.launching import ended, launch

BEGIN = """
import os, sys, time
from nnseg_core.errors import CasesFailed, NnsegError, Stopped
from nnseg_core.ranks import from_environment
from nnseg_core.team import current, joined, speaks
rank = int(os.environ["RANK"])
with joined(from_environment()) as team:
"""

Run = Callable[..., tuple[list[int], list[str], list[str]]]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Runs lines as ranks; returns exit codes, standard outputs and standard errors."""

    def run(*lines: str, count: int = 3, **environment: str) -> tuple[list[int], ...]:
        program = BEGIN + "\n".join(f"    {line}" for line in lines)
        codes = ended(launch(["-c", program], count, tmp_path, environment), 40)
        return codes, *(
            [(tmp_path / f"{rank}.{end}").read_text() for rank in range(count)]
            for end in ("out", "err")
        )

    return run


def test_a_process_by_itself_is_a_team():
    team = Team()

    assert current().ranks.main and speaks()
    assert team.together("value") == ["value"]
    assert team.agree({"a": 1}) == {"a": 1}
    with team.first():
        assert team.ranks.mine([1, 2]) == [1, 2]
    with joined(team.ranks) as alone:
        assert alone.ranks.count == 1


def test_values_come_together_on_all_ranks_and_rank_0_decides(run: Run):
    codes, out, err = run(
        "values = team.together(rank * 10)",
        "chosen = team.agree(f'of {rank}' if rank == 0 else None)",
        "print(values, chosen)",
        "print(rank, values, chosen, file=sys.stderr)",
    )

    assert codes == [0, 0, 0]
    assert out == ["[0, 10, 20] of 0\n", "", ""]
    assert err == [f"{rank} [0, 10, 20] of 0\n" for rank in range(3)]


def test_rank_0_goes_first_and_by_itself(run: Run, tmp_path: Path):
    codes, _, err = run(
        "with team.first():",
        "    assert current().ranks.count == 1 and speaks() == (rank == 0)",
        "    time.sleep(0.5 if rank == 0 else 0)",
        f"    open({str(tmp_path / 'log')!r}, 'a').write(str(rank))",
        "assert current() is team",
    )

    assert codes == [0, 0, 0], err
    assert (tmp_path / "log").read_text()[0] == "0"


def test_a_rank_that_is_killed_ends_the_run_with_its_name(tmp_path: Path):
    program = BEGIN + "    print('in', file=sys.stderr, flush=True); time.sleep(600)"
    processes = launch(["-c", program], 3, tmp_path)
    while not all((tmp_path / f"{rank}.err").read_text() for rank in range(3)):
        time.sleep(0.1)

    os.kill(processes[1].pid, signal.SIGKILL)
    began = time.monotonic()
    codes = ended(processes, 30)

    assert time.monotonic() - began < 20
    assert codes[0] == codes[2] == 1
    said = (tmp_path / "0.err").read_text()
    assert f"error: rank 1 (process {processes[1].pid} on " in said
    assert "is gone without a word" in said
    assert (tmp_path / "2.err").read_text() == "in\n"


def test_what_is_wrong_on_one_rank_is_said_by_rank_0(run: Run):
    codes, _, err = run(
        "if rank == 2: raise NnsegError('no GPU here')",
        "team.together()",
    )

    assert codes == [2, 2, 2]
    assert err[0].startswith("error: rank 2 (process ") and err[0].endswith("): no GPU here\n")
    assert err[1:] == ["", ""]


def test_what_is_wrong_on_all_ranks_is_said_once(run: Run):
    codes, _, err = run("time.sleep(0.3 * (rank == 0)); raise NnsegError('no such dataset')")

    assert codes[1:] == [2, 2]
    assert err[0].splitlines()[-1] == "nnseg_core.errors.NnsegError: no such dataset"
    assert err[1:] == ["", ""]


def test_the_reason_is_said_before_a_launcher_can_kill_rank_0(tmp_path: Path):
    program = BEGIN + "    raise NnsegError('no such dataset')"
    processes = launch(["-c", program], 2, tmp_path)
    while processes[1].poll() is None:
        time.sleep(0.01)

    assert "no such dataset" in (tmp_path / "0.err").read_text()
    assert ended(processes, 20)[1] == 2


def test_a_defect_keeps_its_traceback_on_the_rank_that_has_it(run: Run):
    codes, _, err = run("if rank == 1: 1 / 0", "team.together()", count=2)

    assert codes == [1, 1]
    assert "ZeroDivisionError: division by zero" in err[0] and "rank 1" in err[0]
    assert err[1].startswith("Traceback")


def test_who_was_asked_to_stop_stops_the_others_with_the_same_code(run: Run):
    codes, _, _ = run(
        "if rank == 0: raise Stopped('stopped by SIGTERM')",
        "try: team.together()",
        "except Stopped as stopped: print(stopped, file=sys.stderr); raise",
        count=2,
    )

    assert codes[1] == 75


def test_a_rank_may_leave_before_others(run: Run):
    codes, _, err = run("team.together(); time.sleep(rank * 0.7)")

    assert codes == [0, 0, 0]
    assert err == ["", "", ""]


def test_others_on_the_port_are_no_hindrance(tmp_path: Path):
    """Another program has the first port, and answers nonsense on it."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = other.getsockname()[1]
        other.settimeout(20)
        program = BEGIN + "    assert team.together(rank) == [0, 1]"
        environment = {"MASTER_PORT": str(taken - 1)}
        processes = launch(["-c", program], 2, tmp_path, environment)
        guest, _ = other.accept()
        guest.sendall(b"HTTP/1.1 400 Bad Request\r\n")
        guest.close()
        while any(process.poll() is None for process in processes):
            other.settimeout(0.2)
            try:
                other.accept()[0].close()
            except TimeoutError:
                continue

        assert ended(processes, 1) == [0, 0]


def test_only_the_first_rank_runs_a_command_that_is_not_shared(tmp_path: Path):
    codes = ended(launch(["-m", "nnseg_core", "plugins"], 2, tmp_path), 40)

    assert codes == [0, 0]
    assert "architecture" in (tmp_path / "0.out").read_text()
    assert (tmp_path / "1.out").read_text() == (tmp_path / "1.err").read_text() == ""


def test_ranks_that_do_not_come_are_named(tmp_path: Path):
    program = (
        "import nnseg_core.meeting, nnseg_core.team as t; nnseg_core.meeting.PATIENCE = 1.5\n"
        "from nnseg_core.ranks import from_environment\n"
        "with t.joined(from_environment()): pass"
    )
    first = launch(["-c", program], 3, tmp_path)
    for process in first[1:]:
        process.kill()
    with pytest.raises(subprocess.TimeoutExpired):
        first[0].wait(0.1)
    codes = ended(first, 30)

    assert codes[0] == 1
    assert "of 3 ranks 1, 2 did not come within 0 minutes" in (tmp_path / "0.err").read_text()


def test_no_rank_that_stops_ends_before_rank_0(tmp_path: Path):
    """Or the launcher would kill rank 0, which may be saving."""
    program = BEGIN + "    time.sleep(0 if rank else 4); raise Stopped('stopped by SIGTERM')"
    first, second = launch(["-c", program], 2, tmp_path)
    with pytest.raises(subprocess.TimeoutExpired):
        second.wait(3)

    assert first.poll() is None
    assert ended([first, second], 30)[1] == 75
