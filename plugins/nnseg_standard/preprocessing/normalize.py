"""Bring the intensities of a channel to the range that networks learn well from.

The rules are nnU-Net's. Each takes a channel (z, y, x), the dataset's statistics of that channel,
and the mask of voxels that count (None for all of them); see
``nnseg_core.contracts.Normalization``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nnseg_core.contracts import Normalization
from nnseg_core.errors import DatasetError, PlanError
from nnseg_core.fingerprint import IntensityStatistics
from nnseg_core.plan import ComponentRef

Channel = NDArray[np.float32]
Mask = NDArray[np.bool_]

SMALLEST_DEVIATION = 1e-8
"""Divisor for channels that hold one value only (nnU-Net's value)."""


@dataclass(frozen=True)
class ZScore:
    """Mean 0 and deviation 1 of each image; with a mask, voxels outside it stay as they are."""

    def apply(
        self, channel: Channel, statistics: IntensityStatistics, inside: Mask | None = None
    ) -> Channel:
        """See ``nnseg_core.contracts.Normalization``."""
        values = channel if inside is None else channel[inside]
        if values.size == 0:
            return channel
        centred: Channel = values - values.mean(dtype=np.float64).astype(np.float32)
        deviation = np.sqrt(np.square(centred).mean(dtype=np.float64))
        centred /= np.float32(max(deviation, SMALLEST_DEVIATION))
        if inside is None:
            return centred
        result = channel.copy()
        result[inside] = centred
        return result


@dataclass(frozen=True)
class Ct:
    """Clip to the foreground's percentiles 0.5 and 99.5, then its mean 0 and deviation 1.

    The values of CT mean the same in every image, so those of the dataset are used.
    """

    def apply(
        self, channel: Channel, statistics: IntensityStatistics, inside: Mask | None = None
    ) -> Channel:
        """See ``nnseg_core.contracts.Normalization``."""
        result = np.clip(channel, statistics.percentile_0_5, statistics.percentile_99_5)
        result -= np.float32(statistics.mean)
        result /= np.float32(max(statistics.std, SMALLEST_DEVIATION))
        return result


@dataclass(frozen=True)
class CtPerImage:
    """Clip as "ct" does, then mean 0 and deviation 1 of what lies within the limits in each image.

    It is the scheme "CT2" of nnU-Net version 1.
    """

    def apply(
        self, channel: Channel, statistics: IntensityStatistics, inside: Mask | None = None
    ) -> Channel:
        """See ``nnseg_core.contracts.Normalization``."""
        low, high = statistics.percentile_0_5, statistics.percentile_99_5
        within = (channel > low) & (channel < high)
        result = np.clip(channel, low, high)
        if not within.any():
            return result
        values = channel[within]
        result -= values.mean(dtype=np.float64).astype(np.float32)
        result /= np.float32(max(values.std(dtype=np.float64), SMALLEST_DEVIATION))
        return result


@dataclass(frozen=True)
class RescaleTo01:
    """The lowest value of each image becomes 0, the highest 1."""

    def apply(
        self, channel: Channel, statistics: IntensityStatistics, inside: Mask | None = None
    ) -> Channel:
        """See ``nnseg_core.contracts.Normalization``."""
        result: Channel = channel - channel.min()
        result /= max(result.max(), np.float32(SMALLEST_DEVIATION))
        return result


@dataclass(frozen=True)
class RgbTo01:
    """Eight-bit colours, 0 to 255, become 0 to 1."""

    def apply(
        self, channel: Channel, statistics: IntensityStatistics, inside: Mask | None = None
    ) -> Channel:
        """See ``nnseg_core.contracts.Normalization``; ``DatasetError`` where values are others."""
        low, high = channel.min(), channel.max()
        if low < 0 or high > 255:
            raise DatasetError(
                "normalization rgb_to_0_1 needs intensities from 0 to 255, found "
                f"{low:g} to {high:g}. Name the channel otherwise in dataset.json, such as "
                "rescale_to_0_1, and plan again."
            )
        return channel / np.float32(255)


@dataclass(frozen=True)
class NoNormalization:
    """The intensities as they are."""

    def apply(
        self, channel: Channel, statistics: IntensityStatistics, inside: Mask | None = None
    ) -> Channel:
        """See ``nnseg_core.contracts.Normalization``."""
        return channel


STANDARD: dict[str, Normalization] = {
    "zscore": ZScore(),
    "ct": Ct(),
    "ct_per_image": CtPerImage(),
    "rescale_to_0_1": RescaleTo01(),
    "rgb_to_0_1": RgbTo01(),
    "nonorm": NoNormalization(),
}
"""By the name that plans use."""


def standard(names: Sequence[str | ComponentRef]) -> tuple[Normalization, ...]:
    """Those of these names, for whoever builds a preprocessor without looking plugins up.

    Raises ``PlanError`` when there is none.
    """
    references = [name.name if isinstance(name, ComponentRef) else name for name in names]
    for name in references:
        if name not in STANDARD:
            raise PlanError(
                f"there is no normalization named {name!r} among the standard ones, which are "
                f"{', '.join(STANDARD)}."
            )
    return tuple(STANDARD[name] for name in references)
