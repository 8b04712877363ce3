"""Which process this is, and whether one of another run is still there."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path


def place() -> str:
    """Where this process's number means something: host, boot and, in a container, the container.

    Two processes of equal places see each other by number; for others only signs of life count.
    """
    parts = [socket.gethostname()]
    if sys.platform == "linux":
        parts += [_boot(), _namespace()]
    return " ".join(filter(None, parts))


def began(pid: int) -> str | None:
    """When a process began, in the system's own words; None where none of that number runs.

    A number is given again to later processes, so it takes both to know one. ``""`` means that
    there is a process, of which the system tells this user nothing.
    """
    if sys.platform == "win32":
        return _began_on_windows(pid)
    told = _began_on_linux(pid) if sys.platform == "linux" else _began_by_ps(pid)
    return told or ("" if _is_of_another_user(pid) else None)


def _boot() -> str:
    """A name that the kernel draws anew at each start."""
    return _text(Path("/proc/sys/kernel/random/boot_id"))


def _namespace() -> str:
    """The space of process numbers, of which each container has one."""
    try:
        return str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        return ""


def _began_on_linux(pid: int) -> str | None:
    """Ticks since the boot, field 22 of proc(5). A zombie has ended, unseen by its parent."""
    after_name = _text(Path(f"/proc/{pid}/stat")).rpartition(")")[2].split()
    return after_name[19] if after_name and after_name[0] not in "ZX" else None


def _began_by_ps(pid: int) -> str | None:
    asked = subprocess.run(
        ["ps", "-o", "stat=,lstart=", "-p", str(pid)],
        env={**os.environ, "LC_ALL": "C"},
        capture_output=True,
        text=True,
        check=False,
    )
    state, _, started = asked.stdout.strip().partition(" ")
    return started.strip() if state and not state.startswith("Z") else None


def _is_of_another_user(pid: int) -> bool:
    """Whether there is a process that the system may be hiding from this user."""
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True
    except (OSError, OverflowError):
        return False
    return False


def _began_on_windows(pid: int) -> str | None:
    """Ask for its times; ``os.kill`` would end it, whatever the signal."""
    import ctypes

    query, denied = 0x1000, 5  # PROCESS_QUERY_LIMITED_INFORMATION, ERROR_ACCESS_DENIED
    kernel = ctypes.WinDLL("kernel32", use_last_error=True)  # type: ignore[attr-defined,unused-ignore]
    kernel.OpenProcess.restype = ctypes.c_void_p
    handle = kernel.OpenProcess(query, False, pid)
    if not handle:
        refused = ctypes.get_last_error() == denied  # type: ignore[attr-defined,unused-ignore]
        return "" if refused else None
    times = [ctypes.c_uint64() for _ in range(4)]  # created, ended, in the kernel, in the program
    kernel.GetProcessTimes(ctypes.c_void_p(handle), *map(ctypes.byref, times))
    kernel.CloseHandle(ctypes.c_void_p(handle))
    return None if times[1].value else str(times[0].value)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return ""
