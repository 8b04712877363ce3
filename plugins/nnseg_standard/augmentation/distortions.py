"""Changes to one channel beyond nnU-Net's default ones: smears, bumps, holes. They make copies.

A volume is float32 (*patch). All that is random is drawn beforehand.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from nnseg_standard.augmentation.intensity import TINY


def median(volume: Tensor, size: int) -> Tensor:
    """The median of ``size`` voxels along each axis in turn; ends are repeated.

    One after the other costs ``size`` per axis, and all at once ``size`` to the power of axes.
    """
    for axis, length in enumerate(volume.shape):
        window = torch.arange(size, device=volume.device) - size // 2
        places = torch.arange(length, device=volume.device)[:, None] + window
        taken = volume.index_select(axis, places.clamp(0, length - 1).flatten())
        windows = taken.reshape(*volume.shape[:axis], length, size, *volume.shape[axis + 1 :])
        volume = windows.median(dim=axis + 1).values
    return volume


def sharpen(volume: Tensor, strength: float) -> Tensor:
    """Add the difference from the neighbours along each axis; the range of values is kept."""
    low, high = torch.aminmax(volume)
    result = volume.clone()
    for axis, length in enumerate(volume.shape):
        change = volume.diff(dim=axis).mul_(strength)
        result.narrow(axis, 1, length - 1).add_(change)
        result.narrow(axis, 0, length - 1).sub_(change)
    return result.clamp_(low, high)


def stretch(volume: Tensor, factor: float) -> Tensor:
    """Stretch a volume about its mean, beyond the range it had."""
    mean = volume.mean()
    return (volume - mean).mul_(factor).add_(mean)


def offset(volume: Tensor, by: float) -> Tensor:
    """Add a constant."""
    return volume + by


def blank(volume: Tensor, boxes: Sequence[tuple[tuple[int, int], ...]]) -> Tensor:
    """Put the mean of the volume into boxes, each a range of voxels per axis."""
    result, mean = volume.clone(), volume.mean()
    for box in boxes:
        result[tuple(slice(*ends) for ends in box)] = mean
    return result


def bump(shape: Sequence[int], centre: Sequence[float], sigmas: Sequence[float]) -> list[Tensor]:
    """A Gaussian of height 1 as a factor per axis, in voxels; its product is the whole of it."""
    factors = []
    for axis, (length, middle, sigma) in enumerate(zip(shape, centre, sigmas, strict=True)):
        distance = (torch.arange(length) - middle) / sigma
        factor = torch.exp(-0.5 * distance.square())
        factors.append(factor.reshape([-1 if a == axis else 1 for a in range(len(shape))]))
    return factors


def glow(
    volume: Tensor, centre: Sequence[float], sigmas: Sequence[float], strength: float
) -> Tensor:
    """Add a bump of that height, as a coil adds brightness to what is near."""
    return volume + strength * _whole(volume, centre, sigmas)


def local_gamma(
    volume: Tensor, centre: Sequence[float], sigmas: Sequence[float], exponent: float
) -> Tensor:
    """Raise a volume, scaled to 0..1 and back, to a power around a place only."""
    low, high = torch.aminmax(volume)
    span = (high - low).clamp_(min=TINY)
    raised = ((volume - low) / span).pow_(exponent).mul_(span).add_(low)
    return volume.lerp(raised, _whole(volume, centre, sigmas))


def _whole(volume: Tensor, centre: Sequence[float], sigmas: Sequence[float]) -> Tensor:
    """A bump where ``volume`` is, reaching 1 at its highest voxel, wherever its centre is."""
    whole = torch.ones((), device=volume.device)
    for factor in bump(volume.shape, centre, sigmas):
        near = factor.to(volume.device)
        whole = whole * (near / near.amax().clamp_(min=TINY))
    return whole
