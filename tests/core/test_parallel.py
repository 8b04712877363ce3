"""Cases in parallel: the same result, failures by name, no dead end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from nnseg_core import desk
from nnseg_core.errors import CasesFailed, DatasetError, DiskFull, NnsegError, PlanError
from nnseg_core.parallel import Crew, map_cases, values


def square(number: int) -> int:
    if number in (3, 7):
        raise DatasetError(f"case {number} is odd.")
    return number * number


def fail(number: int) -> int:
    raise KeyError(number)


def threads(_: int) -> str:
    return os.environ["OMP_NUM_THREADS"]


def die_at_2(number: int) -> int:
    desk.stage("counting")
    if number == 2:
        os._exit(9)
    return number


def be_killed_at_2(number: int) -> int:
    desk.stage("counting")
    if number == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def die_once(marker: Path) -> str:
    if not marker.exists():
        marker.touch()
        os._exit(9)
    return "done"


def run_out_of_memory(number: int) -> int:
    desk.stage("allocating")
    raise MemoryError(f"{number} bytes")


def sleep_at_2(number: int) -> int:
    desk.stage("sleeping")
    time.sleep(60 if number == 2 else 0)
    return number


def print_and_read(number: int) -> tuple[int, str]:
    print("this must not disturb the pipe", flush=True)
    return number, sys.stdin.read()


def keep_or_take(number: int) -> tuple[int, int | None]:
    kept: int | None = desk.take(str(number))
    desk.keep(str(number), 10 * number, size=1)
    return os.getpid(), kept


class Awkward(Exception):
    def __init__(self, one: int, two: int) -> None:
        super().__init__("awkward")


def raise_awkward(number: int) -> int:
    raise Awkward(1, 2)


@pytest.fixture
def crew() -> Iterator[Crew]:
    made = Crew()
    yield made
    made.close()


@pytest.mark.parametrize("workers", [0, 2])
def test_results_do_not_depend_on_workers(workers: int) -> None:
    found = dict(values(map_cases(square, [1, 2, 4, 5, 6], workers)))

    assert found == {1: 1, 2: 4, 4: 16, 5: 25, 6: 36}


@pytest.mark.parametrize("workers", [0, 2])
def test_one_failure_does_not_stop_the_others(workers: int) -> None:
    found = []

    with pytest.raises(CasesFailed) as error:
        for item, _ in values(map_cases(square, [1, 3, 5], workers)):
            found.append(item)

    assert sorted(found) == [1, 5]
    assert error.value.exit_code == 1
    assert str(error.value) == (
        "1 of 3 cases were set aside:\n  case 3 is odd.\nThe other 2 are done. The same command "
        "tries these again; or take them out of the dataset."
    )


def blame_the_plan(number: int) -> int:
    raise PlanError("there is no normalization named 'foo'.")


def test_a_mistake_that_all_cases_share_is_told_once() -> None:
    with pytest.raises(PlanError, match=r"^there is no normalization named 'foo'\.$"):
        list(values(map_cases(blame_the_plan, [1, 2, 3], 0)))


def test_several_failures_are_raised_together() -> None:
    with pytest.raises(CasesFailed, match="2 of 2 cases were set aside:\n  case 3 is odd"):
        list(values(map_cases(square, [3, 7], 0)))


@pytest.mark.parametrize("workers", [0, 2])
def test_a_defect_keeps_its_type_and_its_place(workers: int) -> None:
    with pytest.raises(KeyError) as error:
        list(values(map_cases(fail, [1, 2], workers)))

    assert "in fail" in error.value.__notes__[0]
    assert "2 of 2 cases were set aside" in error.value.__notes__[1]


def test_an_error_that_cannot_be_sent_is_told() -> None:
    with pytest.raises(RuntimeError, match=r"Awkward\('awkward'\)"):
        list(values(map_cases(raise_awkward, [1, 2], 2)))


def test_a_full_disk_ends_everything_at_once() -> None:
    tried = []

    def fill_the_disk(number: int) -> int:
        tried.append(number)
        raise DiskFull("the disk is full.")

    with pytest.raises(DiskFull):
        list(values(map_cases(fill_the_disk, [1, 2, 3], 0)))
    assert tried == [1]


def test_each_worker_uses_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)

    assert set(dict(values(map_cases(threads, [1, 2], 2))).values()) == {"1"}
    assert "OMP_NUM_THREADS" not in os.environ


def test_the_pipes_of_a_worker_are_its_own() -> None:
    assert dict(values(map_cases(print_and_read, [1, 2], 2))) == {1: (1, ""), 2: (2, "")}


def test_a_dead_worker_is_told_with_its_case_and_its_end() -> None:
    found = []

    with pytest.raises(CasesFailed) as error:
        for item, _ in values(map_cases(die_at_2, [1, 2, 3], 2)):
            found.append(item)

    assert sorted(found) == [1, 3]
    assert "case 2: its worker process was ended with exit code 9 while counting" in str(
        error.value
    )


@pytest.mark.skipif(sys.platform == "win32", reason="there are no signals")
def test_a_killed_worker_is_told_with_its_signal_and_its_memory() -> None:
    outcomes = {o.item: o for o in map_cases(be_killed_at_2, [1, 2, 3], 2)}

    assert [outcomes[item].value for item in (1, 2, 3)] == [1, None, 3]
    assert "was killed by SIGKILL while counting, having used up to " in str(outcomes[2].error)


def test_a_case_whose_worker_died_is_tried_again(tmp_path: Path) -> None:
    found = dict(values(map_cases(die_once, [tmp_path / "a", tmp_path / "b"], 2)))

    assert set(found.values()) == {"done"}


@pytest.mark.parametrize("workers", [0, 2])
def test_lack_of_memory_is_named(workers: int) -> None:
    with pytest.raises(CasesFailed, match=r"case 7: memory ran out while allocating \(7 bytes\)"):
        list(values(map_cases(run_out_of_memory, [7, 8], workers)))


def test_work_that_stands_still_is_ended(capfd: pytest.CaptureFixture[str]) -> None:
    crew = Crew(patience=2)
    found = []

    with pytest.raises(CasesFailed) as error:
        for item, _ in values(crew.map(sleep_at_2, [1, 2, 3], 2)):
            found.append(item)

    assert sorted(found) == [1, 3]
    assert str(error.value).startswith(
        "nothing has advanced for 2 s, so the work was ended. Under way: case 2 (sleeping)."
    )
    assert "in sleep_at_2" in capfd.readouterr().err
    crew.close()


def test_a_worker_gets_the_cases_of_which_it_has_kept_something() -> None:
    crew = Crew(room=10)
    first = dict(values(crew.map(keep_or_take, [1, 2, 3, 4], 2)))
    second = dict(values(crew.map(keep_or_take, [4, 3, 2, 1], 2)))

    taken = [second[item][1] for item in (1, 2, 3, 4)]
    same = [first[item][0] == second[item][0] for item in (1, 2, 3, 4)]
    assert [kept == 10 * item for item, kept in zip((1, 2, 3, 4), taken, strict=True)] == same
    assert any(same)
    crew.close()


def test_no_more_is_kept_than_there_is_room_for() -> None:
    crew = Crew(room=2)

    list(crew.map(keep_or_take, [1, 2, 3], 0))
    kept = [o.value for o in crew.map(keep_or_take, [1, 2, 3], 0)]

    assert kept == [(os.getpid(), 10), (os.getpid(), 20), (os.getpid(), None)]


def test_a_small_job_starts_no_worker() -> None:
    crew = Crew()

    done = [outcome.value for outcome in crew.map(square, [1, 2], 2, seconds=1)]

    assert done == [1, 4]
    assert not crew.started


def test_workers_end_with_the_crew(crew: Crew) -> None:
    list(crew.map(square, [1, 2], 2))
    processes = [worker.process for worker in crew._workers]

    crew.close()

    assert all(process.returncode is not None for process in processes)


SCRIPT = """
import sys
from nnseg_core.parallel import map_cases, values

def double(number):
    return 2 * number

print(sorted(dict(values(map_cases({function}, [1, 2, 3], 2))).values()))
"""


@pytest.mark.parametrize("function", ["double", "abs"])
def test_a_script_needs_no_guard(tmp_path: Path, function: str) -> None:
    script = tmp_path / "wörk space.py"
    script.write_text(SCRIPT.format(function=function), encoding="utf-8")

    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == ("[2, 4, 6]" if function == "double" else "[1, 2, 3]")


@pytest.mark.parametrize("function", ["double", "abs"])
def test_an_interactive_session_needs_no_file(function: str) -> None:
    done = subprocess.run(
        [sys.executable, "-i"],
        input=SCRIPT.format(function=function),
        capture_output=True,
        text=True,
        check=True,
    )

    assert done.stdout.strip() == ("[2, 4, 6]" if function == "double" else "[1, 2, 3]")


def test_what_cannot_be_sent_is_done_here(crew: Crew) -> None:
    outcomes = crew.map(lambda number: number + 1, [1, 2], 2)

    assert [outcome.value for outcome in outcomes] == [2, 3]
    assert not crew.started


def test_a_worker_that_cannot_start_is_told(
    crew: Crew, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("nnseg_core.worker.BOOT", "raise SystemExit(3)")

    with pytest.raises(NnsegError, match="the first was ended with exit code 3.*--workers 0"):
        list(crew.map(square, [1, 2], 2))
