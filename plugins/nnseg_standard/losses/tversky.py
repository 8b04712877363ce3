"""The Tversky loss (Salehi et al., 2017): Dice that weighs false and missed voxels apart."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from nnseg_standard.losses.cross_entropy import CrossEntropy
from nnseg_standard.losses.overlap_sums import over_batch, overlap_sums


@dataclass(frozen=True)
class Tversky:
    """Minus the Tversky index, averaged over classes without background, or over regions.

    Half and half is the Dice; more weight on missed voxels finds more of what is small.

    Attributes:
        batch_dice: sums over the batch before dividing, instead of averaging over samples.
        regions: whether outputs are regions (a sigmoid each) instead of classes (one softmax).
        ignore: whether the dataset has an ignore label (see the loss "ce").
        false_weight: weight of voxels that are found but not true.
        missed_weight: weight of voxels that are true but not found.
        smooth: added above and below the fraction, so that an absent class found absent scores 1.
        ce_weight: weight of a cross entropy that is added.
    """

    batch_dice: bool = False
    regions: bool = False
    ignore: bool = False
    false_weight: float = 0.3  # the paper's best
    missed_weight: float = 0.7
    smooth: float = 1e-5
    ce_weight: float = 0.0

    def __call__(self, logits: Tensor, target: Tensor) -> Tensor:
        """A scalar, -1 without cross entropy where perfect; see ``nnseg_core.contracts.Loss``."""
        sums = overlap_sums(logits, target, self.regions)
        if self.batch_dice:
            sums = over_batch(sums)
        false = self.false_weight * (sums.predicted - sums.intersection)
        missed = self.missed_weight * (sums.truth - sums.intersection)
        index = (sums.intersection + self.smooth) / (
            (sums.intersection + false + missed + self.smooth).clamp(min=1e-8)
        )
        loss = -(index if self.regions else index[..., 1:]).mean()
        if not self.ce_weight:
            return loss
        return loss + self.ce_weight * CrossEntropy(self.regions, self.ignore)(logits, target)
