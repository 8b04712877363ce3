"""More and stronger changes than the standard ones: nnU-Net's recipe "DA5"."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from nnseg_standard.augmentation import distortions
from nnseg_standard.augmentation.drawn import Drawn, apply_one, mask
from nnseg_standard.augmentation.recipe import StandardAugmentation

Change = Callable[[Tensor], Tensor]
"""What happens to the volume (*patch) of one channel; everything random in it has been drawn."""

DARKER, BRIGHTER = (0.01, 0.8), (1.5, 4.0)
"""Exponents of local gamma, either range equally probable (DA5's values)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """Axes of the patch that trade places: ``order`` of all, then quarter ``turns`` in ``plane``.

    Only axes of one length do.
    """

    order: tuple[int, ...]
    plane: tuple[int, int] = (0, 1)
    turns: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class StrongDrawn:
    """All that happens to one patch: what standard does, then ``exchange`` and ``changes``."""

    standard: Drawn
    exchange: Exchange | None
    changes: tuple[tuple[int, Change], ...]

    @property
    def source_size(self) -> tuple[int, ...]:
        """Voxels to read per axis."""
        return self.standard.source_size


@dataclass(frozen=True, kw_only=True)
class StrongAugmentation(StandardAugmentation):
    """nnU-Net's "DA5": more of all, and quarter turns, smears, local brightness, blank boxes.

    It differs from DA5 in that the median goes along one axis after the other, and that one of
    the two gamma changes is not of the negative image, as was certainly meant.

    Attributes:
        quarter_turn_probability: Share of patches turned by quarters in a plane of two axes of one
            length.
        transposition_probability: Share of patches in which axes of one length trade places.
        median_probability: Share of patches that may be smeared by a median.
        median_size: Range of its size in voxels.
        offset_probability: Share of patches whose channels may become brighter or darker.
        offset_deviation: Standard deviation of what is added to them.
        stretch_probability: Share of patches whose channels may be stretched about their means
            beyond their range; ``contrast_probability`` is for those that keep it.
        blank_probability: Share of patches in which boxes of a channel may be blanked.
        blank_count: Range of how many boxes there are.
        blank_size: Range of their edges, as a share of the patch's.
        glow_probability: Share of patches in which a place of a channel may be made brighter or
            darker.
        glow_strength: Range of by how much, in units of the normalised image.
        local_gamma_probability: Share of patches with a gamma change around a place.
        sharpening_probability: Share of patches that may be sharpened.
        sharpening_strength: Range of how much.
        channel_probability: Share of channels that are, in a patch that may be.
    """

    rotation_probability: float = 0.4
    rotation_axis_probability: float = 0.5
    scaling_range: tuple[float, float] = (0.7, 1.43)
    scale_each_axis: bool = True
    # DA5 draws one of median and blur, and then with 0.2 whether it happens; contrast likewise.
    blur_probability: float = 0.1
    blur_sigma: tuple[float, float] = (0.3, 1.5)
    brightness_probability: float = 0.0
    contrast_probability: float = 0.1
    contrast_range: tuple[float, float] = (0.5, 2.0)
    low_resolution_probability: float = 0.15
    low_resolution_range: tuple[float, float] = (0.25, 1.0)
    gamma_probability: float = 0.1
    quarter_turn_probability: float = 0.5
    transposition_probability: float = 0.5
    median_probability: float = 0.1
    median_size: tuple[int, int] = (2, 8)
    offset_probability: float = 0.1
    offset_deviation: float = 0.5
    stretch_probability: float = 0.1
    blank_probability: float = 0.4
    blank_count: tuple[int, int] = (1, 5)
    blank_size: tuple[float, float] = (0.1, 1 / 3)
    glow_probability: float = 0.3
    glow_strength: tuple[float, float] = (1.0, 5.0)
    local_gamma_probability: float = 0.3
    sharpening_probability: float = 0.2
    sharpening_strength: tuple[float, float] = (0.1, 1.0)
    channel_probability: float = 0.5

    def draw(  # type: ignore[override]
        self, random: np.random.Generator, patch_size: tuple[int, ...], channels: int
    ) -> StrongDrawn:
        """Parameters for one patch."""
        return StrongDrawn(
            standard=super().draw(random, patch_size, channels),
            exchange=self._draw_exchange(random, patch_size),
            changes=tuple(self._draw_changes(random, patch_size, channels)),
        )

    def apply(  # type: ignore[override]
        self, images: Sequence[Tensor], labels: Sequence[Tensor], drawn: Sequence[StrongDrawn]
    ) -> tuple[Tensor, Tensor]:
        """Each patch by its own parameters."""
        patches = [
            self._apply_one(image, label, one)
            for image, label, one in zip(images, labels, drawn, strict=True)
        ]
        return torch.stack([image for image, _ in patches]), torch.stack(
            [label for _, label in patches]
        )

    def _apply_one(self, image: Tensor, label: Tensor, drawn: StrongDrawn) -> tuple[Tensor, Tensor]:
        image, label = apply_one(image, label, drawn.standard, ())
        if drawn.exchange is not None:
            image, label = (exchanged(array, drawn.exchange) for array in (image, label))
        for channel, change in drawn.changes:
            image[channel] = change(image[channel])
        mask(image, label, self.mask_normalization)
        return image, label

    def _draw_exchange(
        self, random: np.random.Generator, patch_size: tuple[int, ...]
    ) -> Exchange | None:
        alike = _axes_alike(patch_size)
        turns = random.random() < self.quarter_turn_probability
        trades = random.random() < self.transposition_probability
        if len(alike) < 2 or not (turns or trades):
            return None
        order = list(range(len(patch_size)))
        if trades:
            for axis, other in zip(alike, random.permutation(alike), strict=True):
                order[axis] = int(other)
        first, second = (int(axis) for axis in random.choice(alike, 2, replace=False))
        return Exchange(
            order=tuple(order),
            plane=(first, second),
            turns=int(random.integers(4)) if turns else 0,
        )

    def _draw_changes(
        self, random: np.random.Generator, patch_size: tuple[int, ...], channels: int
    ) -> Iterator[tuple[int, Change]]:
        """In DA5's order."""
        draws: tuple[tuple[float, Callable[[], Change]], ...] = (
            (self.median_probability, lambda: self._draw_median(random)),
            (self.offset_probability, lambda: self._draw_offset(random)),
            (self.stretch_probability, lambda: self._draw_stretch(random)),
            (self.blank_probability, lambda: self._draw_blank(random, patch_size)),
            (self.glow_probability, lambda: self._draw_glow(random, patch_size)),
            (self.local_gamma_probability, lambda: _draw_local_gamma(random, patch_size)),
            (self.sharpening_probability, lambda: self._draw_sharpening(random)),
        )
        for probability, draw in draws:
            if random.random() < probability:
                for channel in range(channels):
                    if random.random() < self.channel_probability:
                        yield channel, draw()

    def _draw_median(self, random: np.random.Generator) -> Change:
        size = int(random.integers(self.median_size[0], self.median_size[1], endpoint=True))
        return partial(distortions.median, size=size)

    def _draw_offset(self, random: np.random.Generator) -> Change:
        return partial(distortions.offset, by=random.normal(0, self.offset_deviation))

    def _draw_stretch(self, random: np.random.Generator) -> Change:
        low, high = self.contrast_range
        weaker = random.random() < 0.5
        limits = (low, min(high, 1.0)) if weaker else (max(low, 1.0), high)
        return partial(distortions.stretch, factor=random.uniform(*limits))

    def _draw_blank(self, random: np.random.Generator, patch_size: tuple[int, ...]) -> Change:
        count = int(random.integers(self.blank_count[0], self.blank_count[1], endpoint=True))
        return partial(
            distortions.blank, boxes=[self._draw_box(random, patch_size) for _ in range(count)]
        )

    def _draw_box(
        self, random: np.random.Generator, patch_size: tuple[int, ...]
    ) -> tuple[tuple[int, int], ...]:
        box = []
        for length in patch_size:
            edge = min(length, max(1, round(length * random.uniform(*self.blank_size))))
            start = int(random.integers(length - edge, endpoint=True))
            box.append((start, start + edge))
        return tuple(box)

    def _draw_glow(self, random: np.random.Generator, patch_size: tuple[int, ...]) -> Change:
        centre, sigmas = _draw_place(random, patch_size)
        sign = -1 if random.random() < 0.5 else 1
        strength = sign * random.uniform(*self.glow_strength)
        return partial(distortions.glow, centre=centre, sigmas=sigmas, strength=strength)

    def _draw_sharpening(self, random: np.random.Generator) -> Change:
        return partial(distortions.sharpen, strength=random.uniform(*self.sharpening_strength))


def exchanged(array: Tensor, exchange: Exchange) -> Tensor:
    """An array whose last axes are those of the patch, with axes in their new places."""
    before = array.ndim - len(exchange.order)
    order = (*range(before), *(before + axis for axis in exchange.order))
    first, second = exchange.plane
    return (
        array.permute(order).rot90(exchange.turns, (before + first, before + second)).contiguous()
    )


def _axes_alike(patch_size: tuple[int, ...]) -> list[int]:
    """The axes that share their length with others, and with most of them."""
    shared = [patch_size.count(length) for length in patch_size]
    return [axis for axis, count in enumerate(shared) if count == max(shared) > 1]


def _draw_local_gamma(random: np.random.Generator, patch_size: tuple[int, ...]) -> Change:
    centre, sigmas = _draw_place(random, patch_size)
    exponent = random.uniform(*(DARKER if random.random() < 0.5 else BRIGHTER))
    return partial(distortions.local_gamma, centre=centre, sigmas=sigmas, exponent=exponent)


def _draw_place(
    random: np.random.Generator, patch_size: tuple[int, ...]
) -> tuple[list[float], list[float]]:
    """Centre and width per axis in voxels: a sixth to all of the patch, also beside it (DA5)."""
    centre = [random.uniform(-0.5, 1.5) * length for length in patch_size]
    sigmas = [
        math.exp(random.uniform(math.log(max(1, length // 6)), math.log(length)))
        for length in patch_size
    ]
    return centre, sigmas
