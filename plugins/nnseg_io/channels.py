"""The image of a case, from one file per channel or one for all, and what is demanded of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnseg_core.errors import DatasetError
from nnseg_core.geometry import Geometry


def read_channels(
    paths: Sequence[Path], read_file: Callable[[Path], tuple[NDArray[Any], Geometry]]
) -> tuple[NDArray[np.float32], Geometry]:
    """Stack the channels of ``paths``, each of which ``read_file`` reads as (channel, z, y, x).

    Raises ``DatasetError`` when shape or spacing differ between files, or a voxel is not finite.
    """
    channels: list[NDArray[np.float32]] = []
    geometries: list[Geometry] = []
    for path in paths:
        values, geometry = read_file(path)
        channels.append(_to_float32(values, path))
        geometries.append(geometry)
        _require_same_grid(paths[0], geometries[0], path, geometry)
    image = channels[0] if len(channels) == 1 else np.concatenate(channels)
    return image, geometries[0]


def require_finite(values: NDArray[Any], path: Path) -> None:
    """Refuse voxels that are NaN or infinite."""
    with np.errstate(invalid="ignore"):  # infinity minus infinity
        total = values.sum(dtype=np.float64)
    if not np.isfinite(total):
        wrong = np.argwhere(~np.isfinite(values))
        raise DatasetError(
            f"{path} holds {len(wrong)} values that are not finite numbers (NaN or infinity), the "
            f"first at index {tuple(wrong[0].tolist())} in array order. Replace them, for example "
            "by the value of the background.",
            code="not-finite",
        )


def _to_float32(values: NDArray[Any], path: Path) -> NDArray[np.float32]:
    if values.dtype.kind not in "biuf":
        raise DatasetError(
            f"{path} holds numbers of type {values.dtype}; an image needs integers or floats. "
            "Save, for example, the magnitude of complex numbers."
        )
    with np.errstate(over="ignore"):  # found just below
        image = values.astype(np.float32, order="C")
    if values.dtype.kind == "f":
        require_finite(image, path)
    return image


def _require_same_grid(first: Path, expected: Geometry, path: Path, found: Geometry) -> None:
    if found.shape != expected.shape:
        differs = f"shape (z, y, x) differs: {expected.shape} in {first}, {found.shape} in {path}"
    elif not np.allclose(found.spacing, expected.spacing):
        differs = (
            f"spacing in mm (z, y, x) differs: {expected.spacing} in {first}, "
            f"{found.spacing} in {path}"
        )
    else:
        return
    raise DatasetError(
        f"the channels of a case must lie on one grid, but their {differs}. Resample one onto the "
        "grid of the other."
    )
