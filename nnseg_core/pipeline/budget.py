"""How many cases fit into memory beside each other, and whether workers are worth starting.

Both follow from the headers of the largest files, so that it costs milliseconds to know.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path

from nnseg_core import machine
from nnseg_core.contracts import Reader
from nnseg_core.dataset import CaseRef
from nnseg_core.errors import DatasetError
from nnseg_core.geometry import resampled_shape
from nnseg_core.machine import Memory

LOOKED_AT = 8
"""Cases whose headers are read: those with the largest files."""

RAW_BYTES = 14.0
"""Per voxel and channel as the file has them. Measured: 10, of int16 that crop to two thirds."""

GRID_BYTES = 12.0
"""Per voxel and channel on the network's grid: the image, and two steps of its resampling."""

PROCESS_BYTES = 200_000_000
"""Of a worker with its libraries, before it has read anything (measured)."""

SHARE = 0.8
"""Of the free memory that is used; the rest is for what cannot be foreseen."""

KEPT_SHARE = 0.25
"""Of the free memory that may hold decoded cases from one step to the next."""

EXAMINE_SECONDS = 40e-9
"""Of one processor per voxel and channel: decoding, checking, hashing (measured)."""

DRAW_SECONDS = 8e-9
"""Per foreground intensity that is drawn (measured)."""

PREPROCESS_SECONDS = 60e-9
"""Of one processor per voxel and channel of the larger of both grids (measured)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """What is expected of the work on some cases.

    ``peak`` are the bytes that the largest one needs, ``voxels`` those of all cases and channels.
    """

    workers: int
    peak: float
    voxels: float
    free: Memory | None

    @property
    def room(self) -> int:
        """Bytes that decoded cases may take up between two steps."""
        if self.free is None:
            return 0
        left = SHARE * self.free.free - max(self.workers, 1) * self.peak
        return max(0, int(min(left, KEPT_SHARE * self.free.free)))

    def __str__(self) -> str:
        said = f"{self.workers} worker{'s' if self.workers > 1 else ''}: the largest case needs "
        said += f"about {machine.in_words(self.peak)}"
        return said if self.free is None else f"{said} of {machine.in_words(self.free.free)} free"


@dataclass(frozen=True, slots=True)
class _Size:
    files: int  # bytes
    voxels: int  # of all channels
    on_grid: int


def budget(
    cases: Sequence[CaseRef],
    reader: Reader,
    workers: int,
    spacing: Sequence[float | None] | None = None,
    free: Memory | None = None,
) -> Budget:
    """Look at the largest cases. No more workers than fit into memory, nor than there are cases.

    ``spacing`` (mm, in the files' order of axes) is what they are resampled to; None along an axis
    leaves it.
    """
    free = machine.free_memory() if free is None else free
    largest = sorted(cases, key=_file_bytes)[-LOOKED_AT:]
    sizes = [size for case in largest if (size := _size(case, reader, spacing)) is not None]
    peak = PROCESS_BYTES + max((_peak(size) for size in sizes), default=0.0)
    known = sum(size.files for size in sizes)
    of_all = sum(_file_bytes(case) for case in cases)
    voxels = sum(max(size.voxels, size.on_grid) for size in sizes) * of_all / max(known, 1)
    fitting = workers if free is None else max(1, int(SHARE * free.free / peak))
    return Budget(
        workers=min(workers, fitting, max(len(cases), 1)), peak=peak, voxels=voxels, free=free
    )


def _peak(size: _Size) -> float:
    return RAW_BYTES * size.voxels + GRID_BYTES * size.on_grid


def _size(case: CaseRef, reader: Reader, spacing: Sequence[float | None] | None) -> _Size | None:
    """None where a file cannot be opened, which is said elsewhere."""
    try:
        headers = [reader.peek(path) for path in case.images]
    except DatasetError:
        return None
    geometry, channels = headers[0][0], sum(header[1] for header in headers)
    on_grid = 0
    if spacing is not None:
        new = [target or own for target, own in zip(spacing, geometry.spacing, strict=True)]
        on_grid = prod(resampled_shape(geometry.shape, geometry.spacing, new)) * channels
    return _Size(_file_bytes(case), prod(geometry.shape) * channels, on_grid)


def _file_bytes(case: CaseRef) -> int:
    return sum(_bytes(path) for path in case.images)


def _bytes(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
