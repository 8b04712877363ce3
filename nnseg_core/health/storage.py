"""Probes of the workspace: is it there, can it be written to, how fast, for how long."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from nnseg_core.health import Probe, ok, problem, warning
from nnseg_core.machine import free_disk
from nnseg_core.workspace import VARIABLE, Workspace

CHOOSE = f"Choose another folder with --workspace or {VARIABLE}."

SAMPLE = 64 * 2**20
"""Bytes written to measure a disk: more than most keep to themselves, less than a second."""

PATIENCE = 3.0
"""Seconds after which a slow disk has shown what it is."""

SLOW = 50e6
"""Bytes per second. Below it a CT of 200 MB takes longer to store than to preprocess."""

LITTLE, NONE = 20e9, 1e9
"""Free bytes: a few hundred preprocessed CT scans, and less than one training leaves behind."""


def storage_probes(workspace: Workspace) -> Iterator[Probe]:
    """Look at the workspace's folder, or where it would be made."""
    folder = next(path for path in (workspace.root, *workspace.root.parents) if _exists(path))
    there = "" if folder == workspace.root else " (not there yet; made when it is needed)"
    if not folder.is_dir() or not _is_writable(folder):
        yield problem("workspace", f"{workspace.root} cannot be written to", CHOOSE)
        return
    yield ok("workspace", f"{workspace.root}{there}")
    yield _free(folder)
    yield _speed(folder)


def _free(folder: Path) -> Probe:
    free = free_disk(folder)
    said = f"{free / 1e9:.1f} GB"
    if free < NONE:
        return problem("free space", said, f"Make room, or {CHOOSE[0].lower()}{CHOOSE[1:]}")
    if free < LITTLE:
        return warning("free space", said, "Make room before you preprocess a large dataset.")
    return ok("free space", said)


def _speed(folder: Path) -> Probe:
    try:
        speed = write_speed(folder)
    except OSError as error:
        return problem("write speed", error, CHOOSE)
    said = f"{speed / 1e6:.0f} MB/s"
    if speed < SLOW:
        remedy = f"A local disk makes preprocessing faster: {CHOOSE[0].lower()}{CHOOSE[1:]}"
        return warning("write speed", said, remedy)
    return ok("write speed", said)


def write_speed(folder: Path) -> float:
    """Bytes per second of a file that has reached the disk; it is removed again."""
    block = os.urandom(2**22)  # what cannot be compressed on the way
    start, written = time.perf_counter(), 0
    with tempfile.NamedTemporaryFile(dir=folder, prefix=".nnseg-") as file:
        while written < SAMPLE and time.perf_counter() - start < PATIENCE:
            written += file.write(block)
            file.flush()
            os.fsync(file.fileno())
    return written / (time.perf_counter() - start)


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # within a folder that is not for us
        return False


def _is_writable(folder: Path) -> bool:
    """Try it: permissions alone say little on network drives and on Windows."""
    try:
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False
