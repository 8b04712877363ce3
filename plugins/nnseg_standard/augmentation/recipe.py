"""The recipes of augmentation: what happens to a patch, how often and how strongly.

Parameters are drawn first, on the host; applying them is a pure function (``drawn.py``).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from nnseg_standard.augmentation.drawn import Drawn, apply_batch
from nnseg_standard.augmentation.options import RecipeOptions
from nnseg_standard.augmentation.spatial import Transformation, needed_source


@dataclass(frozen=True, kw_only=True)
class StandardAugmentation(RecipeOptions):
    """nnU-Net's augmentation: turn, scale, noise, blur, grey values, resolution, mirror."""

    def draw(
        self, random: np.random.Generator, patch_size: tuple[int, ...], channels: int
    ) -> Drawn:
        """Parameters for one patch.

        Raises ``PlanError`` when ``mirror_axes`` names an axis that the patch does not have.
        """
        transformation = self._draw_transformation(random, patch_size)
        noisy = _fires(random, self.noise_probability)
        blurred = _some(random, channels, self.blur_probability, self.blur_channel_probability)
        reduced = _some(
            random,
            channels,
            self.low_resolution_probability,
            self.low_resolution_channel_probability,
        )
        return Drawn(
            source_size=self._source_size(transformation, patch_size),
            patch_size=patch_size,
            axes=self.turning_axes(patch_size),
            transformation=transformation,
            nearest_image=self.nearest_image,
            nearest_label=self.nearest_label,
            noise_deviation=random.uniform(*self.noise_deviation) if noisy else None,
            noise_seed=int(random.integers(2**63)),
            blur={
                channel: tuple(random.uniform(*self.blur_sigma) for _ in patch_size)
                for channel in blurred
            },
            brightness=_factors(
                random, channels, self.brightness_probability, self.brightness_range
            ),
            contrast=_factors(random, channels, self.contrast_probability, self.contrast_range),
            low_resolution={
                channel: random.uniform(*self.low_resolution_range) for channel in reduced
            },
            inverted_gamma=_factors(
                random, channels, self.inverted_gamma_probability, self.gamma_range
            ),
            gamma=_factors(random, channels, self.gamma_probability, self.gamma_range),
            mirrored=self._draw_mirrored(random, len(patch_size)),
        )

    def apply(
        self, images: Sequence[Tensor], labels: Sequence[Tensor], drawn: Sequence[Drawn]
    ) -> tuple[Tensor, Tensor]:
        """Each patch by its own parameters; see ``drawn.py`` for the order."""
        return apply_batch(images, labels, drawn, self.mask_normalization)

    def _draw_transformation(
        self, random: np.random.Generator, patch_size: tuple[int, ...]
    ) -> Transformation | None:
        turns = _fires(random, self.rotation_probability)
        scales = _fires(random, self.scaling_probability)
        if not turns and not scales:
            return None
        limit = math.radians(self.largest_angle(patch_size)) if turns else 0.0
        axes = self.turning_axes(patch_size)
        angles = [random.uniform(-limit, limit) for _ in range(3 if axes == 3 else 1)]
        if self.rotation_axis_probability < 1:
            angles = [
                angle if _fires(random, self.rotation_axis_probability) else 0.0 for angle in angles
            ]
        return Transformation(
            angles=tuple(angles), scale=self._draw_scale(random, axes) if scales else 1.0
        )

    def _draw_scale(self, random: np.random.Generator, axes: int) -> float | tuple[float, ...]:
        if self.scale_each_axis:
            return tuple(random.uniform(*self.scaling_range) for _ in range(axes))
        return random.uniform(*self.scaling_range)

    def _source_size(
        self, transformation: Transformation | None, patch_size: tuple[int, ...]
    ) -> tuple[int, ...]:
        if transformation is None:
            return patch_size
        carried = len(patch_size) - self.turning_axes(patch_size)
        largest = self.initial_patch_size(patch_size)
        needed = needed_source(transformation.matrix, patch_size[carried:], largest[carried:])
        return (*patch_size[:carried], *needed)

    def _draw_mirrored(self, random: np.random.Generator, axes: int) -> tuple[int, ...]:
        return tuple(axis for axis in self.allowed_mirror_axes(axes) if _fires(random, 0.5))


@dataclass(frozen=True, kw_only=True)
class NoAugmentation:
    """No augmentation: the patch as it is.

    Attributes:
        mask_normalization: Per channel, whether it is set to 0 outside the non-zero region. The
            plan's configuration says so.
    """

    mask_normalization: tuple[bool, ...] = ()

    def initial_patch_size(self, patch_size: tuple[int, ...]) -> tuple[int, ...]:
        """The patch itself."""
        return patch_size

    def draw(
        self, random: np.random.Generator, patch_size: tuple[int, ...], channels: int
    ) -> Drawn:
        """Nothing random."""
        return Drawn(source_size=patch_size, patch_size=patch_size, axes=len(patch_size))

    def apply(
        self, images: Sequence[Tensor], labels: Sequence[Tensor], drawn: Sequence[Drawn]
    ) -> tuple[Tensor, Tensor]:
        """The patches, masked and stacked."""
        return apply_batch(images, labels, drawn, self.mask_normalization)


def _fires(random: np.random.Generator, probability: float) -> bool:
    return random.random() < probability


def _some(
    random: np.random.Generator, channels: int, probability: float, of_channels: float
) -> list[int]:
    """The channels concerned: none, or in ``probability`` of patches a share of them."""
    if not _fires(random, probability):
        return []
    return [channel for channel in range(channels) if _fires(random, of_channels)]


def _factors(
    random: np.random.Generator, channels: int, probability: float, limits: tuple[float, float]
) -> dict[int, float]:
    """A factor for every channel, or in the other patches for none."""
    if not _fires(random, probability):
        return {}
    return {channel: _around_one(random, limits) for channel in range(channels)}


def _around_one(random: np.random.Generator, limits: tuple[float, float]) -> float:
    """From below and from above 1 equally often, where both are within ``limits``."""
    low, high = limits
    if high <= 1 or (low < 1 and _fires(random, 0.5)):
        return random.uniform(low, min(high, 1.0))
    return random.uniform(max(low, 1.0), high)
