"""Weights of one network made to fit another: kernels, input channels and outputs.

A kernel is (a, b, *space), where a and b are channels. What is changed keeps the answer of the
layer wherever the image does not vary along the axis in question.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from nnseg_core.transfer.matching import counterparts

Weights = NDArray[np.floating]


def refit_kernel(kernel: Weights, size: tuple[int, ...], transposed: bool) -> Weights | None:
    """``kernel`` with voxels ``size``; None where there is no way to make it so.

    Axes are aligned at their ends, so a planar kernel becomes a volume's by a new first axis.
    ``transposed`` is for convolutions that upsample, whose every voxel answers by itself.
    """
    axes = max(kernel.ndim - 2, len(size))
    fitted: Weights | None = _with_axes(kernel, axes)
    wanted = (1,) * (axes - len(size)) + size
    for axis, length in enumerate(wanted, start=2):
        if fitted is not None:
            fitted = _refit_axis(fitted, axis, length, transposed)
    return None if fitted is None else fitted.reshape(*kernel.shape[:2], *size)


def _with_axes(kernel: Weights, axes: int) -> Weights:
    missing = axes - (kernel.ndim - 2)
    return kernel.reshape(*kernel.shape[:2], *(1,) * missing, *kernel.shape[2:])


def _refit_axis(kernel: Weights, axis: int, length: int, transposed: bool) -> Weights | None:
    has = kernel.shape[axis]
    if has == length:
        return kernel
    if has == 1:
        repeated = np.repeat(kernel, length, axis=axis)
        return repeated if transposed else repeated / np.asarray(length, dtype=kernel.dtype)
    if length == 1:
        shrink = np.mean if transposed else np.sum
        return np.asarray(shrink(kernel, axis=axis, keepdims=True))
    if transposed or (has - length) % 2:
        return None
    return _about_the_centre(kernel, axis, length)


def _about_the_centre(kernel: Weights, axis: int, length: int) -> Weights:
    """Odd sizes: zeros around a smaller kernel, the middle of a larger one."""
    margin = (length - kernel.shape[axis]) // 2
    if margin > 0:
        widths = [(margin, margin) if a == axis else (0, 0) for a in range(kernel.ndim)]
        return np.pad(kernel, widths)
    return kernel.take(range(-margin, kernel.shape[axis] + margin), axis=axis)


def channel_mix(channels: Sequence[str], others: Sequence[str]) -> Weights:
    """How much each of ``others`` gives to the kernels of each of ``channels``: (ours, theirs).

    Channels of one name correspond; where no name does and there are as many, they correspond in
    their order. A channel that is missing there gets the mean kernel, divided by the number of
    our channels (nnssl's rule for a stem that meets more channels than it was trained with).
    """
    places = counterparts(channels, others)
    if all(place is None for place in places) and len(channels) == len(others):
        places = tuple(range(len(others)))
    mix = np.full((len(channels), len(others)), 1 / (len(channels) * len(others)), np.float32)
    for here, there in enumerate(places):
        if there is not None:
            mix[here] = np.eye(len(others), dtype=np.float32)[there]
    return mix


def refit_inputs(weights: Weights, axis: int, mix: Weights) -> Weights | None:
    """``weights`` whose ``axis`` counts our channels instead of theirs; None where it does not.

    Bit-equal where the channels are the same.
    """
    ours, theirs = mix.shape
    if weights.shape[axis] != theirs:
        return None
    if ours == theirs and np.array_equal(mix, np.eye(ours)):
        return weights
    mixed = np.tensordot(mix.astype(weights.dtype), weights, axes=(1, axis))
    return np.moveaxis(mixed, 0, axis)


def refit_outputs(
    weights: Weights, axis: int, rows: Sequence[int | None], start: Weights
) -> Weights | None:
    """For each output the row of ``weights`` that ``rows`` names; None takes that of ``start``.

    None where the other axes differ, or no row is named.
    """
    if all(row is None for row in rows) or start.shape[axis] != len(rows):
        return None
    without = [shape[:axis] + shape[axis + 1 :] for shape in (weights.shape, start.shape)]
    if without[0] != without[1] or max(row or 0 for row in rows) >= weights.shape[axis]:
        return None
    taken = [
        start.take(here, axis) if there is None else weights.take(there, axis)
        for here, there in enumerate(rows)
    ]
    return np.stack(taken, axis)
