"""Where tiles lie, how much each of their voxels counts, and how they are mirrored. Pure numpy.

Tiles come in rows: those of a row begin at the same slice, and rows go down the first axis, so
that a slice is finished once the rows that reach it have passed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import combinations, product
from math import ceil

import numpy as np
from numpy.typing import NDArray

SIGMA_SCALE = 1 / 8  # sigma of the Gaussian, as a share of the tile (nnU-Net's value)


@dataclass(frozen=True, slots=True)
class Tile:
    """A window (z, y, x) of a volume, and what each of its voxels counts in the mean there.

    ``shares`` has a factor per axis; over all tiles of a volume, their products add up to 1 at
    every voxel.
    """

    window: tuple[slice, slice, slice]
    shares: tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]

    def weights(self) -> NDArray[np.float32]:
        """The product of the shares (z, y, x)."""
        z, y, x = self.shares
        return z[:, np.newaxis, np.newaxis] * np.multiply.outer(y, x)


@dataclass(frozen=True, slots=True)
class TileRow:
    """Tiles among the slices ``start`` to ``stop``; no later row touches those up to ``done``."""

    start: int
    stop: int
    done: int
    tiles: tuple[Tile, ...]


def tile_rows(
    shape: Sequence[int], patch: Sequence[int], step: float, *, weighted: bool, slices: int = 1
) -> list[TileRow]:
    """All tiles of a volume of ``shape`` (z, y, x), at least ``patch``.

    A patch of two axes goes through the slices one by one, ``slices`` of them in a row of tiles.
    ``weighted`` lets the middle of a tile count more than its border.
    """
    along = _axis_tiles(shape[-len(patch) :], patch, step, weighted=weighted)
    if len(patch) == 2:
        alone = np.ones(1, dtype=np.float32)
        along = [[(slice(z, z + 1), alone) for z in range(shape[0])], *along]
    else:
        slices = 1
    deep, *plane = along
    rows = [deep[first : first + slices] for first in range(0, len(deep), slices)]
    ends = [*(row[0][0].start for row in rows[1:]), shape[0]]
    return [
        TileRow(
            start=row[0][0].start,
            stop=row[-1][0].stop,
            done=done,
            tiles=tuple(
                Tile((z[0], y[0], x[0]), (z[1], y[1], x[1])) for z, y, x in product(row, *plane)
            ),
        )
        for row, done in zip(rows, ends, strict=True)
    ]


def tile_steps(shape: Sequence[int], tile: Sequence[int], step: float = 0.5) -> list[list[int]]:
    """Where tiles start along each axis: at most ``step`` tiles apart, evenly, edge to edge.

    ``shape`` must be at least ``tile``. Halves round to even (nnU-Net's rule).
    """
    return [_axis_steps(size, width, step) for size, width in zip(shape, tile, strict=True)]


def gaussian(tile: Sequence[int]) -> NDArray[np.float64]:
    """The weight of every voxel of a tile (*tile), 1 at its centre."""
    return reduce(np.multiply.outer, map(_profile, tile))


def mirrorings(axes: Sequence[int]) -> list[tuple[int, ...]]:
    """Every combination of ``axes`` to mirror, the empty one first."""
    return [chosen for count in range(len(axes) + 1) for chosen in combinations(axes, count)]


def _axis_tiles(
    shape: Sequence[int], patch: Sequence[int], step: float, *, weighted: bool
) -> list[list[tuple[slice, NDArray[np.float32]]]]:
    """Windows and shares along each axis.

    Tiles lie on a grid and the Gaussian is a product, so the sum of all weights at a voxel is a
    product too, and shares can be had axis by axis, before any tile is seen.
    """
    return [
        _with_shares(steps, size, _profile(width) if weighted else np.ones(width))
        for steps, size, width in zip(tile_steps(shape, patch, step), shape, patch, strict=True)
    ]


def _with_shares(
    starts: Sequence[int], size: int, profile: NDArray[np.float64]
) -> list[tuple[slice, NDArray[np.float32]]]:
    windows = [slice(start, start + len(profile)) for start in starts]
    total = np.zeros(size)
    for window in windows:
        total[window] += profile
    return [(window, (profile / total[window]).astype(np.float32)) for window in windows]


def _profile(width: int) -> NDArray[np.float64]:
    """The Gaussian along one axis."""
    profile: NDArray[np.float64] = np.exp(
        -0.5 * ((np.arange(width) - width // 2) / (width * SIGMA_SCALE)) ** 2
    )
    return profile


def _axis_steps(size: int, width: int, step: float) -> list[int]:
    gaps = ceil((size - width) / (width * step))
    return [round((size - width) / gaps * index) for index in range(gaps)] + [size - width]
