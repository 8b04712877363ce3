"""Instance norm and leaky ReLU by Triton kernels, for features whose channels are last in memory.

PyTorch's instance norm makes features contiguous first, which costs more than channels-last
convolutions save (pytorch issue 59168). Here (batch, channel, *space) is read as the matrix
(batch, voxel, channel) that it is in memory. Forward, it is read twice and written once; backward,
it and the gradient are read twice and one gradient is written.

Sums over voxels are split among many programs, each of which leaves a partial result, and then
joined in a fixed order: no atomics, so that results repeat. Statistics are float32 whatever the
features are; deviations are summed around a mean (Chan et al., 1979), not squares around 0.
Only the features, their mean and their scale are kept for the way back.

Import this module only where Triton is installed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from nnseg_standard.kernels.triton_norm_activation import (
    differentiate,
    join_parts,
    measure_parts,
    normalise,
    sum_gradients,
)

TILE = 4096
"""Elements that a program holds at a time: 32 for each thread of four warps."""

TILE_CHANNELS = 64
"""Most channels in a tile: whole cache lines of 128 bytes at 16 bits."""

PARTS = 512
"""Most parts that the voxels of a sample are split into: several programs for each of the 132
multiprocessors of an H100, even where there is one sample with few channels."""

JOINED_CHANNELS = 16
"""Channels whose parts one program joins: few, so that all parts fit in its registers."""


def fused_norm_activation(
    features: Tensor, weight: Tensor, bias: Tensor, epsilon: float, slope: float
) -> Tensor:
    """What ``norm_activation`` computes; the result has its channels last in memory.

    Features in another layout are copied first. Raises ``ValueError`` where space is a single
    voxel, as ``norm_activation`` does.
    """
    if prod(features.shape[2:]) == 1:
        raise ValueError(f"instance norm needs more than 1 voxel, got {tuple(features.shape)}")
    apply: Callable[..., Tensor] = _NormActivation.apply
    with torch.cuda.device_of(features):  # type: ignore[no-untyped-call]  # where Triton launches
        return apply(features, weight, bias, epsilon, slope)


class _NormActivation(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, features: Tensor, weight: Tensor, bias: Tensor, epsilon: float, slope: float
    ) -> Tensor:
        matrix = _voxels_by_channels(features)
        tiling = Tiling.of(matrix)
        affine = (weight.contiguous(), bias.contiguous())
        mean, scale = _statistics(matrix, tiling, epsilon)
        activated = _empty_channels_last(features)
        tiling.launch(
            normalise, matrix, mean, scale, *affine, _voxels_by_channels(activated), slope
        )
        ctx.save_for_backward(matrix, mean, scale, *affine)
        ctx.slope = slope
        return activated

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator, misc, unused-ignore]
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        matrix, _, _, weight, bias = ctx.saved_tensors
        known = (*ctx.saved_tensors, _voxels_by_channels(gradient))
        tiling = Tiling.of(matrix)
        parts = matrix.new_empty(2, *tiling.parts_shape, dtype=torch.float32)
        tiling.launch(sum_gradients, *known, *parts, ctx.slope)
        sums = parts.sum(dim=2)  # (plain and times the normalised features, batch, channel)
        result = _empty_channels_last(gradient)
        tiling.launch(differentiate, *known, *sums, _voxels_by_channels(result), ctx.slope)
        bias_gradient, weight_gradient = sums.sum(dim=1)
        return result, weight_gradient.to(weight.dtype), bias_gradient.to(bias.dtype), None, None


@dataclass(frozen=True)
class Tiling:
    """How a matrix (batch, voxel, channel) is cut: into tiles, and voxels also into parts.

    A part is a whole number of tiles. No part is empty; the last may be shorter than the others.
    """

    samples: int
    voxels: int
    channels: int
    tile_voxels: int
    tile_channels: int
    part_voxels: int

    @classmethod
    def of(cls, matrix: Tensor) -> Tiling:
        """As many parts as there are tiles, ``PARTS`` at most."""
        samples, voxels, channels = matrix.shape
        tile_channels = min(TILE_CHANNELS, _power_of_2(channels))
        tile_voxels = min(TILE // tile_channels, _power_of_2(voxels))
        tiles = -(-voxels // tile_voxels)
        return cls(
            samples, voxels, channels, tile_voxels, tile_channels, -(-tiles // PARTS) * tile_voxels
        )

    @property
    def parts(self) -> int:
        """Into how many parts the voxels of a sample are cut."""
        return -(-self.voxels // self.part_voxels)

    @property
    def parts_shape(self) -> tuple[int, int, int]:
        """Of what all programs leave: a number per sample, part and channel."""
        return self.samples, self.parts, self.channels

    def launch(self, kernel: Any, *arguments: object) -> None:
        """Run ``kernel`` with a program per part, tile of channels and sample."""
        grid = (self.parts, -(-self.channels // self.tile_channels), self.samples)
        kernel[grid](
            *arguments,
            voxels=self.voxels,
            part_voxels=self.part_voxels,
            CHANNELS=self.channels,
            TILE_VOXELS=self.tile_voxels,
            TILE_CHANNELS=self.tile_channels,
        )


def _statistics(matrix: Tensor, tiling: Tiling, epsilon: float) -> tuple[Tensor, Tensor]:
    """Mean and 1 / deviation, float32 (batch, channel)."""
    means, deviations = matrix.new_empty(2, *tiling.parts_shape, dtype=torch.float32)
    tiling.launch(measure_parts, matrix, means, deviations)
    mean, scale = matrix.new_empty(2, tiling.samples, tiling.channels, dtype=torch.float32)
    join_parts[tiling.samples, -(-tiling.channels // JOINED_CHANNELS)](
        means,
        deviations,
        mean,
        scale,
        epsilon,
        voxels=tiling.voxels,
        part_voxels=tiling.part_voxels,
        parts=tiling.parts,
        CHANNELS=tiling.channels,
        TILE_PARTS=_power_of_2(tiling.parts),
        TILE_CHANNELS=JOINED_CHANNELS,
        num_warps=8,
    )
    return mean, scale


def _voxels_by_channels(features: Tensor) -> Tensor:
    """(batch, channel, *space) as (batch, voxel, channel); no copy where channels are last."""
    return features.movedim(1, -1).flatten(1, -2).contiguous()


def _empty_channels_last(like: Tensor) -> Tensor:
    """An uninitialised tensor of the same shape, a base of its own, with channels last in memory.

    Says so by its strides even where there is one channel, which ``memory_format`` leaves open.
    """
    _, channels, *space = like.shape
    strides = [channels * prod(space[axis + 1 :]) for axis in range(len(space))]
    return torch.empty_strided(
        like.shape,
        (channels * prod(space), 1, *strides),
        dtype=like.dtype,
        device=like.device,
    )


def _power_of_2(size: int) -> int:
    """The lowest that is not below ``size``."""
    return 1 << (size - 1).bit_length()
