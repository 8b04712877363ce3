"""What augmentation may do to a patch: the options that every recipe of nnU-Net's has.

Probabilities and ranges are nnU-Net's.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from torch import Tensor

from nnseg_core.errors import PlanError
from nnseg_standard.augmentation.previous import (
    OPERATIONS,
    Disturbance,
    Removal,
    Reshaping,
    disturbed,
)
from nnseg_standard.augmentation.spatial import largest_source

ANISOTROPIC = 3.0
"""Longest axis over the first one, above which volumes turn within planes (nnU-Net's value)."""

ELONGATED = 1.5
"""Longest over shortest axis of a 2D patch, above which it turns less (nnU-Net's value)."""


@dataclass(frozen=True, kw_only=True)
class RecipeOptions:
    """How often and how strongly patches are changed, and what follows from it for one size.

    Attributes:
        rotation_probability: Share of patches that are turned.
        rotation_degrees: Largest angle; by default 30 in 3D and 180 in 2D and within planes,
            but 15 for 2D patches longer than 1.5 times their width.
        rotation_axis_probability: Share of the axes about which such a patch is turned.
        in_plane: Turn volumes, and lower their resolution, within planes of the last two axes
            only; by default where the longest axis is over 3 times the first.
        scaling_probability: Share of patches that are scaled.
        scaling_range: Factors; above 1 makes objects smaller.
        scale_each_axis: Draw a factor for every axis instead of one for all.
        nearest_image: Take the nearest voxel where a patch is turned or scaled, instead of
            interpolating between its neighbours.
        nearest_label: Take the nearest voxel's label there, instead of letting neighbours vote.
        noise_probability: Share of patches with Gaussian noise.
        noise_deviation: Range of its standard deviation, in units of the normalised image.
        blur_probability: Share of patches that may be blurred.
        blur_channel_probability: Share of channels blurred in such a patch.
        blur_sigma: Range of the Gaussian's sigma in voxels, drawn per channel and axis.
        brightness_probability: Share of patches whose channels are multiplied by a factor each.
        brightness_range: Factors; below and above 1 are equally probable.
        contrast_probability: Share of patches whose channels are stretched about their means.
        contrast_range: Factors; below and above 1 are equally probable.
        low_resolution_probability: Share of patches that may lose resolution.
        low_resolution_channel_probability: Share of channels that do in such a patch.
        low_resolution_range: Size of a reduced channel, as a factor per axis.
        inverted_gamma_probability: Share of patches with a gamma change of the negative image.
        gamma_probability: Share of patches with a gamma change.
        gamma_range: Exponents of both; below and above 1 are equally probable.
        mirror_axes: Axes of the patch along which half of the patches are flipped; by default
            all.
        previous_reshaping_probability: In a cascade, share of patches in which labels of the
            previous stage are dilated, eroded, closed or opened.
        previous_reshaping_label_probability: Share of labels that are in such a patch.
        previous_reshaping_radius: Radii of the ball, in voxels.
        previous_removal_probability: In a cascade, share of patches in which labels of the
            previous stage lose a component.
        previous_removal_label_probability: Share of labels that do in such a patch.
        previous_removal_share: Components may be removed if they are less than this of a patch.
        mask_normalization: Per channel, whether it is set to 0 outside the non-zero region. The
            plan's configuration says so.
    """

    rotation_probability: float = 0.2
    rotation_degrees: float | None = None
    rotation_axis_probability: float = 1.0
    in_plane: bool | None = None
    scaling_probability: float = 0.2
    scaling_range: tuple[float, float] = (0.7, 1.4)
    scale_each_axis: bool = False
    nearest_image: bool = False
    nearest_label: bool = False
    noise_probability: float = 0.1
    noise_deviation: tuple[float, float] = (0.0, 0.1)
    blur_probability: float = 0.2
    blur_channel_probability: float = 0.5
    blur_sigma: tuple[float, float] = (0.5, 1.0)
    brightness_probability: float = 0.15
    brightness_range: tuple[float, float] = (0.75, 1.25)
    contrast_probability: float = 0.15
    contrast_range: tuple[float, float] = (0.75, 1.25)
    low_resolution_probability: float = 0.25
    low_resolution_channel_probability: float = 0.5
    low_resolution_range: tuple[float, float] = (0.5, 1.0)
    inverted_gamma_probability: float = 0.1
    gamma_probability: float = 0.3
    gamma_range: tuple[float, float] = (0.7, 1.5)
    mirror_axes: tuple[int, ...] | None = None
    previous_reshaping_probability: float = 0.4
    previous_reshaping_label_probability: float = 0.5
    previous_reshaping_radius: tuple[float, float] = (1.0, 8.0)
    previous_removal_probability: float = 0.2
    previous_removal_label_probability: float = 0.5
    previous_removal_share: float = 0.15
    mask_normalization: tuple[bool, ...] = ()

    def __post_init__(self) -> None:
        for option in fields(self):
            if option.name.endswith("_probability"):
                _check_probability(option.name, getattr(self, option.name))
            elif isinstance(option.default, tuple) and len(option.default) == 2:
                _check_range(option.name, getattr(self, option.name))
        _check_probability("previous_removal_share", self.previous_removal_share)

    def initial_patch_size(self, patch_size: tuple[int, ...]) -> tuple[int, ...]:
        """The largest source a patch may need; the first axis stays when turning in planes."""
        carried = len(patch_size) - self.turning_axes(patch_size)
        turned = largest_source(patch_size[carried:], self.largest_angle(patch_size))
        return (*patch_size[:carried], *turned)

    def turning_axes(self, patch_size: tuple[int, ...]) -> int:
        """How many axes, counted from the last, turn."""
        if len(patch_size) == 2:
            return 2
        if self.in_plane is None:
            return 2 if max(patch_size) / patch_size[0] > ANISOTROPIC else 3
        return 2 if self.in_plane else 3

    def largest_angle(self, patch_size: tuple[int, ...]) -> float:
        """The largest angle of a turn, in degrees."""
        if self.rotation_degrees is not None:
            return self.rotation_degrees
        if self.turning_axes(patch_size) == 3:
            return 30.0
        elongated = len(patch_size) == 2 and max(patch_size) / min(patch_size) > ELONGATED
        return 15.0 if elongated else 180.0

    def allowed_mirror_axes(self, axes: int) -> tuple[int, ...]:
        """The axes along which a patch of so many axes may be flipped.

        Raises ``PlanError`` when ``mirror_axes`` names one that it does not have.
        """
        allowed = range(axes) if self.mirror_axes is None else self.mirror_axes
        if not set(allowed) <= set(range(axes)):
            raise PlanError(
                f"augmentation.mirror_axes is {list(allowed)}, but the patch has the axes "
                f"{list(range(axes))}. Name some of them, or [] for none."
            )
        return tuple(allowed)

    def disturb(self, random: np.random.Generator, channels: Tensor) -> Tensor:
        """Labels of a cascade's previous stage, truth values (label, *patch), changed at random."""
        return disturbed(channels, self.draw_disturbance(random, len(channels)))

    def draw_disturbance(self, random: np.random.Generator, labels: int) -> Disturbance:
        """What happens to the previous stage's labels, so many, in one patch."""
        reshaped, removed = [], []
        if random.random() < self.previous_reshaping_probability:
            for label in random.permutation(labels):
                if random.random() < self.previous_reshaping_label_probability:
                    operation = list(OPERATIONS)[random.integers(len(OPERATIONS))]
                    radius = random.uniform(*self.previous_reshaping_radius)
                    reshaped.append(Reshaping(int(label), operation, radius))
        if random.random() < self.previous_removal_probability:
            for label in range(labels):
                if random.random() < self.previous_removal_label_probability:
                    removed.append(Removal(label, random.random()))
        return Disturbance(
            reshaped=tuple(reshaped),
            removed=tuple(removed),
            removable=self.previous_removal_share,
        )


def _check_probability(name: str, value: Any) -> None:
    if not isinstance(value, (int, float)) or not 0 <= value <= 1:
        raise PlanError(f"augmentation.{name} is {value!r}; give a number from 0 to 1.")


def _check_range(name: str, value: Any) -> None:
    numbers = isinstance(value, (list, tuple)) and all(isinstance(v, (int, float)) for v in value)
    if not numbers or len(value) != 2 or not 0 <= value[0] <= value[1]:
        raise PlanError(
            f"augmentation.{name} is {value!r}; give two numbers, the smaller first: [0.5, 1.0]."
        )
