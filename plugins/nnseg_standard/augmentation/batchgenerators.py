"""nnU-Net's augmentation as ``batchgenerators`` computes it: numpy and splines, on the CPU.

Its transforms draw while they run, from the global generators of numpy and of Python. So what is
drawn for a patch is a seed, which those generators start from while the patch is changed.
"""

from __future__ import annotations

import math
import random as python_random
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from batchgenerators.transforms.abstract_transforms import Compose
from batchgenerators.transforms.color_transforms import (
    BrightnessMultiplicativeTransform,
    ContrastAugmentationTransform,
    GammaTransform,
)
from batchgenerators.transforms.noise_transforms import (
    GaussianBlurTransform,
    GaussianNoiseTransform,
)
from batchgenerators.transforms.resample_transforms import SimulateLowResolutionTransform
from batchgenerators.transforms.spatial_transforms import MirrorTransform, SpatialTransform
from numpy.typing import NDArray
from torch import Tensor

from nnseg_core.case import OUTSIDE
from nnseg_standard.augmentation.options import RecipeOptions

_GLOBAL_GENERATORS = threading.Lock()


@dataclass(frozen=True, slots=True, kw_only=True)
class Seeded:
    """What is drawn for a patch: how much to read, and where the generators start."""

    source_size: tuple[int, ...]
    patch_size: tuple[int, ...]
    seed: int


@dataclass(frozen=True, kw_only=True)
class BatchgeneratorsAugmentation(RecipeOptions):
    """nnU-Net's augmentation by batchgenerators: cubic splines, in worker processes.

    The list, its order and its options are those of ``standard``. As in nnU-Net's first version,
    images are interpolated by cubic splines, and half of the scales are below 1, half above; so
    objects become larger in half of the patches, not in three sevenths.
    """

    @property
    def holds_the_gil(self) -> bool:
        """Threads that run this wait for each other, so it belongs into processes."""
        return True

    def draw(
        self, random: np.random.Generator, patch_size: tuple[int, ...], channels: int
    ) -> Seeded:
        """A seed; the transforms draw the rest while they run."""
        return Seeded(
            source_size=self.initial_patch_size(patch_size),
            patch_size=patch_size,
            seed=int(random.integers(2**32)),
        )

    def apply(
        self,
        images: Sequence[Tensor],
        labels: Sequence[Tensor],
        drawn: Sequence[Seeded],
    ) -> tuple[Tensor, Tensor]:
        """Each patch from its own seed, on the CPU whatever the device of the input is."""
        changed = [
            self._apply_one(image.cpu().numpy(), label.cpu().numpy(), one)
            for image, label, one in zip(images, labels, drawn, strict=True)
        ]
        device = images[0].device
        image, label = (np.stack(parts) for parts in zip(*changed, strict=True))
        return torch.from_numpy(image).to(device), torch.from_numpy(label).to(device)

    def _apply_one(
        self, image: NDArray[np.float32], label: NDArray[np.int16], drawn: Seeded
    ) -> tuple[NDArray[np.float32], NDArray[np.int16]]:
        """Image (channel, *source) and label ([map,] *source) become a patch of them."""
        transforms = transforms_of(self, drawn.patch_size)
        maps = label.reshape(1, -1, *image.shape[1:]).astype(np.float32)
        with seeded(drawn.seed):
            done = transforms(data=image[None].copy(), seg=maps)
        image, moved = done["data"][0], done["seg"][0].astype(np.int16)
        for channel, masked in enumerate(self.mask_normalization):
            if masked:
                image[channel][moved[0] < 0] = 0
        return image, moved if label.ndim == image.ndim else moved[0]


def transforms_of(options: BatchgeneratorsAugmentation, patch_size: tuple[int, ...]) -> Compose:
    """nnU-Net's list for patches of one size, in its order."""
    carried = len(patch_size) - options.turning_axes(patch_size)
    mirrored = options.allowed_mirror_axes(len(patch_size))
    return Compose(
        [
            InPlanes(_spatial(options, patch_size)) if carried else _spatial(options, patch_size),
            GaussianNoiseTransform(options.noise_deviation, p_per_sample=options.noise_probability),
            GaussianBlurTransform(
                options.blur_sigma,
                different_sigma_per_channel=True,
                different_sigma_per_axis=True,
                p_per_channel=options.blur_channel_probability,
                p_per_sample=options.blur_probability,
            ),
            BrightnessMultiplicativeTransform(
                options.brightness_range, p_per_sample=options.brightness_probability
            ),
            ContrastAugmentationTransform(
                options.contrast_range, p_per_sample=options.contrast_probability
            ),
            SimulateLowResolutionTransform(
                options.low_resolution_range,
                per_channel=True,
                p_per_channel=options.low_resolution_channel_probability,
                order_downsample=0,
                order_upsample=3,
                p_per_sample=options.low_resolution_probability,
                ignore_axes=(0,) if carried else None,
            ),
            *(
                GammaTransform(
                    options.gamma_range,
                    invert_image=inverted,
                    per_channel=True,
                    retain_stats=True,
                    p_per_sample=probability,
                )
                for inverted, probability in (
                    (True, options.inverted_gamma_probability),
                    (False, options.gamma_probability),
                )
            ),
            *([MirrorTransform(mirrored)] if mirrored else []),
        ]
    )


def _spatial(options: BatchgeneratorsAugmentation, patch_size: tuple[int, ...]) -> SpatialTransform:
    axes = options.turning_axes(patch_size)
    limit = math.radians(options.largest_angle(patch_size))
    return SpatialTransform(
        patch_size[-axes:],
        do_elastic_deform=False,
        angle_x=(-limit, limit),
        angle_y=(-limit, limit),
        angle_z=(-limit, limit),
        p_rot_per_sample=options.rotation_probability,
        p_rot_per_axis=options.rotation_axis_probability,
        scale=options.scaling_range,
        independent_scale_for_each_axis=options.scale_each_axis,
        p_scale_per_sample=options.scaling_probability,
        border_mode_data="constant",
        border_cval_data=0,
        order_data=0 if options.nearest_image else 3,
        border_mode_seg="constant",
        border_cval_seg=OUTSIDE,
        order_seg=0 if options.nearest_label else 1,
        random_crop=False,
    )


@dataclass(frozen=True)
class InPlanes:
    """A transform of slices, the same for all slices of a volume: they become its channels."""

    transform: SpatialTransform

    def __call__(self, data: NDArray[Any], seg: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """Batches (1, channel, z, y, x) in and out."""
        folded = (array.reshape(1, -1, *array.shape[-2:]) for array in (data, seg))
        done = self.transform(**dict(zip(("data", "seg"), folded, strict=True)))
        return {
            name: done[name].reshape(*array.shape[:-2], *done[name].shape[-2:])
            for name, array in (("data", data), ("seg", seg))
        }


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Start the global generators from ``seed``; afterwards they go on as if nothing had been.

    Threads take turns, since there is one generator for all of them.
    """
    with _GLOBAL_GENERATORS:
        numpys, pythons = np.random.get_state(), python_random.getstate()
        np.random.seed(seed)
        python_random.seed(seed)
        try:
            yield
        finally:
            np.random.set_state(numpys)
            python_random.setstate(pythons)
