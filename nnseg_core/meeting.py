"""How ranks find each other at the start of a run, and the connections that they then keep."""

from __future__ import annotations

import contextlib
import io
import json
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Generator, Sequence
from queue import SimpleQueue
from typing import Any

from nnseg_core.errors import NnsegError
from nnseg_core.ranks import Ranks

PORTS = 8
"""How many ports after that of the launch are tried: others may have taken some of them."""

PATIENCE = 600.0
"""Seconds in which all ranks must have come; a queue may start them one after the other."""

REMINDER = 60.0
"""Seconds after which rank 0 says for whom it waits."""

ANSWER = 5.0
"""Seconds in which a greeting is answered."""

SILENT_SECONDS, PROBE_SECONDS, PROBES = 20, 5, 4
"""When a machine that says nothing is asked whether it is there: a crashed one is found in 40 s."""


class Link:
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

    def start(self, listen: Callable[[Link], None]) -> None:
        """Have a thread ``listen`` from now on."""
        self._listener = threading.Thread(target=listen, args=(self,), daemon=True)
        self._listener.start()

    def close(self, patience: float) -> None:
        """Close it when the other end has too, and after these seconds in any case."""
        with contextlib.suppress(OSError):  # the other end was faster
            self._connection.shutdown(socket.SHUT_WR)
        self._listener.join(patience)
        self._connection.close()


def welcome(ranks: Ranks) -> list[Link]:
    """Rank 0: connections to all others, by rank."""
    found: dict[int, Link] = {}
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


def _greet(connection: socket.socket, ranks: Ranks) -> tuple[int, Link] | None:
    """A guest of the same run, with its rank; None for whoever else has called."""
    reader = _prepared(connection)
    try:
        said = json.loads(reader.readline(4096))
        if (said["run"], said["count"]) == (ranks.run, ranks.count):
            _send(connection, _card(ranks))
            connection.settimeout(None)
            return int(said["rank"]), Link(connection, reader, _name(said))
    except (OSError, ValueError, KeyError, TypeError):
        pass
    connection.close()
    return None


def visit(ranks: Ranks) -> Link:
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
                    return Link(connection, reader, _name(said))
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
