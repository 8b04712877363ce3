"""Resampling as one matrix per axis: scipy's result to rounding, many times faster.

Spline interpolation is separable and linear in the voxels, so ``scipy.ndimage.zoom`` amounts to a
matrix per axis. Splines reach few neighbours, so a block of rows reads a narrow band of columns.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from math import prod

import numpy as np
from numpy.typing import NDArray

NEAREST, LINEAR, CUBIC = 0, 1, 3
"""Orders of the spline."""

_ROWS = 16  # per block: measured the fastest of 8 to 128, and small enough for slabs to stay cached
_CUT = 256  # voxels per matrix product: for larger ones OpenBLAS would wake threads, which on two
# cores take five times the processor time and no less time by the clock (measured)
_TAIL = 1e-9  # weights fade by 0.27 a voxel; beyond lie float32 denormals, which cost 30 x the time


@dataclass(frozen=True, slots=True)
class Block:
    """New voxels ``rows`` along an axis, as weighted sums of the old voxels ``columns``."""

    rows: slice
    columns: slice
    weights: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class AxisResampling:
    """Takes one axis to ``size`` voxels, block by block; ``unchanged`` says that it stays as is."""

    size: int
    blocks: tuple[Block, ...]
    unchanged: bool

    def __call__(self, volume: NDArray[np.float32], axis: int) -> NDArray[np.float32]:
        """Resample ``axis`` of a contiguous volume."""
        if self.unchanged:
            return volume
        before, after = volume.shape[:axis], volume.shape[axis + 1 :]
        old = volume.reshape(prod(before), volume.shape[axis], prod(after))
        new = np.empty((prod(before), self.size, prod(after)), dtype=np.float32)
        for block in self.blocks:
            if after:
                for part in _parts(old.shape[2]):
                    columns = _cut(old[:, block.columns, part])
                    np.matmul(block.weights, columns, out=_cut(new[:, block.rows, part]))
            else:  # one product for many lines instead of one for each
                for part in _parts(old.shape[0]):
                    lines = _cut(old[part, block.columns, 0].T).mT
                    np.matmul(lines, block.weights.T, out=_cut(new[part, block.rows, 0].T).mT)
        return new.reshape(*before, self.size, *after)


@dataclass(frozen=True, slots=True)
class Resampling:
    """Takes volumes (z, y, x) from one grid to another that covers the same box."""

    axes: tuple[AxisResampling, AxisResampling, AxisResampling]

    def __call__(self, volume: NDArray[np.floating]) -> NDArray[np.float32]:
        """Resample one volume, shrinking axes first, so that the least is computed."""
        result = np.ascontiguousarray(volume, dtype=np.float32)
        growth = [axis.size / old for axis, old in zip(self.axes, volume.shape, strict=True)]
        for axis in sorted(range(3), key=growth.__getitem__):
            result = self.axes[axis](result, axis)
        return result

    def slabs(self) -> Iterator[tuple[slice, slice, Resampling]]:
        """The same in parts of few slices: new slices, the old ones they need, their resampling.

        ``part(volume[columns])`` is ``resampling(volume)[rows]`` to rounding.
        """
        slices, *plane = self.axes
        for rows, columns, weights in ((b.rows, b.columns, b.weights) for b in slices.blocks):
            block = Block(slice(0, weights.shape[0]), slice(0, weights.shape[1]), weights)
            part = AxisResampling(weights.shape[0], (block,), slices.unchanged)
            yield rows, columns, Resampling((part, plane[0], plane[1]))


@lru_cache(maxsize=64)
def axis_resampling(old: int, new: int, order: int) -> AxisResampling:
    """What ``scipy.ndimage.zoom(mode="nearest", grid_mode=True)`` does to an axis.

    This is ``skimage.transform.resize(mode="edge", anti_aliasing=False)``, which nnU-Net uses.
    """
    from scipy import ndimage  # takes 0.3 s, which most commands can do without

    if order == NEAREST:
        matrix = np.eye(old)[nearest_index(old, new)]
    else:
        factors = (new / old, 1.0)
        matrix = ndimage.zoom(np.eye(old), factors, order=order, mode="nearest", grid_mode=True)
    matrix[np.abs(matrix) < _TAIL] = 0
    blocks = tuple(_block(matrix, start) for start in range(0, new, _ROWS))
    return AxisResampling(new, blocks, unchanged=old == new)


def nearest_index(old: int, new: int) -> NDArray[np.intp]:
    """The old voxel nearest to each new one, halves rounded as scipy rounds them."""
    from scipy import ndimage

    centres = [voxel_centres(old, new)]
    old_index = np.arange(old, dtype=np.intp)
    index: NDArray[np.intp] = ndimage.map_coordinates(old_index, centres, order=0, mode="nearest")
    return index


def voxel_centres(old: int, new: int) -> NDArray[np.float64]:
    """Where new voxels lie, in old voxels, when both grids cover the same box."""
    return (np.arange(new, dtype=np.float64) + 0.5) * (old / new) - 0.5


def _parts(length: int) -> Iterator[slice]:
    """A stretch of voxels in pieces that ``_cut`` can cut without a rest, or not at all."""
    whole = length // _CUT * _CUT
    yield from (part for part in (slice(0, whole), slice(whole, length)) if part.start < part.stop)


def _cut(array: NDArray[np.float32]) -> NDArray[np.float32]:
    """A view (..., rows, voxels) as (..., pieces, rows, ``_CUT`` voxels), if they are that many."""
    *before, rows, voxels = array.shape
    pieces, width = (voxels // _CUT, _CUT) if voxels >= _CUT else (1, voxels)
    *skip, row, voxel = array.strides
    shape, strides = (*before, pieces, rows, width), (*skip, width * voxel, row, voxel)
    return np.lib.stride_tricks.as_strided(array, shape, strides)


def _block(matrix: NDArray[np.float64], start: int) -> Block:
    rows = matrix[start : start + _ROWS]
    used = np.flatnonzero(rows.any(axis=0))
    columns = slice(int(used[0]), int(used[-1]) + 1)
    weights = np.ascontiguousarray(rows[:, columns], dtype=np.float32)
    return Block(slice(start, start + len(rows)), columns, weights)
