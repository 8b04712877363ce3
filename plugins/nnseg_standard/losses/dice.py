"""The soft Dice loss of Milletari et al., 2016 (V-Net), as nnU-Net computes it."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from nnseg_standard.losses.overlap_sums import (
    OverlapSums,
    over_batch,
    overlap_sums,
    squared_sums,
)


@dataclass(frozen=True)
class Dice:
    """Minus the soft Dice, averaged over classes without background, or over regions.

    Attributes:
        batch_dice: sums over the batch before dividing, instead of averaging over samples.
        regions: whether outputs are regions (a sigmoid each) instead of classes (one softmax).
        smooth: added above and below the fraction, so that an absent class found absent scores 1.
        squared: sums squares of probabilities below the fraction, as V-Net did.
        background: counts the background as a class like others.
    """

    batch_dice: bool = False
    regions: bool = False
    smooth: float = 1e-5  # nnU-Net's value
    squared: bool = False
    background: bool = False

    def __call__(self, logits: Tensor, target: Tensor) -> Tensor:
        """A scalar from -1 (perfect) to 0; see ``nnseg_core.contracts.Loss``."""
        sums_of = squared_sums if self.squared else overlap_sums
        return self.of_sums(sums_of(logits, target, self.regions))

    def of_sums(self, sums: OverlapSums) -> Tensor:
        """The same from sums over voxels, (batch, output) each."""
        if self.batch_dice:
            sums = over_batch(sums)
        overlap = (2 * sums.intersection + self.smooth) / (
            (sums.predicted + sums.truth + self.smooth).clamp(min=1e-8)  # nnU-Net's value
        )
        return -(overlap if self.regions or self.background else overlap[..., 1:]).mean()
