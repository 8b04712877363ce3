"""Crop images to where they are not zero, and mark in the label what lies outside."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nnseg_core.case import OUTSIDE
from nnseg_core.geometry import Box, whole


def nonzero_box(image: NDArray[np.float32]) -> Box:
    """The smallest box around the voxels that are not zero in every channel.

    image: (channel, z, y, x). An image of zeros keeps its full box, as in nnU-Net.
    """
    mask = _nonzero(image)
    used = [np.flatnonzero(mask.any(axis=axes)) for axes in ((1, 2), (0, 2), (0, 1))]
    if used[0].size == 0:
        return whole(mask.shape)
    return Box(
        start=tuple(int(index[0]) for index in used),
        stop=tuple(int(index[-1]) + 1 for index in used),
    )


def mark_outside(
    image: NDArray[np.float32], label: NDArray[np.int16] | None = None
) -> NDArray[np.int16]:
    """The label (z, y, x), with ``OUTSIDE`` for background outside the non-zero region.

    image: (channel, z, y, x), cropped to its box. Zeros enclosed by the region belong to it.
    Without a label the region is 0.
    """
    outside = _outside(image)
    if label is None:
        return np.where(outside, np.int16(OUTSIDE), np.int16(0))
    return np.where(outside & (label == 0), np.int16(OUTSIDE), label)


def _nonzero(image: NDArray[np.float32]) -> NDArray[np.bool_]:
    mask: NDArray[np.bool_] = np.any(image, axis=0)
    return mask


def _outside(image: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Zero voxels that are connected to the border through faces of zero voxels.

    The complement is ``scipy.ndimage.binary_fill_holes`` of the rest, in a third of the time.
    """
    zero = ~_nonzero(image)
    if not zero.any():
        return zero

    from scipy import ndimage  # takes 0.3 s, which most commands can do without

    components = np.empty(zero.shape, dtype=np.int32)
    touches_border = np.zeros(ndimage.label(zero, output=components) + 1, dtype=bool)
    for axis in range(3):
        for face in (0, -1):
            touches_border[components.take(face, axis)] = True
    touches_border[0] = False  # the region itself
    outside: NDArray[np.bool_] = touches_border[components]
    return outside
