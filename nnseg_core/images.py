"""A case from what a caller has in hand: a file, one file per channel, or an array."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnseg_core.case import RawCase
from nnseg_core.contracts import Reader
from nnseg_core.errors import DatasetError
from nnseg_core.geometry import PLANAR_SPACING, Geometry


def case_from(
    image: Path | str | Sequence[Path | str] | NDArray[Any],
    spacing: Sequence[float] | None,
    reader_for: Callable[[Path], Reader],
) -> RawCase:
    """A case from an array, a file or one file per channel; see ``Model.predict``."""
    if isinstance(image, np.ndarray):
        return case_from_array(image, spacing)
    paths = [Path(image)] if isinstance(image, str | Path) else [Path(path) for path in image]
    read, geometry = reader_for(paths[0]).read(paths)
    return RawCase(identifier=paths[0].name, image=read, label=None, geometry=geometry)


def case_from_array(image: NDArray[Any], spacing: Sequence[float] | None) -> RawCase:
    """A case from an array; see ``Model.predict`` for axes. Raises ``DatasetError`` on a misfit."""
    if spacing is None or len(spacing) not in (2, 3):
        raise DatasetError(
            "an array needs its spacing in mm: spacing=(z, y, x), or (y, x) for a planar image."
        )
    if image.ndim not in (len(spacing), len(spacing) + 1):
        raise DatasetError(
            f"an array of shape {image.shape} does not fit spacing {tuple(spacing)}: "
            "give (z, y, x) or (channel, z, y, x)."
        )
    channels = image if image.ndim > len(spacing) else image[np.newaxis]
    if len(spacing) == 2:
        channels = channels[:, np.newaxis]
    geometry = Geometry(
        shape=channels.shape[1:],
        spacing=(PLANAR_SPACING,) * (3 - len(spacing)) + tuple(map(float, spacing)),  # type: ignore[arg-type]
    )
    return RawCase(
        identifier="array", image=channels.astype(np.float32), label=None, geometry=geometry
    )
