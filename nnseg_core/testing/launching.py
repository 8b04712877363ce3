"""Several ranks of one program on this machine, as a launcher would start them, for tests."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path


def launch(
    arguments: Sequence[object],
    count: int,
    folder: Path,
    environment: Mapping[str, str] | None = None,
) -> list[subprocess.Popen[bytes]]:
    """Start Python with ``arguments`` as ``count`` ranks.

    What rank 1 prints is in ``folder / "1.out"`` and ``folder / "1.err"``.
    """
    shared = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "WORLD_SIZE": str(count),
        "LOCAL_WORLD_SIZE": str(count),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(free_port()),
        **(environment or {}),
    }
    processes = []
    for rank in range(count):
        own = {"RANK": str(rank), "LOCAL_RANK": str(rank)}
        with (folder / f"{rank}.out").open("wb") as out, (folder / f"{rank}.err").open("wb") as err:
            processes.append(
                subprocess.Popen(
                    [sys.executable, *map(str, arguments)],
                    env={**shared, **own},
                    stdout=out,
                    stderr=err,
                )
            )
    return processes


def ended(processes: Sequence[subprocess.Popen[bytes]], seconds: float) -> list[int]:
    """Their exit codes; raises ``TimeoutExpired`` and kills them where they take longer."""
    try:
        return [process.wait(seconds) for process in processes]
    finally:
        for process in processes:
            process.kill()


def free_port() -> int:
    """A port that nobody uses at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
