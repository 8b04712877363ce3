"""What a process or a call costs: wall time, CPU time and memory. Standard library only, because
nnU-Net's environment runs it too.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO

Measures = dict[str, float]
"""Seconds and MB: ``wall``, ``cpu``, ``memory`` of a process, the same after ``call`` of a call."""

TELLS = "measured: "


def run(command: Sequence[str], environment: Mapping[str, str], log: IO[str]) -> Measures:
    """Run a process to its end; ``memory`` is the largest of it and its children.

    What it prints goes into ``log``. Measures that it tells itself (see ``tell``) are included.
    Raises ``RuntimeError`` where it fails.
    """
    log.write(f"$ {' '.join(command)}\n")
    log.flush()
    start = log.tell()
    # By way of a small process, since a child begins with the memory of whoever started it.
    launch = [sys.executable, "-I", "-S", __file__, *command]
    code = subprocess.call(launch, env=dict(environment), stdout=log, stderr=log)
    if code:
        raise RuntimeError(f"{' '.join(command)} ended with {code}. See {log.name}.")
    return _told(Path(log.name), start)


def _launch(command: Sequence[str]) -> int:
    """Run a process, tell what it took, and return its exit code."""
    started = time.perf_counter()
    process = subprocess.Popen(command)
    if not hasattr(os, "wait4"):
        code, used = process.wait(), {}
    else:
        _, status, usage = os.wait4(process.pid, 0)
        code = process.returncode = os.waitstatus_to_exitcode(status)
        used = {
            "cpu": usage.ru_utime + usage.ru_stime,
            "memory": usage.ru_maxrss / (1e6 if sys.platform == "darwin" else 1e6 / 1024),
        }
    tell({"wall": time.perf_counter() - started, **used})
    return code


def call(function: Callable[[], object]) -> object:
    """Call a function, tell what it took, and return what it returned."""
    before = _memory("VmRSS")
    _forget_peak()
    wall, cpu = time.perf_counter(), time.process_time()
    result = function()
    measured = {
        "call wall": time.perf_counter() - wall,
        "call cpu": time.process_time() - cpu,
    }
    if before is not None:
        measured["call memory"] = (_memory("VmHWM") or before) - before
    tell(measured)
    return result


def tell(measured: Measures) -> None:
    """Print measures for whoever started this process."""
    print(f"\n{TELLS}{json.dumps(measured)}", flush=True)


def _told(log: Path, start: int) -> Measures:
    """All measures told in a log from ``start`` on."""
    measured: Measures = {}
    with log.open("rb") as file:
        file.seek(start)
        for line in file.read().decode(errors="replace").splitlines():
            if line.startswith(TELLS):
                measured |= json.loads(line.removeprefix(TELLS))
    return measured


def _forget_peak() -> None:
    """Let the kernel count this process's highest memory anew (Linux)."""
    refresh = Path("/proc/self/clear_refs")
    if refresh.exists():
        refresh.write_text("5")


def _memory(name: str) -> float | None:
    """``VmRSS`` or ``VmHWM`` of this process in MB, where the system tells (Linux)."""
    status = Path("/proc/self/status")
    if not status.exists():
        return None
    lines = status.read_text().splitlines()
    return next(int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith(name))


if __name__ == "__main__":
    sys.exit(_launch(sys.argv[1:]))
