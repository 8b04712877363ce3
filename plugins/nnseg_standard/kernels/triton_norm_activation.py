"""The Triton kernels of ``fused_norm_activation``. A program sees a part of a matrix, tile by tile.

Matrices are (batch, voxel, channel) and contiguous. What belongs to a channel of a sample is
float32 (batch, channel), what belongs to a channel of a part (batch, part, channel). All sums are
in float32.
"""

# ruff: noqa: ANN001, ANN201, ANN202
# mypy: disable-error-code="no-untyped-def, untyped-decorator, import-not-found, import-untyped"

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def measure_parts(
    matrix,
    means,
    deviations,
    voxels,
    part_voxels,
    CHANNELS: tl.constexpr,
    TILE_VOXELS: tl.constexpr,
    TILE_CHANNELS: tl.constexpr,
):
    """Mean and sum of squared deviations of each channel of a part.

    Tiles are joined as Chan et al. (1979) do: squares around 0 would cancel where the mean is far
    from it.
    """
    channel, first, size = _part(voxels, part_voxels, CHANNELS, TILE_CHANNELS)
    mean = tl.zeros((TILE_CHANNELS,), tl.float32)
    deviation = tl.zeros((TILE_CHANNELS,), tl.float32)
    for done in range(0, size, TILE_VOXELS):
        offsets, inside = _tile(channel, done, size, CHANNELS, TILE_VOXELS)
        values = tl.load(matrix + first + offsets, mask=inside, other=0.0).to(tl.float32)
        count = tl.minimum(size - done, TILE_VOXELS).to(tl.float32)
        tile_mean = tl.sum(values, 0) / count
        around = tl.where(inside, values - tile_mean[None, :], 0.0)
        step = tile_mean - mean
        share = count / (done + count)
        mean += step * share
        deviation += tl.sum(around * around, 0) + step * step * done * share
    place = _sample_and_part() * CHANNELS + channel
    tl.store(means + place, mean, mask=channel < CHANNELS)
    tl.store(deviations + place, deviation, mask=channel < CHANNELS)


@triton.jit
def join_parts(
    means,
    deviations,
    mean,
    scale,
    epsilon,
    voxels,
    part_voxels,
    parts,
    CHANNELS: tl.constexpr,
    TILE_PARTS: tl.constexpr,
    TILE_CHANNELS: tl.constexpr,
):
    """Mean and 1 / deviation of each channel of a sample, from those of all its parts."""
    sample = tl.program_id(0)
    channel = tl.program_id(1) * TILE_CHANNELS + tl.arange(0, TILE_CHANNELS)
    part = tl.arange(0, TILE_PARTS)
    inside = (part < parts)[:, None] & (channel < CHANNELS)[None, :]
    offsets = (sample * parts + part)[:, None] * CHANNELS + channel[None, :]
    part_mean = tl.load(means + offsets, mask=inside, other=0.0)
    part_deviation = tl.load(deviations + offsets, mask=inside, other=0.0)
    left = tl.maximum(voxels - part * part_voxels, 0)
    count = tl.minimum(left, part_voxels).to(tl.float32)[:, None]
    joined = tl.sum(part_mean * count, 0) / voxels
    around = part_mean - joined[None, :]
    variance = tl.sum(part_deviation + around * around * count, 0) / voxels
    place = sample * CHANNELS + channel
    tl.store(mean + place, joined, mask=channel < CHANNELS)
    tl.store(scale + place, tl.rsqrt(variance + epsilon), mask=channel < CHANNELS)


@triton.jit
def normalise(
    matrix,
    mean,
    scale,
    weight,
    bias,
    activated,
    slope,
    voxels,
    part_voxels,
    CHANNELS: tl.constexpr,
    TILE_VOXELS: tl.constexpr,
    TILE_CHANNELS: tl.constexpr,
):
    """Write the activated features of a part."""
    channel, first, size = _part(voxels, part_voxels, CHANNELS, TILE_CHANNELS)
    factor, centre, gain, shift = _known(mean, scale, weight, bias, channel, CHANNELS)
    for done in range(0, size, TILE_VOXELS):
        offsets, inside = _tile(channel, done, size, CHANNELS, TILE_VOXELS)
        values = tl.load(matrix + first + offsets, mask=inside, other=0.0).to(tl.float32)
        scaled = (values - centre) * factor * gain + shift
        tl.store(
            activated + first + offsets,
            tl.where(scaled > 0, scaled, scaled * slope),
            mask=inside,
        )


@triton.jit
def sum_gradients(
    matrix,
    mean,
    scale,
    weight,
    bias,
    gradient,
    plain,
    weighted,
    slope,
    voxels,
    part_voxels,
    CHANNELS: tl.constexpr,
    TILE_VOXELS: tl.constexpr,
    TILE_CHANNELS: tl.constexpr,
):
    """Sums over a part of the gradient before the activation: plain, and times what was normalised.

    They are the part's gradients of bias and weight.
    """
    channel, first, size = _part(voxels, part_voxels, CHANNELS, TILE_CHANNELS)
    factor, centre, gain, shift = _known(mean, scale, weight, bias, channel, CHANNELS)
    plain_tile = tl.zeros((TILE_VOXELS, TILE_CHANNELS), tl.float32)
    weighted_tile = tl.zeros((TILE_VOXELS, TILE_CHANNELS), tl.float32)
    for done in range(0, size, TILE_VOXELS):
        offsets, inside = _tile(channel, done, size, CHANNELS, TILE_VOXELS)
        normed, pull = _before_activation(
            matrix + first, gradient + first, offsets, inside, factor, centre, gain, shift, slope
        )
        plain_tile += pull
        weighted_tile += pull * normed
    place = _sample_and_part() * CHANNELS + channel
    tl.store(plain + place, tl.sum(plain_tile, 0), mask=channel < CHANNELS)
    tl.store(weighted + place, tl.sum(weighted_tile, 0), mask=channel < CHANNELS)


@triton.jit
def differentiate(
    matrix,
    mean,
    scale,
    weight,
    bias,
    gradient,
    plain,
    weighted,
    result,
    slope,
    voxels,
    part_voxels,
    CHANNELS: tl.constexpr,
    TILE_VOXELS: tl.constexpr,
    TILE_CHANNELS: tl.constexpr,
):
    """Write the gradient of the features of a part, given the sums over all parts."""
    channel, first, size = _part(voxels, part_voxels, CHANNELS, TILE_CHANNELS)
    factor, centre, gain, shift = _known(mean, scale, weight, bias, channel, CHANNELS)
    plain_mean = _of_channel(plain, channel, CHANNELS) / voxels
    weighted_mean = _of_channel(weighted, channel, CHANNELS) / voxels
    for done in range(0, size, TILE_VOXELS):
        offsets, inside = _tile(channel, done, size, CHANNELS, TILE_VOXELS)
        normed, pull = _before_activation(
            matrix + first, gradient + first, offsets, inside, factor, centre, gain, shift, slope
        )
        change = (pull - plain_mean - normed * weighted_mean) * factor * gain
        tl.store(result + first + offsets, change, mask=inside)


@triton.jit
def _part(voxels, part_voxels, CHANNELS: tl.constexpr, TILE_CHANNELS: tl.constexpr):
    """This program's channels, the place of its part in the matrix, and how many voxels it has.

    The place is in 64 bits: large batches of large patches have more than 2^31 elements.
    """
    start = tl.program_id(0) * part_voxels
    channel = tl.program_id(1) * TILE_CHANNELS + tl.arange(0, TILE_CHANNELS)
    first = (tl.program_id(2).to(tl.int64) * voxels + start) * CHANNELS
    return channel, first, tl.minimum(voxels - start, part_voxels)


@triton.jit
def _tile(channel, done, size, CHANNELS: tl.constexpr, TILE_VOXELS: tl.constexpr):
    """Places within the part, in 64 bits, of the tile after ``done`` voxels, and which exist."""
    voxel = done + tl.arange(0, TILE_VOXELS)
    offsets = voxel.to(tl.int64)[:, None] * CHANNELS + channel[None, :]
    return offsets, (voxel < size)[:, None] & (channel < CHANNELS)[None, :]


@triton.jit
def _before_activation(matrix, gradient, offsets, inside, factor, centre, gain, shift, slope):
    """What was normalised in a tile, before weight and bias, and the gradient after them."""
    values = tl.load(matrix + offsets, mask=inside, other=0.0).to(tl.float32)
    pull = tl.load(gradient + offsets, mask=inside, other=0.0).to(tl.float32)
    normed = (values - centre) * factor
    return normed, tl.where(normed * gain + shift > 0, pull, pull * slope)


@triton.jit
def _sample_and_part():
    """The row of this program among the results of all parts."""
    return tl.program_id(2) * tl.num_programs(0) + tl.program_id(0)


@triton.jit
def _known(mean, scale, weight, bias, channel, CHANNELS: tl.constexpr):
    """Factor, centre, gain and shift of the channels of this program's sample, as rows."""
    factor = _of_channel(scale, channel, CHANNELS)
    centre = _of_channel(mean, channel, CHANNELS)
    gain = tl.load(weight + channel, mask=channel < CHANNELS, other=0.0).to(tl.float32)[None, :]
    shift = tl.load(bias + channel, mask=channel < CHANNELS, other=0.0).to(tl.float32)[None, :]
    return factor, centre, gain, shift


@triton.jit
def _of_channel(numbers, channel, CHANNELS: tl.constexpr):
    """Those of ``numbers`` (batch, channel) that belong to this program, as a row."""
    place = tl.program_id(2) * CHANNELS + channel
    return tl.load(numbers + place, mask=channel < CHANNELS, other=0.0)[None, :]
