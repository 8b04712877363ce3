"""What is measured of a dataset before anything is decided. It holds no image and no name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nnseg_core.dataset.laterality import ACROSS


@dataclass(frozen=True, slots=True, kw_only=True)
class IntensityStatistics:
    """Of one channel's foreground voxels, over the whole dataset."""

    mean: float
    median: float
    std: float
    minimum: float
    maximum: float
    percentile_0_5: float
    percentile_99_5: float


@dataclass(frozen=True, slots=True, kw_only=True)
class IntensitySample:
    """A sample with replacement, kept as distinct values and how often each was drawn."""

    values: NDArray[np.float32]
    counts: NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseFingerprint:
    """What one case adds. Axes (z, y, x), spacing in mm; one sample per channel.

    ``left_right`` is the axis that runs from the patient's left to the right, or the other way.
    """

    spacing: tuple[float, float, float]
    shape_before_crop: tuple[int, int, int]
    shape: tuple[int, int, int]
    intensities: tuple[IntensitySample, ...]
    left_right: int = ACROSS


@dataclass(frozen=True, slots=True, kw_only=True)
class Fingerprint:
    """What a plan is made from: it can be shared where images cannot.

    ``spacings`` (mm) and ``shapes`` (after cropping to the non-zero region) have one entry per
    case in axis order (z, y, x); ``relative_size`` is the median share of voxels that the crop
    keeps; ``intensities`` has one entry per channel. ``left_right`` has the axis that runs from the
    patient's left to the right for each case, or no entries where nobody has looked.
    """

    spacings: tuple[tuple[float, float, float], ...]
    shapes: tuple[tuple[int, int, int], ...]
    relative_size: float
    intensities: tuple[IntensityStatistics, ...]
    left_right: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if not self.spacings or len(self.spacings) != len(self.shapes):
            raise ValueError(f"{len(self.spacings)} spacings but {len(self.shapes)} shapes")


def merge(cases: Sequence[CaseFingerprint]) -> Fingerprint:
    """Pool the measurements of all cases; each case's sample weighs the same."""
    kept = [
        np.prod(c.shape, dtype=float) / np.prod(c.shape_before_crop, dtype=float) for c in cases
    ]
    channels = zip(*(case.intensities for case in cases), strict=True)
    return Fingerprint(
        spacings=tuple(case.spacing for case in cases),
        shapes=tuple(case.shape for case in cases),
        relative_size=float(np.median(kept)),
        intensities=tuple(_statistics(channel) for channel in channels),
        left_right=tuple(case.left_right for case in cases),
    )


def _statistics(samples: Sequence[IntensitySample]) -> IntensityStatistics:
    values = np.concatenate([sample.values for sample in samples]).astype(np.float64)
    counts = np.concatenate([sample.counts for sample in samples])
    if values.size == 0:  # no foreground anywhere: nothing to normalise by
        return IntensityStatistics(**dict.fromkeys(IntensityStatistics.__slots__, 0.0))
    order = np.argsort(values, kind="stable")
    values, counts = values[order], counts[order]
    mean = float(np.average(values, weights=counts))
    low, median, high = _percentiles(values, counts, (0.5, 50.0, 99.5))
    return IntensityStatistics(
        mean=mean,
        median=median,
        std=float(np.sqrt(np.average((values - mean) ** 2, weights=counts))),
        minimum=float(values[0]),
        maximum=float(values[-1]),
        percentile_0_5=low,
        percentile_99_5=high,
    )


def _percentiles(
    values: NDArray[np.float64], counts: NDArray[np.int64], percents: Sequence[float]
) -> list[float]:
    """Percentiles of the repeated values, linear between neighbours, without repeating them."""
    last = np.cumsum(counts) - 1  # rank of each value's last repetition
    ranks = np.asarray(percents) / 100 * last[-1]
    below = values[np.searchsorted(last, np.floor(ranks))]
    above = values[np.searchsorted(last, np.ceil(ranks))]
    return [float(value) for value in below + (ranks - np.floor(ranks)) * (above - below)]
