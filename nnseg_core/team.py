"""Ranks that were launched together, talking to rank 0: who waits for whom, and who has died.

Each rank keeps one connection to rank 0 for as long as the command runs. Small JSON values go over
it, so that files need only be written by one process, and waiting has no time limit, as it has in
the collectives of a GPU library. A connection that breaks tells at once that a process is gone,
whatever the others are blocked in: the run ends with the reason, not with a timeout.
"""

from __future__ import annotations

import _thread
import atexit
import contextlib
import io
import json
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

from nnseg_core.errors import CasesFailed, NnsegError, Stopped
from nnseg_core.meeting import Link, visit, welcome
from nnseg_core.ranks import Ranks

CAUSE = 3.0
"""Seconds in which a broken collective must turn out to come from a rank that is gone."""

ALIKE = 4.0
"""Seconds in which rank 0 may fail by itself before it says that another one has."""

FAREWELL = 2.0
"""Seconds in which the other end closes its side of a connection too."""

PARTING = 60.0
"""Seconds in which rank 0 ends before any other that has not done its work: at the first exit of
that kind launchers kill all the others, and rank 0 may be writing a checkpoint."""

GRACE = 15.0
"""Seconds that this process has to end by itself once another one is gone. It may be blocked."""


class RankLost(NnsegError):
    """Another rank has ended, so this one cannot go on."""

    exit_code = 1


class Team:
    """This process among the others; by itself unless ``joined`` has met them."""

    def __init__(self, ranks: Ranks | None = None) -> None:
        self.ranks = ranks or Ranks()
        self.lost: str | None = None
        self.code = RankLost.exit_code
        self.patience = FAREWELL
        self._links: list[Link] = []
        self._leaving = threading.Event()
        self._settled = False
        self._ending = threading.Lock()

    def together(self, value: Any = None) -> list[Any]:
        """The JSON ``value`` of every rank, by rank. Each waits until all have come here.

        Raises ``RankLost`` when one of them does not come.
        """
        if self.ranks.count == 1:
            return [value]
        if not self.ranks.main:
            self._links[0].send(value=value)
            return list(self._receive(self._links[0]))
        values = [value, *(self._receive(link) for link in self._links)]
        text = json.dumps(values)
        for link in self._links:
            link.send(value=json.loads(text))
        return list(json.loads(text))

    def agree(self, value: Any = None) -> Any:
        """What rank 0 has given, on all ranks, as JSON has it."""
        return self.together(value)[0]

    @contextmanager
    def first(self) -> Generator[None]:
        """Rank 0 runs the block by itself, then the others do, who find its work done.

        Within the block no rank belongs to a team.
        """
        if not self.ranks.main:
            self.together()
        with _acting_as(Team()):
            yield
        if self.ranks.main:
            self.together()

    def leave(self, stopped: str = "") -> None:
        """Say goodbye: what the others do from now on does not matter here, and conversely.

        Whoever waits for this rank has ``stopped`` too, if it was asked to.
        """
        self._leaving.set()
        self._tell(bye=stopped)

    def fail(self, reason: str, code: int = RankLost.exit_code) -> None:
        """Have all others end with this exit code; rank 0 says why."""
        self._leaving.set()
        self._tell(failed=reason, code=code)

    def settle(self) -> None:
        """From now on the end of another rank interrupts this process in nothing."""
        while not self._settled:
            with contextlib.suppress(KeyboardInterrupt):
                with self._ending:
                    self._settled = True
                time.sleep(0.01)  # an interrupt on its way arrives here

    def close(self) -> None:
        """End the connections, by which ranks that wait for this one end too."""
        for link in self._links:
            link.close(self.patience)

    def is_broken(self) -> bool:
        """Whether a rank is gone, as will be known soon after a collective has failed."""
        deadline = time.monotonic() + CAUSE
        while self.lost is None and time.monotonic() < deadline:
            time.sleep(0.05)
        return self.lost is not None

    def _receive(self, link: Link) -> Any:
        message = link.messages.get()
        if message is None and link.stopped:
            raise Stopped(link.stopped)
        if message is None:
            raise RankLost(self.lost or f"{link.who} has ended before all others.")
        return message["value"]

    def _tell(self, **message: Any) -> None:
        for link in self._links:
            with contextlib.suppress(OSError):  # it may be gone already
                link.send(**message)

    def _listen(self, link: Link) -> None:
        """In a thread for each link: keep values for whoever waits for them, and notice the end."""
        left = False
        try:
            for message in link.read():
                if "value" in message:
                    link.messages.put(message)
                elif "failed" in message:
                    left = True
                    self._end(str(message["failed"]), link, int(message["code"]))
                elif "bye" in message:
                    left, link.stopped = True, str(message["bye"])
                    link.messages.put(None)
        except (OSError, ValueError):
            pass
        if left:
            return
        self._end(
            f"{link.who} is gone without a word: killed by the system (out of memory?), by a user, "
            "or lost with its machine.",
            link,
        )

    def _end(self, reason: str, link: Link, code: int | None = None) -> None:
        """A rank has failed or is gone: say so once, and see that this process ends too.

        With a ``code`` the rank has told the ``reason`` by itself.
        """
        told = code is not None
        if told and self.ranks.main:
            self._leaving.wait(ALIKE)  # a mistake in a command comes out in all, and is said once
        with self._ending:
            if self.lost is not None or self._leaving.is_set():
                link.messages.put(None)
                return
            self.lost, self.code = reason, RankLost.exit_code if code is None else code
        if self.ranks.main or not told:
            said = f"{link.who}: {reason}" if told else reason
            print(f"error: {said}", file=sys.stderr, flush=True)
        self._tell(failed=reason, code=self.code)
        for each in self._links:
            each.messages.put(None)
        with self._ending:
            if not self._settled:
                _interrupt_main()
        threading.Thread(target=self._end_blocked, daemon=True).start()

    def _end_blocked(self) -> None:
        """In a thread: end this process where nothing else does, as in a call without end."""
        time.sleep(GRACE)
        os._exit(self.code)


def _interrupt_main() -> None:
    """Raise ``KeyboardInterrupt`` in the main thread, where the system can even out of a wait."""
    if hasattr(signal, "pthread_kill"):
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
    else:
        _thread.interrupt_main()


_ALONE = Team()
_team = _acting = _ALONE


def current() -> Team:
    """The team that this process works in now; one by itself where nobody has joined any."""
    return _acting


def here() -> Team:
    """The team of this process, even where it works by itself for a while (``Team.first``)."""
    return _team


def speaks() -> bool:
    """Whether this process prints: of several, rank 0 does."""
    return _team.ranks.main


@contextmanager
def joined(ranks: Ranks) -> Generator[Team]:
    """Work in a team until the block ends. The output of all but rank 0 goes nowhere.

    An error of a rank is printed by rank 0 with the rank it comes from, and ends all of them.
    Raises ``NnsegError`` when the ranks do not meet.
    """
    global _team  # noqa: PLW0603
    if ranks.count == 1:
        yield _ALONE
        return
    _team = team = Team(ranks)
    try:
        with _acting_as(team), _output_of(ranks):
            team._links.extend(welcome(ranks) if ranks.main else [visit(ranks)])
            for link in team._links:
                link.start(team._listen)
            with _failing_together(team):
                yield team
    except BaseException:
        if ranks.main:
            atexit.register(team.close)  # the caller says why first: then launchers kill all ranks
        else:
            team.close()
        raise
    else:
        team.close()
    finally:
        _team = _ALONE


@contextmanager
def _failing_together(team: Team) -> Generator[None]:
    """Tell the others how the block ends, and leave it to rank 0 to say why it failed."""
    try:
        yield
    except BaseException as error:
        team.settle()
        done = isinstance(error, SystemExit) and not error.code
        if not team.ranks.main and not done:
            team.patience = PARTING
        if team.lost is not None or (_may_follow(error) and team.is_broken()):
            raise SystemExit(team.code) from None
        _tell_failure(team, error)
        if team.ranks.main or isinstance(error, SystemExit):
            raise
        raise SystemExit(getattr(error, "exit_code", RankLost.exit_code)) from None
    else:
        team.leave()


def _may_follow(error: BaseException) -> bool:
    """Whether it may come of another rank that is gone: what collectives raise then."""
    return isinstance(error, RuntimeError) and not isinstance(error, NotImplementedError)


def _tell_failure(team: Team, error: BaseException) -> None:
    if isinstance(error, Stopped):
        team.leave(str(error))
    elif isinstance(error, SystemExit | CasesFailed):  # as all others at the same moment
        team.leave()
    elif isinstance(error, NnsegError):
        team.fail(str(error), error.exit_code)
    else:
        team.fail(f"{type(error).__name__}: {error}")
        if not team.ranks.main and isinstance(error, Exception):
            traceback.print_exc()


@contextmanager
def _acting_as(team: Team) -> Generator[None]:
    global _acting  # noqa: PLW0603
    before, _acting = _acting, team
    try:
        yield
    finally:
        _acting = before


@contextmanager
def _output_of(ranks: Ranks) -> Generator[None]:
    """Lines at once, in a log file too; nothing from any but rank 0."""
    if ranks.main:
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(line_buffering=True)
        yield
        return
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):  # noqa: PTH123
        yield
