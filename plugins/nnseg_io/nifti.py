"""NIfTI files, read past ITK, which is slow to open them and hides damage.

ITK reads what is missing or NaN as 0. Where the voxels lie is still ITK's to say.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnseg_core.errors import DatasetError
from nnseg_io.channels import require_finite

try:
    from isal import igzip as gzip  # the same interface, twice as fast
except ImportError:
    import gzip

TYPES = {
    2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8",
    256: "i1", 512: "u2", 768: "u4", 1024: "i8", 1280: "u8",
}  # fmt: skip
"""Numpy's name by NIfTI's ``datatype`` code; colours and complex numbers are left to ITK."""

HEADER_BYTES = 348
"""Size of the header, which is also the number that the file begins with."""


@dataclass(frozen=True, slots=True)
class NiftiHeader:
    """What a header tells of the voxels.

    ``sizes`` are those of the axes (x, y, z, t); ``dtype`` is None for colours and complex numbers.
    ``placed_by`` are the bytes that decide where the voxels lie: files in which they are equal have
    the same spacing, origin, direction and components. ``has_spacing`` is False where one is 0,
    which ITK reads as 1 mm.
    """

    sizes: tuple[int, int, int, int]
    dtype: np.dtype[Any] | None
    voxel_bytes: int
    start: int
    slope: float
    intercept: float
    placed_by: bytes
    has_spacing: bool = True

    @property
    def is_scaled(self) -> bool:
        """Whether the numbers in the file are not yet the values."""
        slope, intercept = self.slope, self.intercept
        return (math.isfinite(slope) and slope not in (0, 1)) or (
            math.isfinite(intercept) and intercept != 0
        )


def read_content(path: Path, size: int = -1) -> bytes:
    """All bytes of a file, or the first ``size``, decompressed.

    May raise whatever decompression raises, at a damaged file.
    """
    with path.open("rb") as file:
        compressed = file.read(2) == b"\x1f\x8b"
        file.seek(0)
        if not compressed:
            return file.read(size)
        with gzip.GzipFile(fileobj=file) as inflated:
            return bytes(inflated.read(size))


def parse_header(content: bytes) -> NiftiHeader | None:
    """The header at the beginning of a NIfTI-1 file.

    None for what ITK must interpret: other formats, vectors.
    """
    orders = {HEADER_BYTES.to_bytes(4, "little"): "<", HEADER_BYTES.to_bytes(4, "big"): ">"}
    order = orders.get(content[:4])
    if order is None or len(content) < HEADER_BYTES or content[344:348] != b"n+1\0":
        return None
    axes, *sizes = struct.unpack_from(f"{order}8h", content, 40)
    datatype, bits = struct.unpack_from(f"{order}2h", content, 70)
    offset, slope, intercept = struct.unpack_from(f"{order}3f", content, 108)
    kind = TYPES.get(datatype)
    if not 2 <= axes <= 4 or (kind is not None and bits != 8 * np.dtype(kind).itemsize):
        return None
    sizes = [*sizes[:axes], *(1,) * (4 - axes)]
    if min(sizes) < 1 or not math.isfinite(offset):
        return None
    # dim[0], dim[4] and beyond, which axes have one voxel, intent, the type if it is not a number,
    # pixdim, units, qform and sform
    placed_by = b"".join(
        (
            order.encode(),
            content[40:42],
            content[48:56],
            bytes(size == 1 for size in sizes),
            content[68:70] if kind else content[68:74],
            content[76:108],
            content[123:124],
            content[252:328],
        )
    )
    return NiftiHeader(
        sizes=(sizes[0], sizes[1], sizes[2], sizes[3]),
        dtype=np.dtype(order + kind) if kind else None,
        voxel_bytes=bits // 8,
        start=max(int(offset), HEADER_BYTES),
        slope=slope,
        intercept=intercept,
        placed_by=placed_by,
        has_spacing=0 not in struct.unpack_from(f"{order}{min(axes, 3)}f", content, 80),
    )


def parse_voxels(content: bytes, header: NiftiHeader, path: Path) -> NDArray[Any] | None:
    """The voxels in one row, or None for those that ITK must interpret: scaled ones, colours.

    Raises ``DatasetError`` for a file cut short, and for scaled values that are not finite.
    """
    voxels = math.prod(header.sizes)
    _require_bytes(content, header.start + voxels * header.voxel_bytes, path)
    if header.dtype is None:
        return None
    values = np.frombuffer(content, header.dtype, voxels, header.start)
    if not header.is_scaled:
        return values
    if values.dtype.kind == "f":
        require_finite(values, path)
    return None


def _require_bytes(content: bytes, expected: int, path: Path) -> None:
    if len(content) < expected:
        raise DatasetError(
            f"{path} is incomplete: its header announces {expected} bytes, but it holds "
            f"{len(content)}. Copy it again from where it came from."
        )
