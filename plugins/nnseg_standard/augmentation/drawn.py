"""What happens to one patch: the record of all drawn parameters, and their application."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from nnseg_standard.augmentation import intensity, noise, spatial


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawn:
    """All that happens to one patch.

    ``source_size`` is how much of the image to read, voxels per axis, centred on the patch.
    ``axes`` is how many axes, counted from the last, turn and lose resolution. ``nearest_image``
    and ``nearest_label`` say what is not interpolated there. Mappings go from
    channel to parameter and name only the channels concerned.
    """

    source_size: tuple[int, ...]
    patch_size: tuple[int, ...]
    axes: int
    transformation: spatial.Transformation | None = None
    nearest_image: bool = False
    nearest_label: bool = False
    noise_deviation: float | None = None
    noise_seed: int = 0
    blur: dict[int, tuple[float, ...]] = field(default_factory=dict)
    brightness: dict[int, float] = field(default_factory=dict)
    contrast: dict[int, float] = field(default_factory=dict)
    low_resolution: dict[int, float] = field(default_factory=dict)
    inverted_gamma: dict[int, float] = field(default_factory=dict)
    gamma: dict[int, float] = field(default_factory=dict)
    mirrored: tuple[int, ...] = ()


def apply_batch(
    images: Sequence[Tensor],
    labels: Sequence[Tensor],
    drawn: Sequence[Drawn],
    mask_normalization: Sequence[bool],
) -> tuple[Tensor, Tensor]:
    """Apply to images (channel, *source) and labels ([map,] *source) what was drawn; stack.

    Patch by patch: few are changed in the same way, and so a patch has the same bits in any batch.
    """
    patches = [
        apply_one(image, label, one, mask_normalization)
        for image, label, one in zip(images, labels, drawn, strict=True)
    ]
    return torch.stack([image for image, _ in patches]), torch.stack(
        [label for _, label in patches]
    )


def apply_one(
    image: Tensor, label: Tensor, drawn: Drawn, mask_normalization: Sequence[bool]
) -> tuple[Tensor, Tensor]:
    """Apply in nnU-Net's order: space, noise, grey values, mirror, mask. The input is kept.

    Of several label maps (map, *source) the first is the truth.
    """
    if drawn.transformation is None:
        image = image.clone()
    else:
        image, label = spatial.resample(
            image,
            label,
            drawn.transformation.matrix,
            drawn.patch_size,
            drawn.nearest_image,
            drawn.nearest_label,
        )
    _change_values(image, drawn)
    if drawn.mirrored:
        image, label = spatial.mirror(image, label, drawn.mirrored)
    mask(image, label, mask_normalization)
    return image, label


def mask(image: Tensor, label: Tensor, mask_normalization: Sequence[bool]) -> None:
    """Set channels to 0 outside the non-zero region, in place."""
    truth = label if label.ndim < image.ndim else label[0]
    for channel, masked in enumerate(mask_normalization):
        if masked:
            image[channel].masked_fill_(truth < 0, 0.0)


def _change_values(image: Tensor, drawn: Drawn) -> None:
    """Noise, blur, brightness, contrast, resolution, gamma of the negative, gamma; in place."""
    if drawn.noise_deviation is not None:
        noise.add_noise(image, drawn.noise_deviation, drawn.noise_seed)
    for channel, sigmas in drawn.blur.items():
        image[channel] = noise.blur(image[channel], sigmas)
    for channel, factor in drawn.brightness.items():
        image[channel].mul_(factor)
    for channel, factor in drawn.contrast.items():
        intensity.change_contrast(image[channel], factor)
    for channel, scale in drawn.low_resolution.items():
        image[channel] = noise.lower_resolution(image[channel], scale, drawn.axes)
    for channel, exponent in drawn.inverted_gamma.items():
        intensity.change_inverted_gamma(image[channel], exponent)
    for channel, exponent in drawn.gamma.items():
        intensity.change_gamma(image[channel], exponent)
