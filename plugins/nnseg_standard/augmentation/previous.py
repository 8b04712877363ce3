"""Changes to what a cascade is shown of its previous stage: shapes that grow, shrink or go missing.

They keep the network from copying the earlier segmentation, which is better on cases it was trained
on than it will be elsewhere. Channels are (label, *patch) of truth values. Draw, then apply.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

FAR = 2**30
"""A squared distance that is beyond every radius."""


@dataclass(frozen=True, slots=True)
class Reshaping:
    """One of ``OPERATIONS`` on a channel, by a ball of ``radius`` voxels."""

    channel: int
    operation: str
    radius: float


@dataclass(frozen=True, slots=True)
class Removal:
    """A component to remove from a channel: the one at the share ``pick``, 0 to below 1."""

    channel: int
    pick: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Disturbance:
    """All that happens to the channels of one patch, in this order.

    Only components of less than ``removable`` of the patch may be removed.
    """

    reshaped: tuple[Reshaping, ...] = ()
    removed: tuple[Removal, ...] = ()
    removable: float = 0.0


def disturbed(channels: Tensor, drawn: Disturbance) -> Tensor:
    """Apply what was drawn. A voxel that a label gains is lost by the others."""
    if not drawn.reshaped and not drawn.removed:
        return channels
    channels = channels.clone()
    for change in drawn.reshaped:
        before = channels[change.channel].clone()
        after = OPERATIONS[change.operation](before, change.radius)
        channels &= ~(after & ~before)
        channels[change.channel] = after
    for removal in drawn.removed:
        channel = channels[removal.channel]
        channels[removal.channel] = without_component(channel, removal.pick, drawn.removable)
    return channels


def dilate(mask: Tensor, radius: float) -> Tensor:
    """All voxels within ``radius`` of the mask.

    The squared distance to the mask is found axis by axis, which is exact, and costs 2 steps per
    voxel of the radius and axis where a convolution with the ball has its volume.
    """
    distance = torch.where(mask, 0, FAR).to(torch.int32)
    for axis in range(mask.ndim):
        distance = _nearest(distance, axis, math.floor(radius))
    return distance <= radius**2


def erode(mask: Tensor, radius: float) -> Tensor:
    """The voxels of the mask that have none of the rest within ``radius``; the border keeps all."""
    return ~dilate(~mask, radius)


def close(mask: Tensor, radius: float) -> Tensor:
    """Dilate, then erode: gaps are filled."""
    return erode(dilate(mask, radius), radius)


def open_up(mask: Tensor, radius: float) -> Tensor:
    """Erode, then dilate: what is thin goes."""
    return dilate(erode(mask, radius), radius)


OPERATIONS: dict[str, Callable[[Tensor, float], Tensor]] = {
    "dilate": dilate,
    "erode": erode,
    "close": close,
    "open": open_up,
}


def without_component(mask: Tensor, pick: float, removable: float) -> Tensor:
    """The mask without one of its components, of those below the share ``removable`` of voxels.

    Voxels that touch by a corner belong together.
    """
    from scipy import ndimage  # takes 0.3 s, and only cascades need it

    components, count = ndimage.label(mask.cpu().numpy(), structure=np.ones((3,) * mask.ndim))
    sizes = np.bincount(components.ravel(), minlength=count + 1)[1:]
    small = np.flatnonzero(sizes < removable * mask.numel()) + 1
    if not len(small):
        return mask
    chosen = small[int(pick * len(small))]
    return mask & torch.from_numpy(components != chosen).to(mask.device)


def _nearest(distance: Tensor, axis: int, reach: int) -> Tensor:
    """Squared distances that also count up to ``reach`` voxels along an axis."""
    nearest = distance.clone()
    size = distance.shape[axis]
    for step in range(1, min(reach, size - 1) + 1):
        rest = size - step
        for towards, source in ((0, step), (step, 0)):
            part = nearest.narrow(axis, towards, rest)
            torch.minimum(part, distance.narrow(axis, source, rest) + step**2, out=part)
    return nearest
