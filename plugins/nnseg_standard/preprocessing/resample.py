"""Take images, labels and logits from one voxel spacing to another, as nnU-Net does.

Images by cubic splines, labels by a linear vote, logits linearly. Where voxels are much longer
along one axis, that axis is resampled by nearest neighbour, and the slices across it one by one.
Volumes are (z, y, x); spacings (mm) follow their axes. An equal shape returns the input.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from nnseg_standard.preprocessing.label_vote import neighbours, vote
from nnseg_standard.preprocessing.separable import (
    CUBIC,
    LINEAR,
    NEAREST,
    Resampling,
    axis_resampling,
)

ANISOTROPY = 3.0
"""Ratio of the largest to the smallest spacing beyond which slices are resampled one by one."""


def separate_axis(spacing: Sequence[float], new_spacing: Sequence[float]) -> int | None:
    """The axis to resample by nearest neighbour, if there is one (nnU-Net's rule).

    The old spacing decides where it is anisotropic, else the new one. Where two axes share the
    largest spacing there are no slices, and all axes are treated alike.
    """
    for candidate in (spacing, new_spacing):
        if max(candidate) / min(candidate) > ANISOTROPY:
            longest = [
                axis for axis, length in enumerate(candidate) if max(candidate) / length == 1
            ]
            return longest[0] if len(longest) == 1 else None
    return None


def resample_image(
    image: NDArray[np.float32],
    shape: Sequence[int],
    spacing: Sequence[float],
    new_spacing: Sequence[float],
    order: int = CUBIC,
) -> NDArray[np.float32]:
    """Resample (channel, z, y, x) by cubic splines whose overshoot is cut, or another ``order``.

    Each channel, or each slice where they are resampled one by one, keeps to its range of values.
    """
    if image.shape[1:] == tuple(shape):
        return image
    separate = separate_axis(spacing, new_spacing)
    resampling = _resampling(image.shape[1:], shape, order, separate)
    result = np.empty((len(image), *shape), dtype=np.float32)
    for channel, resampled in zip(image, result, strict=True):
        low, high = _limits(channel, resampling, separate)
        np.clip(resampling(channel), low, high, out=resampled)
    return result


def resample_linear(
    volumes: NDArray[np.floating],
    shape: Sequence[int],
    spacing: Sequence[float],
    new_spacing: Sequence[float],
) -> NDArray[np.float32]:
    """Resample (channel, z, y, x) linearly: logits or probabilities."""
    resampling = linear_resampling(volumes.shape[1:], shape, spacing, new_spacing)
    return np.stack([resampling(volume) for volume in volumes])


def linear_resampling(
    old_shape: Sequence[int],
    shape: Sequence[int],
    spacing: Sequence[float],
    new_spacing: Sequence[float],
) -> Resampling:
    """What ``resample_linear`` does to one volume, for callers that cannot hold them all."""
    return _resampling(old_shape, shape, LINEAR, separate_axis(spacing, new_spacing))


def resample_labels(
    label: NDArray[np.int16],
    shape: Sequence[int],
    spacing: Sequence[float],
    new_spacing: Sequence[float],
) -> NDArray[np.int16]:
    """Resample labels (z, y, x): the label with the largest share of linear weight is kept.

    Where shares are equal it is the label of the nearest voxel, if among them, else the lowest.
    That is the rule since batchgenerators 0.25.5; nnU-Net with an older one wrote labels in
    ascending order wherever they reached a half, and left 0 where none did.
    """
    if label.shape == tuple(shape):
        return label
    separate = separate_axis(spacing, new_spacing)
    sizes = enumerate(zip(label.shape, shape, strict=True))
    return vote(label, [neighbours(old, new, axis == separate) for axis, (old, new) in sizes])


def _resampling(
    old_shape: Sequence[int], shape: Sequence[int], order: int, separate: int | None
) -> Resampling:
    z, y, x = (
        axis_resampling(old, new, NEAREST if axis == separate else order)
        for axis, (old, new) in enumerate(zip(old_shape, shape, strict=True))
    )
    return Resampling((z, y, x))


def _limits(
    channel: NDArray[np.float32], resampling: Resampling, separate: int | None
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Lowest and highest value of the channel, or of the old slice behind each new one."""
    if separate is None:
        return channel.min(keepdims=True), channel.max(keepdims=True)
    plane = tuple(axis for axis in range(3) if axis != separate)
    along = resampling.axes[separate]
    low, high = channel.min(axis=plane, keepdims=True), channel.max(axis=plane, keepdims=True)
    return along(low, separate), along(high, separate)
