"""Who is working on a folder: a file beside it that tells other runs to keep away.

While a run works on ``fold_0``, there is ``fold_0.running.json``. It holds a sign of life that is
renewed twice a minute, so that a run that was killed is known to be gone: at once on its own
machine, after some minutes elsewhere. There is nothing but creating, replacing and removing whole
files, which every file system can do, networks included.
"""

from __future__ import annotations

import json
import logging
import os
import secrets
import socket
import sys
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields, replace
from datetime import UTC, datetime
from pathlib import Path

from nnseg_core import files
from nnseg_core.errors import NnsegError
from nnseg_core.processes import began, place
from nnseg_core.writing import make_folder

ENDING = ".running.json"

RENEWED_EVERY = 30.0
"""Seconds between two signs of life."""

SILENCE = 600.0
"""Seconds without a sign of life after which a run on another machine counts as gone. Clocks differ
by less, and network file systems show a new file to others within a minute."""

TORN = 10.0
"""Seconds after which a file that cannot be read was left so by a run that was killed."""

WAITING = 1.0
"""Seconds between two looks at the claim of a run that is waited for."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """One run at work on a folder. Times are ISO 8601 in UTC.

    ``place`` is where ``pid`` means something, ``began`` when that process began, as its system
    tells it; ``token`` is drawn for each claim. ``alive`` is the last sign of life. ``reads`` names
    the preprocessed cases that are not to be replaced meanwhile.
    """

    work: str
    command: str
    host: str
    pid: int
    place: str
    began: str | None
    token: str
    started: str
    alive: str
    reads: str = ""

    def silent_for(self, now: float) -> float:
        """Seconds since the last sign of life; ``now`` is in seconds since 1970."""
        return now - datetime.fromisoformat(self.alive).timestamp()

    def is_gone(self, now: float) -> bool:
        """Whether that run has ended without removing its claim."""
        if self.began and self.place == place():
            current = began(self.pid)
            if current != "":  # the system tells of it
                return current != self.began
        return self.silent_for(now) > SILENCE


@contextmanager
def claim(folder: Path, work: str, wait: bool = False, reads: str = "") -> Generator[None]:
    """Keep other runs away from ``folder`` until the block ends; ``work`` says what is done there.

    ``reads`` names the store of cases that is read all the while.

    A claim left behind by a run that is gone is taken over, which is logged. With ``wait`` a run
    that is at work is waited for, which is logged too.

    Raises ``NnsegError`` naming the run that works on it already, unless it is waited for.
    """
    path = claim_file(folder)
    mine = replace(_new_claim(work), reads=reads)
    make_folder(path.parent)
    _take(path, folder, mine, wait)
    ended = threading.Event()
    signs = threading.Thread(target=_give_signs, args=(path, mine, ended), daemon=True)
    signs.start()
    try:
        yield
    finally:
        ended.set()
        signs.join()
        if _is_mine(path, mine):
            path.unlink(missing_ok=True)


def claim_file(folder: Path) -> Path:
    """Where the claim on ``folder`` is: beside it, so that the folder itself may be thrown away."""
    return folder.with_name(folder.name + ENDING)


def read_claim(path: Path) -> Claim | None:
    """The claim in a file; None where there is none, or it cannot be read."""
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        found = Claim(**{f.name: raw[f.name] for f in fields(Claim) if f.name in raw})
        datetime.fromisoformat(found.alive)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return found if isinstance(found.pid, int) else None


def _new_claim(work: str) -> Claim:
    now = _timestamp()
    return Claim(
        work=work,
        command=" ".join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        host=socket.gethostname(),
        pid=os.getpid(),
        place=place(),
        began=began(os.getpid()),
        token=secrets.token_hex(8),
        started=now,
        alive=now,
    )


def _take(path: Path, folder: Path, mine: Claim, wait: bool) -> None:
    waits_for = None
    while not _create(path, mine):
        there = read_claim(path)
        if there is None:
            _wait_or_take_torn(path, mine)
        elif not there.is_gone(time.time()):
            if not wait:
                raise NnsegError(_refusal(path, folder, there))
            if there.token != waits_for:
                log.info("waiting for process %d on %s: %s", there.pid, there.host, there.work)
                waits_for = there.token
            time.sleep(WAITING)
        elif _replace(path, mine, there):
            log.warning(
                "%s: the run before this one ended in the middle of it (%s, process %d, started "
                "%s). Going on in its place.",
                *(folder, there.host, there.pid, local(there.started)),
            )
            return
        if _is_mine(path, mine):
            return


def _wait_or_take_torn(path: Path, mine: Claim) -> None:
    """A claim without content is being written at this moment, or its writer was killed."""
    age = _age(path)
    if age is not None and age > TORN:
        _replace(path, mine, None)
    else:
        time.sleep(0.1)


def _create(path: Path, mine: Claim) -> bool:
    """Write the claim where there is none. Of several runs at once, one succeeds."""
    try:
        file = path.open("x", encoding="utf-8")
    except FileExistsError:
        return False
    try:
        with file:
            file.write(json.dumps(asdict(mine), indent=1))
    except OSError:  # a full disk
        path.unlink(missing_ok=True)
        raise
    return True


def _replace(path: Path, mine: Claim, there: Claim | None) -> bool:
    """Put the claim in the place of ``there``, if that is still it. Of several runs, one succeeds.

    Whoever creates the file ``.taking`` may; there is no moment without a claim.
    """
    taking = path.with_name(path.name + ".taking")
    try:
        taking.open("x").close()
    except FileExistsError:
        if (_age(taking) or 0) > TORN:  # left by a run that was killed within these few lines
            taking.unlink(missing_ok=True)
        time.sleep(0.1)
        return False
    try:
        if read_claim(path) == there:
            files.write_json(path, mine)
            return True
        return False
    finally:
        taking.unlink(missing_ok=True)


def _give_signs(path: Path, mine: Claim, ended: threading.Event) -> None:
    while not ended.wait(RENEWED_EVERY):
        try:
            if not _is_mine(path, mine):
                return
            files.write_json(path, replace(mine, alive=_timestamp()))
        except (OSError, NnsegError):
            continue  # a full disk or a lost network drive: the next sign may get through


def _is_mine(path: Path, mine: Claim) -> bool:
    there = read_claim(path)
    return there is not None and there.token == mine.token


def _refusal(path: Path, folder: Path, there: Claim) -> str:
    silence = max(there.silent_for(time.time()), 0)
    said = (
        f"another run is at work on {folder}: {there.work} by process {there.pid} on {there.host} "
        f"since {local(there.started)}, last sign of life {silence:.0f} s ago.\n"
        f"  {there.command}\n"
        "Let it end, or stop it; nnseg status shows how far it is."
    )
    if there.place == place():
        return said
    return (
        f"{said} If it is gone for good, delete {path}, or wait: after {SILENCE / 60:.0f} minutes "
        "without a sign of life its place is free."
    )


def _age(path: Path) -> float | None:
    """Seconds since a file was written; None where it is gone."""
    try:
        return time.time() - path.stat().st_mtime
    except OSError:
        return None


def _timestamp() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def local(timestamp: str) -> str:
    """An ISO 8601 time as people on this machine write it: ``2026-01-31 14:05``."""
    return f"{datetime.fromisoformat(timestamp).astimezone():%Y-%m-%d %H:%M}"
