"""Two runs never work on one folder, and a run that was killed stands in nobody's way."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from nnseg_core import claims
from nnseg_core.claims import Claim, claim, claim_file, read_claim
from nnseg_core.errors import NnsegError

HOLD = """
import sys, time
from pathlib import Path
from nnseg_core.claims import claim
with claim(Path(sys.argv[1]), "training"):
    print("claimed", flush=True)
    time.sleep(60)
"""


def holder(folder: Path) -> subprocess.Popen[str]:
    """Another process that works on the folder."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "claimed\n"
    return process


def end(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.wait()
    assert process.stdout is not None
    process.stdout.close()


def elsewhere(silent: float = 0) -> Claim:
    """A claim of another machine, whose last sign of life is some seconds old."""
    then = (datetime.now(UTC) - timedelta(seconds=silent)).isoformat()
    return Claim(
        work="training",
        command="nnseg train DATASET 2d",
        host="other",
        pid=os.getpid(),
        place="other 1 2",
        began="17",
        token="abc",
        started=then,
        alive=then,
    )


def put(folder: Path, there: Claim) -> None:
    claim_file(folder).write_text(json.dumps(asdict(there)), encoding="utf-8")


def test_a_claim_lies_beside_its_folder_and_goes_with_the_block(tmp_path: Path) -> None:
    folder = tmp_path / "models" / "fold_0"

    with claim(folder, "training"):
        there = read_claim(folder.parent / "fold_0.running.json")
        assert there is not None
        assert (there.work, there.pid) == ("training", os.getpid())
        assert not folder.exists()

    assert list(folder.parent.iterdir()) == []


def test_a_claim_goes_when_the_block_fails(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), claim(tmp_path / "fold_0", "training"):
        raise KeyboardInterrupt

    assert not claim_file(tmp_path / "fold_0").exists()


def test_a_second_run_is_refused_and_told_of_the_first(tmp_path: Path) -> None:
    first = holder(tmp_path / "fold_0")

    with (
        pytest.raises(NnsegError, match="another run is at work on .*fold_0: training") as refused,
        claim(tmp_path / "fold_0", "training"),
    ):
        pass
    end(first)

    said = str(refused.value)
    assert f"by process {first.pid} on " in said
    assert "Let it end, or stop it; nnseg status shows how far it is." in said
    assert "delete" not in said, "its process can be seen, so nothing has to be guessed"


def test_the_first_run_keeps_its_claim_when_a_second_is_refused(tmp_path: Path) -> None:
    with claim(tmp_path / "fold_0", "training"):
        before = read_claim(claim_file(tmp_path / "fold_0"))
        with pytest.raises(NnsegError), claim(tmp_path / "fold_0", "training"):
            pass
        assert read_claim(claim_file(tmp_path / "fold_0")) == before


def test_other_folders_are_free(tmp_path: Path) -> None:
    with claim(tmp_path / "fold_0", "training"), claim(tmp_path / "fold_1", "training"):
        assert len(list(tmp_path.iterdir())) == 2


def test_a_killed_run_is_taken_over_at_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    end(holder(tmp_path / "fold_0"))
    assert claim_file(tmp_path / "fold_0").exists()

    with claim(tmp_path / "fold_0", "training"):
        there = read_claim(claim_file(tmp_path / "fold_0"))

    assert there is not None
    assert there.pid == os.getpid()
    assert "the run before this one ended in the middle of it" in caplog.text
    assert list(tmp_path.iterdir()) == []


def test_a_number_that_was_given_to_another_process_is_no_sign_of_life(tmp_path: Path) -> None:
    with claim(tmp_path / "fold_0", "training"):
        mine = read_claim(claim_file(tmp_path / "fold_0"))
    assert mine is not None
    put(tmp_path / "fold_0", replace(mine, began="17", token="before"))

    with claim(tmp_path / "fold_0", "training"):
        pass


def test_a_run_on_another_machine_is_alive_while_it_gives_signs(tmp_path: Path) -> None:
    put(tmp_path / "fold_0", elsewhere(silent=claims.SILENCE - 60))

    with pytest.raises(NnsegError) as refused, claim(tmp_path / "fold_0", "training"):
        pass

    said = str(refused.value)
    assert "on other since" in said
    assert "last sign of life 540 s ago" in said
    assert f"delete {claim_file(tmp_path / 'fold_0')}, or wait: after 10 minutes" in said


def test_a_run_on_another_machine_is_gone_after_a_long_silence(tmp_path: Path) -> None:
    put(tmp_path / "fold_0", elsewhere(silent=claims.SILENCE + 60))

    with claim(tmp_path / "fold_0", "training"):
        there = read_claim(claim_file(tmp_path / "fold_0"))

    assert there is not None
    assert there.pid == os.getpid()


@pytest.mark.parametrize("content", ["", "{", "[]", '{"pid": 1}'])
def test_a_claim_torn_by_a_kill_is_taken_over(tmp_path: Path, content: str) -> None:
    path = claim_file(tmp_path / "fold_0")
    path.write_text(content)
    long_ago = time.time() - claims.TORN - 1
    os.utime(path, (long_ago, long_ago))

    with claim(tmp_path / "fold_0", "training"):
        assert read_claim(path) is not None

    assert list(tmp_path.iterdir()) == []


def test_a_take_over_that_was_killed_is_no_hindrance(tmp_path: Path) -> None:
    put(tmp_path / "fold_0", elsewhere(silent=claims.SILENCE + 60))
    taking = tmp_path / "fold_0.running.json.taking"
    taking.touch()
    long_ago = time.time() - claims.TORN - 1
    os.utime(taking, (long_ago, long_ago))

    with claim(tmp_path / "fold_0", "training"):
        assert not taking.exists()


@pytest.mark.parametrize("stale", [False, True])
def test_of_many_runs_at_once_one_gets_the_folder(tmp_path: Path, stale: bool) -> None:
    if stale:
        put(tmp_path / "fold_0", elsewhere(silent=claims.SILENCE + 60))

    def try_it(_: int) -> bool:
        try:
            with claim(tmp_path / "fold_0", "training"):
                time.sleep(1)
        except NnsegError:
            return False
        return True

    with ThreadPoolExecutor(16) as pool:
        assert sum(pool.map(try_it, range(16))) == 1


def test_signs_of_life_are_renewed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claims, "RENEWED_EVERY", 0.05)
    stamps = iter(f"2026-01-01T00:00:{second:02d}+00:00" for second in range(60))
    monkeypatch.setattr(claims, "_timestamp", lambda: next(stamps, "2026-01-01T00:01:00+00:00"))

    with claim(tmp_path / "fold_0", "training"):
        first = read_claim(claim_file(tmp_path / "fold_0"))
        assert wait_until(lambda: read_claim(claim_file(tmp_path / "fold_0")) != first)
        second = read_claim(claim_file(tmp_path / "fold_0"))

    assert first is not None
    assert second is not None
    assert second == replace(first, alive=second.alive)
    assert second.alive > first.alive


def test_a_claim_that_was_taken_over_is_left_to_its_new_owner(tmp_path: Path) -> None:
    with claim(tmp_path / "fold_0", "training"):
        owner = elsewhere()  # this machine slept, and another one took over
        put(tmp_path / "fold_0", owner)

    assert read_claim(claim_file(tmp_path / "fold_0")) == owner


def wait_until(happened: Callable[[], bool], seconds: float = 5) -> bool:
    deadline = time.monotonic() + seconds
    while not happened() and time.monotonic() < deadline:
        time.sleep(0.01)
    return happened()
