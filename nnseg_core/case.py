"""A case on its way from the file to the mask: the records that hold voxels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from nnseg_core.geometry import Box, Geometry

OUTSIDE = -1
"""Label of voxels outside the non-zero region of the image (nnU-Net's value)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RawCase:
    """A case as its files hold it: image float32 (channel, z, y, x), label int16 (z, y, x)."""

    identifier: str
    image: NDArray[np.float32]
    label: NDArray[np.int16] | None
    geometry: Geometry


@dataclass(frozen=True, slots=True, kw_only=True)
class Restoration:
    """What it takes to put a prediction back on the original grid.

    ``axes`` is the order in which the original axes were put (the plan's ``axes``); ``crop`` is
    the box kept, in that order; ``spacing`` (mm) is that of the network's grid, in that order.
    """

    original: Geometry
    axes: tuple[int, int, int]
    crop: Box
    spacing: tuple[float, float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class PreprocessedCase:
    """A case as the network sees it.

    image: float32 (channel, z, y, x). label: int16 (z, y, x), ``OUTSIDE`` beyond the non-zero
    region, or None. foreground: voxel coordinates int32 (n, 3) to sample patches around, by
    label or region name. previous: in a cascade the same case for the stage before, as long as
    that has not been predicted.
    """

    identifier: str
    image: NDArray[np.float32]
    label: NDArray[np.int16] | None
    foreground: dict[str, NDArray[np.int32]]
    restoration: Restoration
    previous: PreprocessedCase | None = None


class Logits(Protocol):
    """Logits (output, z, y, x) that may be computed only as they are asked for.

    An array will do. Whoever reads asks for slices by ``logits[:, start:stop]``, in rising order,
    and never again for slices before the last ``start``; or for all of them at once, by
    ``numpy.asarray(logits)``.
    """

    @property
    def shape(self) -> tuple[int, ...]:
        """Outputs, and voxels along z, y and x."""
        ...

    def __getitem__(self, index: tuple[slice, slice], /) -> NDArray[np.floating]:
        """Some outputs of some slices."""
        ...

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        """All of them."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """Logits (output, z, y, x) on the network's grid, never at full size."""

    identifier: str
    logits: Logits | NDArray[np.floating]
    restoration: Restoration


@dataclass(frozen=True, slots=True, kw_only=True)
class Segmentation:
    """A mask on the original grid: label uint8 or uint16 (z, y, x).

    probability: float32 (output, z, y, x) where it was asked for.
    """

    identifier: str
    label: NDArray[np.unsignedinteger]
    geometry: Geometry
    probability: NDArray[np.float32] | None = None
