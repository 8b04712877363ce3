"""Ranks that were launched together, talking to rank 0: who waits for whom, and who has died.

Each rank keeps one connection to rank 0 for as long as the command runs. Small JSON values go over
it, so that files need only be written by one process, and waiting has no time limit, as it has in
the collectives of a GPU library. A connection that breaks tells at once that a process is gone,
whatever the others are blocked in: the run ends with the reason, not with a timeout.
"""

from __future__ import annotations

import _thread
import contextlib
import io
import json
import os
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from queue import SimpleQueue
from typing import Any

from nnseg_core.errors import CasesFailed, NnsegError, Stopped
from nnseg_core.ranks import Ranks

PORTS = 8
"""How many ports after that of the launch are tried: others may have taken some of them."""

PATIENCE = 600.0
"""Seconds in which all ranks must have come; a queue may start them one after the other."""

REMINDER = 60.0
"""Seconds after which rank 0 says for whom it waits."""

ANSWER = 5.0
"""Seconds in which a greeting is answered."""

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

SILENT_SECONDS, PROBE_SECONDS, PROBES = 20, 5, 4
"""When a machine that says nothing is asked whether it is there: a crashed one is found in 40 s."""


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
        self._links: list[_Link] = []
        self._leaving = self._settled = False
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
        self._leaving = True
        self._tell(bye=stopped)

    def fail(self, reason: str, code: int = RankLost.exit_code) -> None:
        """Have all others end with this exit code; rank 0 says why."""
        self._leaving = True
        self._tell(failed=reason, code=code)

    def settle(self) -> None:
        """From now on the end of another rank interrupts this process in nothing."""
        while not self._settled:
            with contextlib.suppress(KeyboardInterrupt):
                with self._ending:
                    self._settled = True
                time.sleep(0.01)  # an interrupt on its way arrives here

    def is_broken(self) -> bool:
        """Whether a rank is gone, as will be known soon after a collective has failed."""
        deadline = time.monotonic() + CAUSE
        while self.lost is None and time.monotonic() < deadline:
            time.sleep(0.05)
        return self.lost is not None

    def _receive(self, link: _Link) -> Any:
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

    def _listen(self, link: _Link) -> None:
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

    def _end(self, reason: str, link: _Link, code: int | None = None) -> None:
        """A rank has failed or is gone: say so once, and see that this process ends too.

        With a ``code`` the rank has told the ``reason`` by itself.
        """
        told = code is not None
        if told and self.ranks.main:
            time.sleep(ALIKE)  # a mistake in a command comes out in all ranks, and is said once
        with self._ending:
            if self.lost is not None or self._leaving:
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


class _Link:
    """A connection to another rank. ``messages`` are those nobody has taken; None is the end."""

    def __init__(self, connection: socket.socket, reader: io.BufferedReader, who: str) -> None:
        self.who = who
        self.stopped = ""
        self.messages: SimpleQueue[dict[str, Any] | None] = SimpleQueue()
        self._connection = connection
        self._reader = reader
        self._sending = threading.Lock()

    def send(self, **message: Any) -> None:
        """Send a message; raises ``OSError`` where the other end is gone."""
        with self._sending:
            _send(self._connection, message)

    def read(self) -> Generator[dict[str, Any]]:
        """Messages until the other end closes."""
        for line in self._reader:
            yield json.loads(line)

    def start(self, listen: Callable[[_Link], None]) -> None:
        """Have a thread ``listen`` from now on."""
        self._listener = threading.Thread(target=listen, args=(self,), daemon=True)
        self._listener.start()

    def close(self, patience: float) -> None:
        """Close it when the other end has too, and after these seconds in any case."""
        with contextlib.suppress(OSError):  # the other end was faster
            self._connection.shutdown(socket.SHUT_WR)
        self._listener.join(patience)
        self._connection.close()


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
            team._links.extend(_welcome(ranks) if ranks.main else [_visit(ranks)])
            for link in team._links:
                link.start(team._listen)
            with _failing_together(team):
                yield team
    finally:
        _team = _ALONE
        for link in team._links:
            link.close(team.patience)


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


def _welcome(ranks: Ranks) -> list[_Link]:
    """Rank 0: connections to all others, by rank."""
    found: dict[int, _Link] = {}
    with _open_server(ranks) as server:
        server.settimeout(1.0)
        began = said = time.monotonic()
        while len(found) < ranks.count - 1:
            missing = sorted({*range(1, ranks.count)} - {*found})
            now = time.monotonic()
            if now - began > PATIENCE:
                raise NnsegError(
                    f"of {ranks.count} ranks {_some(missing)} did not come within "
                    f"{PATIENCE / 60:.0f} minutes. See what those processes printed, and whether "
                    f"their machines can reach {ranks.address}."
                )
            if now - said > REMINDER:
                said = now
                print(f"waiting for ranks {_some(missing)}", file=sys.stderr, flush=True)
            try:
                connection, _ = server.accept()
            except TimeoutError:
                continue
            guest = _greet(connection, ranks)
            if guest is not None:
                found[guest[0]] = guest[1]
    return [found[rank] for rank in sorted(found)]


def _greet(connection: socket.socket, ranks: Ranks) -> tuple[int, _Link] | None:
    """A guest of the same run, with its rank; None for whoever else has called."""
    reader = _prepared(connection)
    try:
        said = json.loads(reader.readline(4096))
        if (said["run"], said["count"]) == (ranks.run, ranks.count):
            _send(connection, _card(ranks))
            connection.settimeout(None)
            return int(said["rank"]), _Link(connection, reader, _name(said))
    except (OSError, ValueError, KeyError, TypeError):
        pass
    connection.close()
    return None


def _visit(ranks: Ranks) -> _Link:
    """Any other rank: a connection to rank 0, which may start later."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        for port in _ports(ranks):
            try:
                connection = socket.create_connection((ranks.address, port), timeout=ANSWER)
            except OSError:
                continue
            reader = _prepared(connection)
            try:
                _send(connection, _card(ranks))
                said = json.loads(reader.readline(4096))
                if (said["run"], said["rank"]) == (ranks.run, 0):
                    connection.settimeout(None)
                    return _Link(connection, reader, _name(said))
            except (OSError, ValueError, KeyError, TypeError):
                pass
            connection.close()
        time.sleep(0.2)
    raise NnsegError(
        f"rank {ranks.rank} has not found rank 0 at {ranks.address}, ports {_ports(ranks)[0]} to "
        f"{_ports(ranks)[-1]}, within {PATIENCE / 60:.0f} minutes. See what rank 0 printed, and "
        "whether that machine can be reached from this one."
    )


def _open_server(ranks: Ranks) -> socket.socket:
    host = "127.0.0.1" if ranks.address in ("localhost", "127.0.0.1") else ""
    for port in _ports(ranks):
        try:
            return socket.create_server((host, port))
        except OSError:
            continue
    raise NnsegError(
        f"ports {_ports(ranks)[0]} to {_ports(ranks)[-1]} are all taken, so the ranks cannot meet. "
        "Launch with another port: torchrun --master-port, or MASTER_PORT under srun."
    )


def _ports(ranks: Ranks) -> range:
    """Torchrun keeps the port of the launch for itself."""
    return range(ranks.port + 1, ranks.port + 1 + PORTS)


def _prepared(connection: socket.socket) -> io.BufferedReader:
    """A reader of lines; the connection is watched, and not delayed."""
    connection.settimeout(ANSWER)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    times = {
        "TCP_KEEPIDLE": SILENT_SECONDS,
        "TCP_KEEPINTVL": PROBE_SECONDS,
        "TCP_KEEPCNT": PROBES,
    }
    for option, value in times.items():
        if hasattr(socket, option):  # not every system lets a program choose
            connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)
    return connection.makefile("rb")


def _send(connection: socket.socket, message: Any) -> None:
    connection.sendall(json.dumps(message).encode() + b"\n")


def _card(ranks: Ranks) -> dict[str, Any]:
    """How a rank introduces itself."""
    return {
        "run": ranks.run,
        "count": ranks.count,
        "rank": ranks.rank,
        "host": socket.gethostname(),
        "pid": os.getpid(),
    }


def _name(card: dict[str, Any]) -> str:
    return f"rank {card['rank']} (process {card['pid']} on {card['host']})"


def _some(ranks: Sequence[int]) -> str:
    named = ", ".join(map(str, ranks[:8]))
    return named if len(ranks) <= 8 else f"{named}, ..."
