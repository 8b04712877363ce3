"""Rotating, scaling and mirroring a patch: how much of the image it takes, and the resampling.

The last ``n`` axes of an array turn, where ``n`` is the size of the transformation's matrix. A
volume under a transformation of two axes turns within its planes: its first axis is carried along.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from nnseg_core.case import OUTSIDE

SMALLEST_SCALE = 0.85
"""Sources are enlarged by its inverse, whatever the scale drawn later (nnU-Net's value)."""

UNDECIDED = torch.iinfo(torch.int16).min
"""Marks voxels whose neighbours have different labels, until they have voted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Transformation:
    """From positions in the patch to positions in its source, both relative to their centres.

    ``angles`` (radians) are about each axis in turn, or one in the plane of the last two axes.
    A ``scale``, one for all axes of the patch or one for each, above 1 makes objects smaller.
    """

    angles: tuple[float, ...]
    scale: float | tuple[float, ...]

    @property
    def matrix(self) -> NDArray[np.float64]:
        """R2 R1 R0 S, of as many axes as turn (nnU-Net's order of rotations)."""
        axes = 3 if len(self.angles) == 3 else 2
        turned = np.eye(axes)
        for angle, (first, second) in zip(self.angles, _turning_axes(axes), strict=True):
            rotation = np.eye(axes)
            rotation[[first, second], [first, second]] = math.cos(angle)
            rotation[first, second], rotation[second, first] = -math.sin(angle), math.sin(angle)
            turned = rotation @ turned
        scaled: NDArray[np.float64] = turned * np.asarray(self.scale)
        return scaled


def largest_source(patch_size: Sequence[int], degrees: float) -> tuple[int, ...]:
    """The source that a patch may take when it turns by up to ``degrees`` about each axis.

    nnU-Net's rule: turn the corner of the patch about each axis alone, by 90 degrees at most,
    take the largest extent, divide by ``SMALLEST_SCALE``. It does not hold every turned patch;
    beyond it the image is 0.
    """
    angle = math.radians(min(degrees, 90.0))
    extent = [float(size) for size in patch_size]
    for first, second in _turning_axes(len(patch_size)):
        a, b = patch_size[first], patch_size[second]
        turned = a * math.cos(angle) + b * math.sin(angle)
        extent[first] = max(extent[first], turned)
        turned = b * math.cos(angle) - a * math.sin(angle)
        extent[second] = max(extent[second], abs(turned))
    return tuple(int(size / SMALLEST_SCALE) for size in extent)


def needed_source(
    matrix: NDArray[np.float64], patch_size: Sequence[int], largest: Sequence[int]
) -> tuple[int, ...]:
    """The voxels that a transformed patch takes: its bounding box, clipped to ``largest``.

    Sizes have the parity of ``largest``, so that both boxes can have one centre.
    """
    reach = np.abs(matrix) @ (np.asarray(patch_size) - 1.0)
    sizes = [math.ceil(extent + 1e-3) + 1 for extent in reach]  # rounding must not lose a voxel
    return tuple(
        min(size + (limit - size) % 2, limit) for size, limit in zip(sizes, largest, strict=True)
    )


def resample(
    image: Tensor,
    label: Tensor,
    matrix: NDArray[np.float64],
    patch_size: Sequence[int],
    nearest_image: bool = False,
    nearest_label: bool = False,
) -> tuple[Tensor, Tensor]:
    """Transform image (channel, *source) and label ([map,] *source) into a patch.

    The image is interpolated linearly, 0 outside. A voxel's label is that of the greatest
    linear weight among its neighbours, ``OUTSIDE`` beyond the source; the lowest wins ties. Or
    either is that of the nearest voxel.
    """
    axes = len(matrix)
    positions = _positions(matrix, patch_size[-axes:], label.shape[-axes:], image.device)
    mode = "nearest" if nearest_image else "bilinear"
    moved = _interpolate(image.reshape(-1, *image.shape[-axes:]), positions, mode)
    choose = _nearest if nearest_label else _vote
    voted = choose(label.reshape(-1, *label.shape[-axes:]), positions)
    maps = label.shape[: label.ndim - len(patch_size)]
    return moved.reshape(image.shape[0], *patch_size), voted.reshape(*maps, *patch_size)


def mirror(image: Tensor, label: Tensor, axes: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Flip image (channel, *patch) and label ([map,] *patch) along some axes of the patch."""
    maps = label.ndim - (image.ndim - 1)
    return image.flip([axis + 1 for axis in axes]), label.flip([axis + maps for axis in axes])


def _turning_axes(axes: int) -> tuple[tuple[int, int], ...]:
    """The pair of axes that each rotation mixes: about axis 0, 1 and 2, or in the plane."""
    return ((0, 1),) if axes == 2 else ((1, 2), (2, 0), (0, 1))


def _positions(
    matrix: NDArray[np.float64],
    patch_size: Sequence[int],
    source_size: Sequence[int],
    device: torch.device,
) -> list[Tensor]:
    """Per axis of the source, the position (*patch) in voxels from which each voxel is taken."""
    axes = len(patch_size)
    positions = []
    for row, size in zip(matrix, source_size, strict=True):
        total = torch.full((1,) * axes, (size - 1) / 2, device=device)
        for axis, (weight, length) in enumerate(zip(row, patch_size, strict=True)):
            steps = (torch.arange(length, device=device) - (length - 1) / 2) * float(weight)
            total = total + steps.reshape([-1 if a == axis else 1 for a in range(axes)])
        positions.append(total)
    return positions


def _interpolate(stack: Tensor, positions: list[Tensor], mode: str) -> Tensor:
    """Take a stack (n, *source) at the positions (*patch), 0 outside: (n, *patch)."""
    sizes = stack.shape[1:]
    grid = [(2 * at + 1) / size - 1 for at, size in zip(positions, sizes, strict=True)]
    moved = F.grid_sample(
        stack[None],
        torch.stack(grid[::-1], dim=-1)[None],  # grid_sample wants (x, y, z), from -1 to 1
        mode=mode,
        padding_mode="zeros",
        align_corners=False,
    )
    return moved[0]


def _vote(labels: Tensor, positions: list[Tensor]) -> Tensor:
    """Labels (n, *source) at the positions (*patch): (n, *patch).

    Interpolating one mask per label and taking the largest gives the same at a cost per label.
    Here the cost is per voxel: where all neighbours agree nothing is weighed, else they vote.
    """
    axes = len(positions)
    padded = F.pad(labels, (2,) * (2 * axes), value=OUTSIDE)
    agreed = _agreed(padded)
    cells = _flat_index(positions, labels.shape[1:], agreed.shape[1:]).reshape(-1)
    result = agreed.flatten(1).index_select(1, cells)
    plane, voxel = (result == UNDECIDED).nonzero(as_tuple=True)
    undecided = [at.reshape(-1)[voxel] for at in positions]
    corner = _flat_index(undecided, labels.shape[1:], padded.shape[1:], plane)
    result[plane, voxel] = _elect(padded, corner, [at - at.floor() for at in undecided])
    return result.reshape(-1, *positions[0].shape)


def _nearest(labels: Tensor, positions: list[Tensor]) -> Tensor:
    """Labels (n, *source) of the voxels nearest to the positions (*patch): (n, *patch)."""
    padded = F.pad(labels, (2,) * (2 * len(positions)), value=OUTSIDE)
    middles = [at + 0.5 for at in positions]  # the voxel before which is the nearest
    index = _flat_index(middles, labels.shape[1:], padded.shape[1:]).reshape(-1)
    return padded.flatten(1).index_select(1, index).reshape(-1, *positions[0].shape)


def _agreed(padded: Tensor) -> Tensor:
    """Per cell between voxels, the label at all its corners, or ``UNDECIDED``."""
    lowest, highest = padded, padded
    for axis in range(1, padded.ndim):
        cells = padded.shape[axis] - 1
        lowest = torch.minimum(lowest.narrow(axis, 0, cells), lowest.narrow(axis, 1, cells))
        highest = torch.maximum(highest.narrow(axis, 0, cells), highest.narrow(axis, 1, cells))
    return lowest.masked_fill_(lowest != highest, UNDECIDED)


def _flat_index(
    positions: list[Tensor],
    sizes: Sequence[int],
    stored: Sequence[int],
    plane: Tensor | int = 0,
) -> Tensor:
    """Flat index, in an array (n, *stored), of the voxel before each position.

    The array begins two voxels before the source; positions farther out count as there.
    """
    index: Tensor | int = plane
    for at, size, length in zip(positions, sizes, stored, strict=True):
        index = index * length + at.floor().clamp_(-2, size).add_(2).to(torch.int32)  # the fastest
    assert isinstance(index, Tensor)
    return index


def _elect(padded: Tensor, corner: Tensor, fractions: list[Tensor]) -> Tensor:
    """The label of greatest weight among the corners of a cell; the lowest of equal ones.

    corner: the flat index of the first corner, in padded (n, *space). fractions: how far along
    each axis of the cell.
    """
    weights = [torch.ones_like(fractions[0])]
    for fraction in fractions:
        weights = [weight * share for weight in weights for share in (1 - fraction, fraction)]
    strides = padded.stride()[1:]
    candidates = [
        padded.view(-1).index_select(0, corner + sum(itertools.compress(strides, steps)))
        for steps in itertools.product((0, 1), repeat=len(fractions))
    ]
    candidate, weight = torch.stack(candidates), torch.stack(weights)
    votes = torch.stack([(weight * (candidate == one)).sum(0) for one in candidates])
    losers = votes < votes.amax(0)
    return candidate.masked_fill(losers, torch.iinfo(torch.int16).max).amin(0)
