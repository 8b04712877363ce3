"""What this machine lets a process use: processors, memory, disk. The least of all limits counts.

A container, a cluster job and ``ulimit`` each allow less than the machine has, and each says so
elsewhere. ``root`` and ``environment`` can be replaced, so that every case can be tested.
"""

from __future__ import annotations

import math
import os
import shutil
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path("/")

UNLIMITED = 2**60
"""Bytes from which a limit is none: version 1 of cgroups writes a number near 2^63."""


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes that may still be used, and what limits them."""

    free: int
    limited_by: str


def usable_cores(root: Path = ROOT, environment: Mapping[str, str] | None = None) -> int:
    """Processors that this process may keep busy, at least 1."""
    environment = os.environ if environment is None else environment
    affinity = getattr(os, "sched_getaffinity", None)
    limits = [len(affinity(0)) if affinity else os.cpu_count() or 1]
    granted = environment.get("SLURM_CPUS_PER_TASK", "")
    limits += [int(granted)] if granted.isdecimal() else []
    limits += [math.ceil(quota) for quota in _quotas(root)]
    return max(1, min(limits))


def free_memory(root: Path = ROOT) -> Memory | None:
    """Memory for one process and its children; None where the system does not tell."""
    system = _system_memory(root)
    known = [Memory(system, "the machine's memory")] if system is not None else []
    known += [Memory(free, "the memory limit of this container or job") for free in _groups(root)]
    return min(known, key=lambda memory: memory.free, default=None)


def address_space() -> int | None:
    """Bytes that each process may reserve (``ulimit -v``); None where there is no limit."""
    if sys.platform == "win32":
        return None
    import resource

    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    return None if limit == resource.RLIM_INFINITY or limit >= UNLIMITED else limit


def free_disk(folder: Path) -> int:
    """Bytes that can be written where ``folder`` is or will be."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return shutil.disk_usage(folder).free


def in_words(size: float) -> str:
    """``3.1 GB``, ``870 MB``: powers of 1000, as disks are sold."""
    if size >= 1e9:
        return f"{size / 1e9:.{1 if size < 1e10 else 0}f} GB"
    return f"{size / 1e6:.0f} MB"


def _quotas(root: Path) -> Iterator[float]:
    """Processors that control groups allow, of either version."""
    for folder in _group_folders(root, ""):
        limit, _, period = _text(folder / "cpu.max").partition(" ")
        if limit.isdecimal() and period.isdecimal():
            yield int(limit) / int(period)
    for folder in _group_folders(root, "cpu"):
        granted, of = _number(folder / "cpu.cfs_quota_us"), _number(folder / "cpu.cfs_period_us")
        if granted is not None and of and granted > 0:
            yield granted / of


def _groups(root: Path) -> Iterator[int]:
    """Bytes left in each control group that this process is in. Cached files give way."""
    for controller, limit_file, used_file, cached in (
        ("", "memory.max", "memory.current", "inactive_file"),
        ("memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    ):
        for folder in _group_folders(root, controller):
            limit, used = _number(folder / limit_file), _number(folder / used_file)
            if limit is not None and limit < UNLIMITED:
                given_back = _entry(folder / "memory.stat", cached) or 0
                yield max(0, limit - (used or 0) + given_back)


def _group_folders(root: Path, controller: str) -> Iterator[Path]:
    """The control groups of this process, innermost first; ``controller`` is "" in version 2.

    In a container the path told is often that outside, so the top is always looked at.
    """
    top = root / "sys/fs/cgroup" / controller
    inside = Path()
    for line in _text(root / "proc/self/cgroup").splitlines():
        _, controllers, path = (*line.split(":", 2), "", "")[:3]
        if controller in controllers.split(","):
            inside = Path(path.lstrip("/"))
    yield from (top / part for part in (inside, *inside.parents))


def _system_memory(root: Path) -> int | None:
    told = _entry(root / "proc/meminfo", "MemAvailable:")
    if told is not None:
        return told * 1024  # kB
    return _windows_memory() if sys.platform == "win32" else _posix_memory()


def _posix_memory() -> int | None:
    """Free pages where the system counts them (macOS does not), else half of all."""
    for name, share in (("SC_AVPHYS_PAGES", 1.0), ("SC_PHYS_PAGES", 0.5)):
        if name in os.sysconf_names:
            return int(share * os.sysconf(name) * os.sysconf("SC_PAGE_SIZE"))
    return None


def _windows_memory() -> int | None:
    """Available physical memory, by GlobalMemoryStatusEx."""
    import ctypes

    class Status(ctypes.Structure):
        _fields_ = (
            ("length", ctypes.c_ulong),
            ("load", ctypes.c_ulong),
            *((name, ctypes.c_ulonglong) for name in ("total", "free", "a", "b", "c", "d", "e")),
        )

    status = Status(length=ctypes.sizeof(Status))
    kernel = ctypes.windll.kernel32  # type: ignore[attr-defined,unused-ignore]
    return int(status.free) if kernel.GlobalMemoryStatusEx(ctypes.byref(status)) else None


def _entry(path: Path, name: str) -> int | None:
    """The number after ``name``, in a file of such lines."""
    for line in _text(path).splitlines():
        words = line.split()
        if words and words[0] == name:
            return int(words[1])
    return None


def _number(path: Path) -> int | None:
    text = _text(path)
    return int(text) if text.lstrip("-").isdecimal() else None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
