"""Label maps: from the numbers in a file to int16, and from a mask to the smallest file type."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnseg_core.errors import DatasetError
from nnseg_core.geometry import Geometry
from nnseg_core.wording import some
from nnseg_io.channels import require_finite


def to_label(values: NDArray[Any], path: Path) -> NDArray[np.int16]:
    """The label values of a file as int16; integers stored as floats are accepted.

    Raises ``DatasetError`` for fractions, for values beyond int16, and for what is no number.
    """
    if values.dtype.kind not in "biuf":
        raise DatasetError(f"{path} holds numbers of type {values.dtype}; labels are integers.")
    if values.dtype.kind == "f":
        require_finite(values, path)
        _require_integers(values, path)
    low, high = values.min(), values.max()
    bounds = np.iinfo(np.int16)
    if low < bounds.min or high > bounds.max:
        raise DatasetError(
            f"{path} holds label values from {low} to {high}, but nnseg keeps labels between "
            f"{bounds.min} and {bounds.max}. Number them from 1 upwards."
        )
    return values.astype(np.int16, order="C")


def require_one_channel(values: NDArray[Any], path: Path) -> NDArray[Any]:
    """The channel of a label file (channel, ...) whose channels are all equal.

    Masks saved as grey RGB images are common; channels that differ mean colours, not labels.
    """
    if not all(np.array_equal(channel, values[0]) for channel in values[1:]):
        raise DatasetError(
            f"{path} has {len(values)} channels that differ; a label file needs one channel, "
            "which holds the number of the label at each voxel."
        )
    first: NDArray[Any] = values[0]
    return first


def to_mask(label: NDArray[Any], geometry: Geometry) -> NDArray[np.unsignedinteger]:
    """A label map as uint8, or uint16 where a value exceeds 255."""
    if label.shape != geometry.shape:
        raise ValueError(f"label has shape {label.shape} but its image has {geometry.shape}")
    if label.min() < 0 or label.max() > np.iinfo(np.uint16).max:
        raise ValueError(f"label values {label.min()} to {label.max()} do not fit into a mask")
    return np.ascontiguousarray(label, dtype=np.uint8 if label.max() <= 255 else np.uint16)


def _require_integers(values: NDArray[Any], path: Path) -> None:
    fractions = np.unique(values[values != np.rint(values)])
    if len(fractions) > 0:
        shown = some(f"{value:g}" for value in fractions)
        raise DatasetError(
            f"{path} holds values that are not integers: {shown}. A label map must not be "
            "interpolated: resample it with nearest neighbours, or threshold probabilities."
        )
