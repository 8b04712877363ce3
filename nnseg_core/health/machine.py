"""Probes of the machine: cores, memory, and settings of the environment that slow nnseg down."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from nnseg_core.health import Probe, ok, problem, warning
from nnseg_core.machine import address_space, free_memory, usable_cores

LITTLE, TOO_LITTLE = 8e9, 2e9
"""Bytes. A CT of 512 x 512 x 400 voxels takes 3 GB while it is resampled, and training beside it
as much again; the imports of one process alone take half a gigabyte."""

BUSY = 1.5
"""Load per core above which others wait for the processor most of the time."""

SHARED = Path("/dev/shm")


def machine_probes() -> Iterator[Probe]:
    """What the machine gives to this process."""
    yield _cores()
    yield _threads()
    yield _memory()
    if SHARED.is_dir():
        size = shutil.disk_usage(SHARED).total
        yield ok(str(SHARED), f"{size / 1e9:.1f} GB, of which nnseg needs nothing")


def _cores() -> Probe:
    cores, present = usable_cores(), os.cpu_count() or 1
    said = f"{cores} usable" + (f" of {present}" if cores < present else "")
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    if cores == present and load > BUSY * cores:
        remedy = "End them, or expect to wait; every time that is measured here is too long."
        return warning("cores", f"{said}, busy with other programs (load {load:.1f})", remedy)
    return ok("cores", said)


def _threads() -> Probe:
    """What OpenMP is told by the environment, compared with the cores there are."""
    policy = os.environ.get("OMP_WAIT_POLICY", "").lower() or "unset"
    told, cores = os.environ.get("OMP_NUM_THREADS", ""), usable_cores()
    said = f"OMP_NUM_THREADS {told or 'unset'}, OMP_WAIT_POLICY {policy}"
    if told.isdigit() and int(told) != cores:
        waste = "leaves cores idle" if int(told) < cores else "makes threads wait for each other"
        remedy = f"Unset OMP_NUM_THREADS, or set it to {cores}."
        return warning("OpenMP settings", f"{said}, which {waste}", remedy)
    if policy == "active":
        remedy = "Unset OMP_WAIT_POLICY: then nnseg chooses passive."
        return warning("OpenMP settings", f"{said}: waiting threads keep cores busy", remedy)
    return ok("OpenMP settings", said)


def _memory() -> Probe:
    found = free_memory()
    if found is None:
        return ok("memory", "this system does not tell")
    reserve = address_space()
    said = f"{found.free / 1e9:.1f} GB free, limited by {found.limited_by}"
    if reserve is not None and reserve < max(found.free, LITTLE):
        remedy = "Take the limit away (ulimit -v unlimited): PyTorch reserves more than it uses."
        return warning("memory", f"{said}; {reserve / 1e9:.1f} GB by ulimit -v", remedy)
    free = found.free
    if free < TOO_LITTLE:
        return problem("memory", said, "End other programs, or ask for a larger machine or limit.")
    if free < LITTLE:
        return warning("memory", said, "Use few workers (--workers 1), or end other programs.")
    return ok("memory", said)
