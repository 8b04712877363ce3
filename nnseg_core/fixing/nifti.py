"""Mend NIfTI files byte by byte: what a reader refuses or hides, without touching the rest."""

from __future__ import annotations

import gzip
import itertools
import math
import struct
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float64]

HEADER_BYTES = 348
"""Size of a NIfTI-1 header, which is also the number that the file begins with."""

DIMENSIONS, DATATYPE, SPACING, START, QFORM, SFORM = 40, 70, 76, 108, 252, 254
QUATERNION, OFFSET, ROWS = 256, 268, 280
"""Where the fields of a NIfTI-1 header begin (nifti1.h)."""

FLOATS = {16: "f4", 64: "f8"}
"""Numpy's name by NIfTI's ``datatype`` code, of those that can be NaN."""


def is_nifti(path: Path) -> bool:
    """Whether the name says so."""
    return path.name.lower().endswith((".nii", ".nii.gz"))


def content_of(path: Path) -> bytearray:
    """The bytes of a file, inflated."""
    content = path.read_bytes()
    return bytearray(gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content)


def write_content(path: Path, content: bytes | bytearray) -> None:
    """Write a NIfTI file, deflated where its name says so."""
    # Without name and time in its header, one content always makes one file.
    packed = gzip.compress(content, 5, mtime=0) if path.name.lower().endswith(".gz") else content
    path.write_bytes(packed)


def make_regular(content: bytearray) -> float | None:
    """Put the nearest regular grid in place of a sheared or missing orientation.

    Returns by how many mm the corner that moves most moves. None, and nothing is done, for what is
    no NIfTI-1 header, and where nothing tells the spacing.
    """
    order = _byte_order(content)
    if order is None:
        return None
    size = np.array(struct.unpack_from(f"{order}8h", content, DIMENSIONS)[1:4], dtype=float)
    axes, offset = _orientation(content, order)
    if not np.isfinite(axes).all() or np.linalg.det(axes) == 0:
        return None
    spacing = np.linalg.norm(axes, axis=0)
    left, _, right = np.linalg.svd(axes / spacing)
    regular = left @ right * spacing  # the nearest rotation, of the same handedness
    for row in range(3):
        values = (*regular[row], offset[row])
        struct.pack_into(f"{order}4f", content, ROWS + 16 * row, *values)
    struct.pack_into(f"{order}3f", content, SPACING + 4, *spacing)
    struct.pack_into(f"{order}2h", content, QFORM, 0, 1)  # the sform alone, in scanner space
    ends = [(0.0, max(length - 1, 0.0)) for length in size]
    return max(math.dist(axes @ corner, regular @ corner) for corner in itertools.product(*ends))


def replace_non_finite(content: bytearray) -> str | None:
    """Replace NaN and infinite voxels; returns what was done, or None where there are none."""
    order = _byte_order(content)
    if order is None:
        return None
    kind = FLOATS.get(struct.unpack_from(f"{order}h", content, DATATYPE)[0])
    if kind is None:
        return None
    start = max(int(struct.unpack_from(f"{order}f", content, START)[0]), HEADER_BYTES)
    shape = struct.unpack_from(f"{order}8h", content, DIMENSIONS)
    count = math.prod(shape[1 : 1 + shape[0]])
    return fill_non_finite(np.frombuffer(content, order + kind, count, start))


def fill_non_finite(voxels: NDArray[np.floating]) -> str | None:
    """Replace NaN by 0, or by the lowest voxel where 0 is none; infinity by the lowest or highest.

    What was never measured is mostly NaN, and 0 is what other files hold there: nnseg then crops
    it away. Works in place; returns what was done, or None where nothing was.
    """
    finite = voxels[np.isfinite(voxels)]
    if len(finite) == voxels.size:
        return None
    low, high = (float(finite.min()), float(finite.max())) if len(finite) else (0.0, 0.0)
    blank = 0.0 if low <= 0 <= high else low
    counts = [int(np.count_nonzero(found)) for found in (np.isnan(voxels), np.isinf(voxels))]
    np.nan_to_num(voxels, copy=False, nan=blank, posinf=high, neginf=low)
    done = [
        f"{counts[0]} NaN voxels are now {blank:g}" if counts[0] else "",
        f"{counts[1]} infinite ones are now {low:g} or {high:g}" if counts[1] else "",
    ]
    return ", ".join(filter(None, done))


def _byte_order(content: bytearray) -> str | None:
    """Of a NIfTI-1 header in the file of its voxels; None for anything else."""
    if len(content) < HEADER_BYTES:
        return None
    return next((o for o in "<>" if struct.unpack_from(f"{o}i", content)[0] == HEADER_BYTES), None)


def _orientation(content: bytearray, order: str) -> tuple[Matrix, Matrix]:
    """Axes in mm per voxel, as columns, and the origin: of the sform, else the qform, else none."""
    spacing = np.abs(struct.unpack_from(f"{order}3f", content, SPACING + 4))
    qform, sform = struct.unpack_from(f"{order}2h", content, QFORM)
    rows = np.reshape(struct.unpack_from(f"{order}12f", content, ROWS), (3, 4))
    if sform > 0 and np.isfinite(rows).all() and abs(np.linalg.det(rows[:, :3])) > 0:
        return rows[:, :3], rows[:, 3]
    offset = np.array(struct.unpack_from(f"{order}3f", content, OFFSET))
    rotation = _rotation(*struct.unpack_from(f"{order}3f", content, QUATERNION))
    if qform > 0 and np.isfinite([*rotation.ravel(), *offset]).all():
        handed = struct.unpack_from(f"{order}f", content, SPACING)[0]
        return rotation * spacing * (1, 1, -1 if handed < 0 else 1), offset
    return np.diag(spacing * (-1, -1, 1)), np.zeros(3)  # NIfTI's axes run the other way in x, y


def _rotation(b: float, c: float, d: float) -> Matrix:
    """The rotation of a unit quaternion, whose first part is not stored."""
    a = math.sqrt(max(0.0, 1 - b * b - c * c - d * d))
    return np.array(
        [
            [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
            [2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b)],
            [2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - b * b - c * c],
        ]
    )
