"""At which resolution to work: target spacing, axis order, image size there, coarser versions.

Spacings are in mm. The rules and their numbers are nnU-Net's (Isensee et al., Nature Methods
18, 2021), and so is the order of operations where it can change the last digit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nnseg_core.geometry import resampled_shape

Spacing = tuple[float, ...]

ANISOTROPY = 3.0
"""An axis is much coarser than the others beyond this ratio of spacings, and of sizes."""

FINE_PERCENTILE = 10.0
"""Of the spacings of a much coarser axis: where its target is, so that few cases lose detail."""

COARSENING = 1.03
"""Factor between one candidate for the low resolution and the next."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetSpacing:
    """The resolution to work at, and what decided it. Axes (z, y, x); spacings in mm.

    ``median`` and ``size`` are medians over the cases, ``size`` in voxels before resampling.
    ``is_coarse`` and ``is_short`` say how the axis ``coarsest`` compares with the others, and
    ``fine`` is the percentile of its spacings that is taken where both are true.
    """

    spacing: Spacing
    median: Spacing
    size: tuple[float, ...]
    coarsest: int
    is_coarse: bool
    is_short: bool
    fine: float | None


def target_spacing(
    spacings: Sequence[Sequence[float]], shapes: Sequence[Sequence[int]]
) -> TargetSpacing:
    """The median spacing per axis; finer along an axis that is much coarser and shorter.

    Such an axis gets the 10th percentile of its spacings, but stays coarser than the others.
    """
    median = np.percentile(np.asarray(spacings, dtype=float), 50, axis=0)
    size = np.percentile(np.asarray(shapes), 50, axis=0)
    coarsest = int(np.argmax(median))
    coarsest_other = np.delete(median, coarsest).max()
    is_coarse = bool(median[coarsest] > ANISOTROPY * coarsest_other)
    is_short = bool(size[coarsest] * ANISOTROPY < np.delete(size, coarsest).min())
    target, fine = median.copy(), None
    if is_coarse and is_short:
        fine = float(np.percentile([spacing[coarsest] for spacing in spacings], FINE_PERCENTILE))
        target[coarsest] = fine if fine >= coarsest_other else coarsest_other + 1e-5
    return TargetSpacing(
        spacing=tuple(target.tolist()),
        median=tuple(median.tolist()),
        size=tuple(size.tolist()),
        coarsest=coarsest,
        is_coarse=is_coarse,
        is_short=is_short,
        fine=fine,
    )


def axis_order(spacing: Sequence[float]) -> tuple[int, int, int]:
    """The axis of lowest resolution first, the others as they were."""
    coarsest = int(np.argmax(spacing))
    first, second = (axis for axis in range(3) if axis != coarsest)
    return coarsest, first, second


def median_shape(
    spacings: Sequence[Sequence[float]],
    shapes: Sequence[Sequence[int]],
    target: Sequence[float],
) -> tuple[float, ...]:
    """Median over the cases of their size at the target spacing, per axis; halves are kept.

    At least one voxel, where a given spacing is coarser than the image.
    """
    resampled = [
        resampled_shape(shape, spacing, target)
        for shape, spacing in zip(shapes, spacings, strict=True)
    ]
    return tuple(np.maximum(np.median(resampled, axis=0), 1).tolist())


def coarser(spacing: Sequence[float]) -> Spacing:
    """The next coarser candidate: axes more than twice as fine as the coarsest give way first."""
    lagging = [max(spacing) / length > 2 for length in spacing]
    return tuple(
        length * COARSENING if lags or not any(lagging) else length
        for length, lags in zip(spacing, lagging, strict=True)
    )
